"""The reader thread: from a connection's frames to messages in the inbox, and from its ending to one exception."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable

from .errors import ConnectionLost, MeshAPIError, RealtimeError, SessionClosed
from .handover import Inbox, again
from .message import RealtimeMessage, decode_binary, decode_text
from .transport import Connection, Ended, Ending

__all__ = ["Pump", "decode_batch", "outcome"]

log = logging.getLogger("meshapi_rt")
_numbers = itertools.count(1)
_STALL_MEMORY = 60.0  # seconds in which a server's end may still be the answer to a stall


def decode_batch(batch: list[str | bytes], redact: Callable[[str], str]) -> list[RealtimeMessage]:
    """Turn the payloads of frames into messages."""
    return [decode_text(payload, redact) if isinstance(payload, str) else decode_binary(payload) for payload in batch]


def outcome(
    ending: Ending, last: RealtimeMessage | None, redact: Callable[[str], str], stalled: bool = False
) -> MeshAPIError:
    """Say how a session ended (design.md sections 4 and 9).

    Args:
        ending: How its connection ended.
        last: The last message before.
        redact: Takes secrets out of what the server says.
        stalled: Whether the reader had to wait for consumers not long before.
    """
    error = last.error if last is not None else None
    reason = redact(ending.reason)
    if ending.received and error is not None:
        end = again(error)
        assert isinstance(end, RealtimeError)
        end.close_code = ending.code
        return end
    if ending.received and ending.code == 1000:
        return SessionClosed(f"the server closed the session{_quoted(reason)}", close_code=1000, close_reason=reason)
    what = ending.problem or f"the server closed the connection with {_named(ending.code)}{_quoted(reason)}"
    if stalled:
        what += "; before that it had to wait, because nobody consumed the messages here"
    lost = ConnectionLost(
        f"the session is lost: {redact(what)}; connect again", close_code=ending.code, close_reason=reason
    )
    lost.__cause__ = ending.cause or (again(error) if error is not None else None)
    return lost


def _quoted(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _named(code: int) -> str:
    meaning = {
        1001: "going away",
        1005: "no code",
        1011: "internal error",
        1012: "restart",
        1013: "try again later",
    }
    return f"{code}, {meaning[code]}" if code in meaning else str(code)


class Pump:
    """One reader thread over one connection.

    It starts in :meth:`start`, owns the receiving side of the connection and gives the socket back as its last
    act. It ends when the connection does, with exactly one outcome, which :attr:`conclude` is told. It runs no
    code of a user and waits for no sender.

    Args:
        connection: What to read from.
        inbox: Where messages go.
        observe: Looks at every message before a consumer can see it.
        conclude: Is told the outcome, once.
        redact: Takes secrets out of what goes into exceptions.
    """

    def __init__(
        self,
        connection: Connection,
        inbox: Inbox,
        *,
        observe: Callable[[RealtimeMessage], None],
        conclude: Callable[[MeshAPIError], None],
        redact: Callable[[str], str],
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._observe = observe
        self._conclude = conclude
        self._redact = redact
        self._last: RealtimeMessage | None = None
        self._last_stall = -math.inf  # when the reader last had to wait for consumers
        self._warned = False
        self._thread = threading.Thread(target=self._run, name=f"meshapi-rt-reader-{next(_numbers)}", daemon=True)

    def start(self, first: list[str | bytes]) -> None:
        """Deliver what was read while connecting, then start the thread."""
        if first:
            self._deliver(first)
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; tell whether it has. The thread itself does not wait for itself."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        end: MeshAPIError
        try:
            while True:
                self._deliver(self._connection.receive())
                self._wait_for_room()
        except Ended as exc:
            stalled = time.monotonic() - self._last_stall < _STALL_MEMORY
            end = outcome(exc.ending, self._last, self._redact, stalled)
        except BaseException as exc:  # nobody may wait for a thread that died
            log.exception("the reader thread failed")
            end = ConnectionLost("the session is lost: its reader thread failed, which is a bug of meshapi_rt")
            end.__cause__ = exc
        self._conclude(end)
        self._connection.finish()

    def _deliver(self, batch: list[str | bytes]) -> None:
        messages = decode_batch(batch, self._redact)
        for message in messages:
            self._observe(message)
        self._last = messages[-1]
        self._inbox.put_many(messages, [len(payload) for payload in batch])

    def _wait_for_room(self) -> None:
        """Stop reading while the inbox is full; pings go on."""
        if not self._inbox.full:
            return
        if not self._warned:
            self._warned = True
            log.warning(
                "%d unread messages wait (max_unread_bytes reached): reading stops until they are consumed; "
                "the server may hang up",
                len(self._inbox),
            )
        while not self._inbox.wait_for_room(self._connection.tend()):
            pass
        self._last_stall = time.monotonic()
