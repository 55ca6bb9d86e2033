"""One session over its connection: opening, sending, what the server confirmed, and the one ending."""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import pcm
from .errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    MeshAPIError,
    SessionClosed,
    remedy,
)
from .handover import Inbox, again
from .message import RealtimeMessage, encode_append, encode_event, event_object
from .pump import Pump, decode_batch, outcome
from .retired import AUDIO_DELTAS, beta_fields
from .transport import Connection, Ended, NotSent
from .waiting import Deadline, Wait

__all__ = ["Engine", "SessionRecord"]

log = logging.getLogger("meshapi_rt")

_APPEND_SECONDS = 10  # of audio per append event; the limit is 15 MiB (protocol.md 1.5, T)
_REFUSAL_PATIENCE = 1.0  # seconds for the close that follows an error as first frame


class SessionRecord:
    """What the server last said of the session. Written by the reader; each attribute is replaced as a whole."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.settings: Mapping[str, Any] = {}

    def observe(self, message: RealtimeMessage) -> None:
        """Take in ``session.created`` and ``session.updated``; say when audio is broken."""
        event, kind = message.event, message.type
        if kind in ("session.created", "session.updated") and event is not None:
            session = event.get("session")
            if isinstance(session, dict):
                self.settings = session
                given = session.get("id")
                self.id = given if isinstance(given, str) else self.id
        elif kind in AUDIO_DELTAS and message.audio is None:
            log.warning("the audio of a %s event is not base64: msg.audio is None for it", kind)


class _EventIds:
    """Unique ids for client events: a random part for the session, and a number."""

    def __init__(self) -> None:
        self._prefix = f"evt_{secrets.token_hex(6)}_"
        # Guards _last.
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> str:
        with self._lock:
            self._last += 1
            return f"{self._prefix}{self._last}"


class Engine:
    """The working parts of one session.

    Threads:
        The pump's reader thread writes the record and the inbox. Everything else may be called from any thread.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        redact: Callable[[str], str],
        max_unread_bytes: int,
        binary_audio: bool,
    ) -> None:
        self._connection = connection
        self._redact = redact
        self._binary_audio = binary_audio
        self._ids = _EventIds()
        self._warned_of_beta = False
        # Guards _closing. Held for attribute access only.
        self._state_lock = threading.Lock()
        self._closing = False
        self.inbox = Inbox(max_unread_bytes)
        self.record = SessionRecord()
        self._pump = Pump(
            connection,
            self.inbox,
            observe=self.record.observe,
            conclude=self._conclude,
            redact=redact,
        )

    # -- opening ---

    def open(self, wait: Wait | None) -> None:
        """Wait for the first frame, unless *wait* is ``None``, and start the reader.

        Raises:
            ConnectError: None came, or the connection ended first.
            ConnectRefused: It was an error event.
            Cancelled: The cancel event was set.
        """
        try:
            first = self._first_frames(wait) if wait is not None else []
        except BaseException:
            self._connection.finish()
            raise
        self._pump.start(first)

    def _first_frames(self, wait: Wait) -> list[str | bytes]:
        """Read on the caller's thread; there is no reader yet."""
        try:
            while not (batch := self._connection.receive(_finite(wait.slice()))):
                if wait.left() == 0:
                    raise ConnectTimeout(
                        f"no session within {wait.timeout:g} s: the server accepted the connection but sent no first "
                        "frame; check that the base URL names a server of this protocol"
                    )
        except Ended as exc:
            end = outcome(exc.ending, None, self._redact)
            raise ConnectError(f"the server ended the connection before its first frame: {end}") from end
        first = decode_batch(batch[:1], self._redact)[0]
        if first.error is not None:
            del batch  # a server may repeat the token in it, and tracebacks may print local variables
            raise self._refused(first)
        return batch

    def _refused(self, first: RealtimeMessage) -> ConnectRefused:
        """Wait for the close that follows a terminal error, for its code."""
        error, code = first.error, None
        assert error is not None
        deadline = Deadline(_REFUSAL_PATIENCE)
        try:
            while deadline.left():
                self._connection.receive(deadline.left())
        except Ended as exc:
            code = exc.ending.code if exc.ending.received else None
        close = f", close code {code}" if code is not None else ""
        return ConnectRefused(
            f"the server refused the session: {error.code or error.type or 'error'}: {error.message}"
            f"{close}; {remedy(error.code) or 'see what the error says'}",
            code=error.code,
            request_id=error.request_id,
            error=error,
            close_code=code,
        )

    # -- sending ---

    def send(self, event: object, timeout: float | None) -> str:
        """Send one event; return its ``event_id``."""
        wait = Wait(timeout)
        wire = event_object(event)
        event_id: str = wire.get("event_id") or self._ids.next()
        wire["event_id"] = event_id
        payload = encode_event(wire)
        self._warn_of_beta(wire)
        self._hand_over(payload, wait)
        log.debug("sent %s, %d bytes", wire["type"], len(payload))
        return event_id

    def send_audio(self, audio: pcm.AudioLike, timeout: float | None) -> None:
        """Send audio, in pieces of 10 s at most."""
        wait = Wait(timeout)
        whole = pcm.as_int16(audio).view(np.uint8).data
        size = _APPEND_SECONDS * pcm.SAMPLE_RATE * pcm.BYTES_PER_SAMPLE
        for start in range(0, len(whole), size):
            piece = whole[start : start + size]
            if self._binary_audio:
                self._hand_over(bytes(piece), wait, text=False)
            else:
                self._hand_over(encode_append(self._ids.next(), piece), wait)
            log.debug("sent audio of %d bytes", len(piece))

    def _hand_over(self, payload: bytes, wait: Wait, *, text: bool = True) -> None:
        self._check_open()
        try:
            self._connection.send(payload, wait, text=text)
        except NotSent as exc:
            self._check_open()
            lost = ConnectionLost("nothing was sent: the connection is breaking off; connect again")
            raise lost from exc.__cause__

    def _check_open(self) -> None:
        end = self.inbox.ended
        if end is not None:
            raise again(end)

    def _warn_of_beta(self, wire: Mapping[str, Any]) -> None:
        if self._warned_of_beta:
            return
        told = beta_fields(wire)
        if told:
            self._warned_of_beta = True
            warnings.warn(
                f"this session.update has the retired beta shape, which the gateway refuses: {told}",
                UserWarning,
                stacklevel=4,
            )

    # -- the end ---

    def _conclude(self, end: MeshAPIError) -> None:
        """Take the reader's outcome; a close of this side outranks it."""
        self.inbox.end(end)
        log.debug("the session ended: %s", end)

    def close(self, code: int, reason: str, timeout: float) -> None:
        """End the session; see ``RealtimeSession.close``."""
        deadline = Deadline(timeout)
        with self._state_lock:
            first, self._closing = not self._closing, True
        told = f" ({reason})" if reason else ""
        closed = SessionClosed(f"this side closed the session{told}", close_code=code, close_reason=reason)
        if first and self.inbox.end(closed):
            self._say_goodbye(code, reason, deadline)
        elif not first:
            self._pump.join(deadline.left() / 2)  # another close() is in the middle of its handshake
        self._connection.abort("it was closed by this side")
        if not self._pump.join(deadline.left()):
            log.warning("the reader thread did not stop in time")

    def _say_goodbye(self, code: int, reason: str, deadline: Deadline) -> None:
        """Begin the closing handshake and give the peer a moment to finish it."""
        with contextlib.suppress(TimeoutError, NotSent):
            self._connection.send_close(code, reason, Wait(deadline.left() / 4))
            self._pump.join(deadline.left() / 2)

    def abort(self) -> None:
        """Break off without a word: the session is garbage."""
        self.inbox.end(SessionClosed("the session was garbage-collected while open"))
        self._connection.abort("it was garbage-collected while open")


def _finite(longest: float | None) -> float | None:
    return None if longest is None or math.isinf(longest) else longest


def check_close(code: int, reason: str) -> None:
    """Refuse what RFC 6455 7.4 does not let a client send in a close frame.

    Raises:
        ConfigurationError: With what is allowed.
    """
    if not isinstance(code, int) or not (code in (1000, 1001, 1003, 1007, 1008, 1009) or 3000 <= code <= 4999):
        raise ConfigurationError(f"a close code must be 1000, or 3000 to 4999 for your own use; not {code!r}")
    if not isinstance(reason, str) or len(reason.encode()) > 123:
        raise ConfigurationError("a close reason must be a string of at most 123 bytes of UTF-8")
