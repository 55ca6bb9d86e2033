"""Every exception of the package, and what the codes of a server's errors ask for.

``MeshAPIError`` is the root. Each class also inherits the builtin that a Python programmer would catch
(``EOFError``, ``TimeoutError``, ``ConnectionError``, ``ValueError``), so both styles work. All of them pickle.
"""

from __future__ import annotations

import enum
from typing import Any

__all__ = [
    "AudioFileError",
    "AudioFormatError",
    "Cancelled",
    "ConfigurationError",
    "ConnectError",
    "ConnectRefused",
    "ConnectTimeout",
    "ConnectionLost",
    "DeviceError",
    "ErrorKind",
    "EventError",
    "MeshAPIError",
    "MissingExtraError",
    "RealtimeError",
    "SessionClosed",
    "TimedOut",
]


class ErrorKind(str, enum.Enum):
    """What an error of the server asks of the caller."""

    FATAL = "fatal"
    """The same attempt will fail again: something must change first."""
    RECONNECTABLE = "reconnectable"
    """A new connection works, at once or after a pause."""
    REQUEST = "request-level"
    """One request was refused; the session goes on."""


def _rebuild(cls: type[MeshAPIError], args: tuple[Any, ...], state: dict[str, Any]) -> MeshAPIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class MeshAPIError(Exception):
    """The root of every exception that this package raises on purpose.

    Attributes:
        advice: What to do about it, where the place that raised it knows better than the class; a clause.
    """

    advice: str | None = None

    def __str__(self) -> str:
        told = self._told()
        return f"{told}; {self.advice}" if self.advice else told

    def _told(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class ConfigurationError(MeshAPIError, ValueError):
    """A client, connection or server was asked for with arguments that cannot work. Nothing was opened."""


class MissingExtraError(MeshAPIError, ImportError):
    """A feature needs a package that an optional extra of this one brings."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'meshapi-rt[{extra}]'")
        self.extra = extra


class AudioFormatError(MeshAPIError, ValueError):
    """Audio that cannot be taken as mono 16-bit PCM. Nothing was sent; a session lives on."""


class AudioFileError(MeshAPIError, ValueError):
    """A file that cannot be read as audio, or audio that cannot be written as asked."""


class DeviceError(MeshAPIError, OSError):
    """A microphone or speaker that cannot be found or opened, or that stopped. A session lives on."""

    def _told(self) -> str:
        return str(self.args[0])


class EventError(MeshAPIError, ValueError):
    """An event that cannot be sent as JSON. Nothing was sent; the session lives on."""


class TimedOut(MeshAPIError, TimeoutError):
    """A wait reached the caller's own limit. The message says whether the session lives on."""


class Cancelled(MeshAPIError):
    """The ``cancel`` event of a waiting call was set. The session lives on."""


class RealtimeError(MeshAPIError):
    """An error event of the server.

    Most of them refuse one request and leave the session open (``kind`` is ``REQUEST``).

    Attributes:
        code: The stable code to branch on, or ``None``.
        message: The server's own words.
        type: For example ``invalid_request_error``, or ``None``.
        param: The field that the error is about, or ``None``.
        event_id: The client event that the error answers, or ``None`` where the server does not say.
        request_id: What the gateway's support asks for, or ``None``.
        close_code: The WebSocket close code, where this error ended the session, else ``None``.
    """

    def __init__(
        self,
        code: str | None,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - the protocol's own word
        param: str | None = None,
        event_id: str | None = None,
        request_id: str | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.type = type
        self.param = param
        self.event_id = event_id
        self.request_id = request_id
        self.close_code = close_code

    @property
    def kind(self) -> ErrorKind:
        """What the error asks of the caller, by its code and by whether it ended the session."""
        return classify(self.code, self.close_code)

    def _told(self) -> str:
        facts = [
            f"{name} {value}"
            for name, value in (
                ("param", self.param),
                ("event_id", self.event_id),
                ("request_id", self.request_id),
                ("close code", self.close_code),
            )
            if value is not None
        ]
        head = f"{self.code or self.type or 'error'}: {self.message}"
        if facts:
            head += f" ({', '.join(facts)})"
        advice = None if self.advice else _REMEDIES.get(self.code or "")
        return f"{head}; {advice}" if advice else head


class ConnectError(MeshAPIError, ConnectionError):
    """No session could be opened: names, TCP, proxy, TLS, handshake, or no first frame.

    Attributes:
        status: The HTTP status of the answer, or ``None`` where none came.
        code: The server's error code, or ``None``.
        request_id: What the gateway's support asks for, or ``None``.
        retry_after: Seconds to wait before the next try, as the server asked, or ``None``.
    """

    code: str | None
    request_id: str | None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        MeshAPIError.__init__(self, message)  # not super(): in ConnectRefused the next class is RealtimeError
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    def _told(self) -> str:
        return str(self.args[0])


class ConnectTimeout(ConnectError, TimeoutError):
    """The time given to ``connect`` ran out; the message says during which step."""


class ConnectRefused(ConnectError, RealtimeError):
    """The server refused the session, by HTTP status or by an error as its first frame."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        error: RealtimeError | None = None,
        close_code: int | None = None,
    ) -> None:
        ConnectError.__init__(self, message, status=status, code=code, request_id=request_id, retry_after=retry_after)
        self.message = error.message if error else message
        self.type = error.type if error else None
        self.param = error.param if error else None
        self.event_id = error.event_id if error else None
        self.close_code = close_code

    @property
    def kind(self) -> ErrorKind:
        """What the refusal asks of the caller: by its code, else by the HTTP status."""
        if self.code is None and self.status is not None:
            retry = self.status == 429 or self.status >= 500
            return ErrorKind.RECONNECTABLE if retry else ErrorKind.FATAL
        # A refused session is over, whatever the close code: there is no request left to be refused.
        return classify(self.code, self.close_code or 1006)


class SessionClosed(MeshAPIError, EOFError):
    """The session ended in good order: by the server's close 1000, or by ``close()`` on this side.

    Attributes:
        close_code: The WebSocket close code.
        close_reason: The text that came with it, mostly empty.
    """

    def __init__(self, message: str, *, close_code: int = 1000, close_reason: str = "") -> None:
        super().__init__(message)
        self.close_code = close_code
        self.close_reason = close_reason


class ConnectionLost(MeshAPIError, ConnectionError):
    """The connection ended without a proper close, or with a close code that tells of trouble.

    Attributes:
        close_code: The close code seen; 1005 for an empty close frame, 1006 where none came.
        close_reason: The text that came with it, mostly empty.
    """

    def __init__(self, message: str, *, close_code: int = 1006, close_reason: str = "") -> None:
        super().__init__(message)
        self.close_code = close_code
        self.close_reason = close_reason


# The gateway's codes and what they ask for: protocol.md 1.8 (G), and the upstream ends of 1.9 (O).
_FATAL = {
    "invalid_api_key": "check the token: it is missing, mistyped, revoked or suspended",
    "unauthorized": "check the token: the gateway does not know it",
    "forbidden": "the token has no permission for this",
    "feature_not_enabled": "ask for realtime to be enabled on the account",
    "model_not_found": "check the model id against meshapi_rt.MODELS or the gateway's model list",
    "model_capability_not_supported": "choose a realtime model, for example from meshapi_rt.MODELS",
    "model_excluded": "a policy forbids this model: choose another",
    "model_brand_unknown": "check the part of the model id before the slash",
    "model_not_available_on_pinned_provider": "choose another model or provider",
    "insufficient_quota": "add credit (10 USD at least), then connect again",
    "spend_limit_exceeded": "raise the token's spending limit",
    "bad_request": "the connection request is wrong: check its query and headers",
    "invalid_api_version": "check the base URL",
    "insufficient_credits": "add credit at the provider whose key the account uses",
    "upstream_auth_error": "the provider refuses the key that the account uses",
    "beta_api_shape_disabled": "send the GA shape, and no OpenAI-Beta header",
}
_RECONNECTABLE = {
    "session_token_cap_exceeded": "connect again: a new session works at once",
    "session_duration_exceeded": "connect again: the session reached its longest life",
    "session_expired": "connect again: the session reached its longest life",
    "idle_timeout": "connect again when it is needed",
    "connection_timeout": "connect again: heartbeats were missed",
    "service_draining": "connect again at once: the instance is being replaced",
    "concurrent_sessions_exceeded": "close another session first, then try again after a pause",
    "rate_limit_exceeded": "try again after a pause",
    "upstream_overload": "try again after a pause, or use another model",
    "upstream_error": "try again after a pause, or use another model",
    "upstream_rate_limit_error": "try again after a pause, or use another model",
    "gateway_timeout": "try again after a pause, or use another model",
    "provider_error": "connect again; report it if it repeats",
    "provider_not_available": "try again later",
    "model_policy_unavailable": "try again later",
    "internal_error": "try once more, then report the request_id",
}
_REMEDIES = _FATAL | _RECONNECTABLE
_FATAL_CLOSE_CODES = frozenset({1008, 4000, 4402})  # protocol.md 1.10


def classify(code: str | None, close_code: int | None = None) -> ErrorKind:
    """Tell what an error asks for, by its code, and by the close that followed it.

    Codes that the gateway's table lists keep their class. Any other code is request-level as long as the
    session goes on; once a close followed, the close code decides (protocol.md 1.8 and 1.10).
    """
    if code in _FATAL:
        return ErrorKind.FATAL
    if code in _RECONNECTABLE:
        return ErrorKind.RECONNECTABLE
    if close_code is None:
        return ErrorKind.REQUEST
    return ErrorKind.FATAL if close_code in _FATAL_CLOSE_CODES else ErrorKind.RECONNECTABLE


def remedy(code: str | None) -> str | None:
    """Return what to do about an error code of the gateway, as a clause, or ``None`` for an unknown code."""
    return _REMEDIES.get(code or "")


def reconnectable_codes() -> frozenset[str]:
    """Return the gateway's codes after which a new connection works, at once or after a pause."""
    return frozenset(_RECONNECTABLE)
