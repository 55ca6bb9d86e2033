"""From an open WebSocket to an open session: the first frame, on the thread that connects."""

from __future__ import annotations

from collections.abc import Callable

from .decoding import Wire
from .errors import ConnectError, ConnectRefused, ConnectTimeout, remedy
from .message import RealtimeMessage
from .pump import outcome
from .transport import Ended
from .waiting import Wait

__all__ = ["first_messages"]

_REFUSAL_PATIENCE = 1.0  # seconds for the close that follows an error as first frame


def first_messages(connection: Wire, wait: Wait, redact: Callable[[str], str]) -> list[RealtimeMessage]:
    """Wait for the first frame of a session.

    Returns:
        The first message, and those that came with it.

    Raises:
        ConnectTimeout: None came in time.
        ConnectRefused: It was an error event.
        ConnectError: The connection ended first.
        Cancelled: The cancel event was set.
    """
    try:
        while not (messages := connection.receive(wait.slice())):
            if wait.left() == 0:
                raise ConnectTimeout(
                    f"no session within {wait.timeout:g} s: the server accepted the connection but sent no first "
                    "frame; check that the base URL names a server of this protocol"
                )
    except Ended as exc:
        end = outcome(exc.ending, None, redact)
        raise ConnectError(f"the server ended the connection before its first frame: {end}") from end
    if messages[0].error is not None:
        raise _refused(connection, messages[0], wait.within(_REFUSAL_PATIENCE))
    return messages


def _refused(connection: Wire, first: RealtimeMessage, wait: Wait) -> ConnectRefused:
    """Wait for the close that follows a terminal error, for its code."""
    error, code = first.error, None
    assert error is not None
    try:
        while (longest := wait.slice()) != 0:
            connection.receive(longest)
    except Ended as exc:
        code = exc.ending.code if exc.ending.received else None
    close = f", close code {code}" if code is not None else ""
    return ConnectRefused(
        f"the server refused the session: {error.code or error.type or 'error'}: {error.message.rstrip('.')}{close}; "
        f"{remedy(error.code) or 'see what the error says'}",
        code=error.code,
        request_id=error.request_id,
        error=error,
        close_code=code,
    )
