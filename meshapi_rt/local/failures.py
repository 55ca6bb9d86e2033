"""What goes wrong, as it is told on the wire: in-band refusals, terminal errors, refused handshakes."""

from __future__ import annotations

from typing import Any

import attrs

from .ids import new_id, new_request_id

__all__ = ["Refusal", "Terminal", "error_event", "terminal_event"]


class Refusal(Exception):
    """One client event has no effect; the client gets an in-band error (protocol.md 1.7 and 1.9)."""

    def __init__(
        self,
        code: str | None,
        message: str,
        param: str | None = None,
        *,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind

    @classmethod
    def unknown(cls, path: str) -> Refusal:
        """A field that nobody knows, or that the GA protocol no longer has."""
        return cls("unknown_parameter", f"Unknown parameter: '{path}'.", path)

    @classmethod
    def missing(cls, path: str) -> Refusal:
        """A field that has to be there."""
        return cls("missing_required_parameter", f"Missing required parameter: '{path}'.", path)

    @classmethod
    def invalid(cls, path: str, reason: str) -> Refusal:
        """A field with a value of the wrong type, or outside what is allowed."""
        return cls("invalid_value", f"Invalid value for '{path}': {reason}.", path)


# Statuses and close codes that the gateway's documents leave open are this server's choice among those of
# protocol.md 1.3 and 1.10: 1008 for policy, authentication and quota, 1011 for failures, 4402 for credit.
_ENDS = {
    "invalid_api_key": (401, 1008),
    "bad_request": (400, 1008),
    "model_not_found": (404, 1008),
    "concurrent_sessions_exceeded": (429, 1008),
    "idle_timeout": (408, 1008),
    "session_duration_exceeded": (408, 1008),
    "insufficient_quota": (402, 4402),
    "session_token_cap_exceeded": (402, 4402),
    "beta_api_shape_disabled": (400, 4000),
}


@attrs.frozen
class Terminal:
    """An error that ends the session: a frame in the gateway's envelope, then a close (protocol.md 1.7)."""

    code: str
    message: str
    closes_with: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status, where the handshake itself is refused."""
        return _ENDS.get(self.code, (503, 1011))[0]

    @property
    def close_code(self) -> int:
        """The close code that follows the frame."""
        return _ENDS.get(self.code, (503, 1011))[1] if self.closes_with is None else self.closes_with


def error_event(refusal: Refusal, client_event_id: str | None) -> dict[str, Any]:
    """Build the in-band error that answers a client event."""
    return {
        "type": "error",
        "event_id": new_id("event"),
        "error": {
            "type": refusal.kind,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": client_event_id,
        },
    }


def terminal_event(terminal: Terminal) -> dict[str, Any]:
    """Build the gateway's envelope: it has a ``request_id``, and no ``event_id``."""
    return {
        "type": "error",
        "error": {"code": terminal.code, "message": terminal.message},
        "request_id": new_request_id(),
    }
