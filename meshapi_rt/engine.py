"""One session over one or more connections: sending, what is not for the user's eyes, the gap, and the one ending."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from . import pcm
from .errors import (
    ConfigurationError,
    ConnectionLost,
    ErrorKind,
    MeshAPIError,
    RealtimeError,
    SessionClosed,
    TimedOut,
)
from .handover import Inbox, again
from .history import History
from .message import RealtimeMessage, encode_append, encode_event, event_object
from .opening import first_messages
from .policy import ReconnectPolicy
from .pump import Pump, RenewNow
from .replay import plan_replay
from .retired import AUDIO_DELTAS, beta_fields, current_name
from .revival import Revived, reconnected_message, revive
from .stats import Counters, SessionStats
from .transport import Connection, CutOff, NotSent
from .upkeep import Upkeep
from .waiting import Deadline, Wait

__all__ = ["Engine", "Options"]

log = logging.getLogger("meshapi_rt")

_APPEND_SECONDS = 10  # of audio per append event; the limit is 15 MiB (protocol.md 1.5, T)
# What makes no sense later: while there is no connection it is dropped and counted (issue of a live conversation).
_PERISHABLE = frozenset({"input_audio_buffer.append", "response.cancel", "conversation.item.truncate"})


@attrs.frozen(kw_only=True)
class Options:
    """How a session behaves; see ``RealtimeConnectParams``."""

    max_unread_bytes: int
    binary_audio: bool
    keepalive: float | None
    keepalive_for: float | None
    policy: ReconnectPolicy | None


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
        The pump's thread calls the methods of ``Keeper`` and alone writes the history. Everything else may be
        called from any thread.

    Args:
        reopen: Opens a WebSocket to the server, under the wait that it is given.
        redact: Takes the token out of what a server says.
        counters: What the connections count in.
        options: How the session behaves.
    """

    def __init__(
        self,
        *,
        reopen: Callable[[Wait], Connection],
        redact: Callable[[str], str],
        counters: Counters,
        options: Options,
    ) -> None:
        self._reopen = reopen
        self._redact = redact
        self._counters = counters
        self._options = options
        self._policy = options.policy
        self._ids = _EventIds()
        self._warned_of_beta = False
        # Guards _connection, _closing and _dropped; waited on for another connection. Held for attribute access only.
        self._state = threading.Condition(threading.Lock())
        self._connection: Connection | None = None  # None in a gap
        self._closing = False
        self._dropped = 0
        self._dropped_before = 0  # the last reconnect
        self._told_to_close = threading.Event()  # ends a reconnect under way
        # The session.updates on their way, in the order of the wire: (event id, whether it is one of ours).
        # Appended under the connection's frame lock, taken by the reader.
        self._updates: deque[tuple[str, bool]] = deque()
        self._fence: str | None = None  # the update whose answer shows that a retired connection is done
        self._restored: set[str] = set()  # items whose conversation.item.done is still to come
        self._unsaid_audio = False  # audio was appended and not committed; any thread
        self._last_used = time.monotonic()
        self._taken = 0
        self._upkeep = Upkeep(options.keepalive, options.keepalive_for, options.policy)
        self.inbox = Inbox(options.max_unread_bytes)
        self.history = History()
        self._pump = Pump(self.inbox, self, counters, redact=redact)
        _engines.add(self)

    # -- opening ---

    def open(self, wait: Wait, *, for_first_frame: bool) -> None:
        """Connect, wait for the first frame if asked to, and start the reader.

        Raises:
            ConnectError: There is no session.
            Cancelled: The cancel event was set.
        """
        connection = self._reopen(wait)
        try:
            first = first_messages(connection, wait, self._redact) if for_first_frame else []
        except BaseException:
            connection.finish()
            raise
        self._connection = connection
        self._upkeep.connected(time.monotonic(), None)
        self._pump.start(connection, first)

    # -- sending ---

    def send(self, event: object, timeout: float | None) -> str:
        """Send one event; return its ``event_id``."""
        wait = Wait(timeout)
        wire = event_object(event)
        kind: str = wire["type"]
        event_id: str = wire.get("event_id") or self._ids.next()
        wire["event_id"] = event_id
        payload = encode_event(wire)
        mark = None
        if kind == "session.update":
            self._warn_of_beta(wire)
            mark = partial(self._updates.append, (event_id, False))
        elif kind.startswith("input_audio_buffer."):
            self._unsaid_audio = kind.endswith(".append")
        self._hand_over(payload, wait, mark=mark, perishable=kind in _PERISHABLE)
        log.debug("sent %s, %d bytes", kind, len(payload))
        return event_id

    def send_audio(self, audio: pcm.AudioLike, timeout: float | None) -> None:
        """Send audio, in pieces of 10 s at most."""
        wait = Wait(timeout)
        whole = pcm.as_int16(audio).view(np.uint8).data
        size = _APPEND_SECONDS * pcm.SAMPLE_RATE * pcm.BYTES_PER_SAMPLE
        for start in range(0, len(whole), size):
            piece = whole[start : start + size]
            if self._binary_audio:
                self._hand_over(bytes(piece), wait, text=False, perishable=True)
            else:
                self._hand_over(encode_append(self._ids.next(), piece), wait, perishable=True)
            self._unsaid_audio = True
            log.debug("sent audio of %d bytes", len(piece))

    @property
    def _binary_audio(self) -> bool:
        return self._options.binary_audio

    def _hand_over(
        self,
        payload: bytes,
        wait: Wait,
        *,
        text: bool = True,
        mark: Callable[[], None] | None = None,
        perishable: bool = False,
    ) -> None:
        """Send on the current connection; in a gap wait for the next one, or drop what is perishable."""
        self._last_used = time.monotonic()
        broken: Connection | None = None
        while True:
            connection = self._current(wait, broken, perishable=perishable)
            if connection is None:
                return
            try:
                connection.send(payload, wait, text=text, mark=mark)
            except NotSent:
                broken = connection
            except CutOff as exc:
                if not (perishable and self._drop()):
                    raise self._cut_off() from exc.__cause__
                return
            else:
                return

    def _current(self, wait: Wait, broken: Connection | None, *, perishable: bool) -> Connection | None:
        """Return a connection other than *broken*; ``None`` where the send was dropped and counted."""
        with self._state:
            while True:
                end = self.inbox.ended
                if end is not None:
                    raise again(end)
                if self._connection is not None and self._connection is not broken:
                    return self._connection
                if perishable and self._policy is not None:
                    self._dropped += 1
                    return None
                longest = wait.slice()
                if longest == 0:
                    raise TimedOut(
                        f"nothing was sent within {wait.timeout:g} s: the connection is lost; the session is open and "
                        "waits for another one"
                    )
                self._state.wait(longest)

    def _drop(self) -> bool:
        """Count a send as dropped, if the session goes on without it."""
        with self._state:
            goes_on = self._policy is not None and self.inbox.ended is None
            self._dropped += goes_on
        return goes_on

    def _cut_off(self) -> MeshAPIError:
        """Say that a send broke off with its connection; the session may go on."""
        end = self.inbox.ended
        if end is not None:
            return again(end)
        lost = "the connection broke while an event was being sent; whether the server got it is unknown"
        if self._policy is not None:
            return ConnectionLost(f"{lost}, so it is not sent again; the session connects again")
        return ConnectionLost(lost)

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

    # -- the reader's side: Keeper ---

    def sift(self, messages: list[RealtimeMessage]) -> list[RealtimeMessage]:
        """Mirror every message, and keep back the answers to what this side sent on its own."""
        shown = []
        for message in messages:
            self.history.observe(message)
            kind = message.type
            if kind == "session.created":
                self._upkeep.connected(time.monotonic(), self._expires_in())
            elif kind in AUDIO_DELTAS and message.audio is None:
                log.warning("the audio of a %s event is not base64: msg.audio is None for it", kind)
            if not ((self._updates or self._restored) and self._is_ours(message)):
                shown.append(message)
        return shown

    def _expires_in(self) -> float | None:
        expires = self.history.expires_at
        return None if expires is None else expires - time.time()

    def _is_ours(self, message: RealtimeMessage) -> bool:
        kind = current_name(message.type or "")
        if kind == "session.updated" and self._updates:
            return self._settle(self._updates[0])
        if message.error is not None:
            for update in self._updates:
                if update[0] == message.error.event_id:
                    return self._settle(update)
        if kind == "conversation.item.done" and message.event:
            item = message.event.get("item")
            item_id = item.get("id") if isinstance(item, dict) else None
            if item_id in self._restored:
                self._restored.discard(item_id)
                return True
        return False

    def _settle(self, update: tuple[str, bool]) -> bool:
        self._updates.remove(update)
        if update[0] == self._fence:
            self._fence = None
        return update[1]

    def tick(self, connection: Connection) -> float | None:
        """Send a keepalive or leave for a new connection when it is time."""
        now = time.monotonic()
        gap, at_last = self._upkeep.renewal_due(now)
        if gap == 0:
            cut = self._busy()
            if cut is None or at_last == 0:
                self._begin_gap()
                self._fence = self._post_update(connection.retire)
                raise RenewNow(cut)
            gap = at_last
        keepalive = self._upkeep.keepalive_due(now, self._counters.last_event_sent, self._used(now))
        if keepalive == 0:
            self._post_update(connection.post)
            self._upkeep.kept(now)
            keepalive = self._upkeep.keepalive_due(now, self._counters.last_event_sent, self._last_used)
        longest = min(gap, keepalive)
        return None if longest == math.inf else longest

    def _busy(self) -> str | None:
        unsaid = self._unsaid_audio and self.history.manual_turns
        return self.history.busy or ("audio that was not committed" if unsaid else None)

    def _used(self, now: float) -> float:
        """Return when the caller last sent or received; a consumer that waits is receiving."""
        taken = self.inbox.taken()
        if taken != self._taken or self.inbox.awaited:
            self._taken, self._last_used = taken, now
        return self._last_used

    def _post_update(self, post: Callable[[bytes, Callable[[], None]], None]) -> str:
        """Send the smallest ``session.update``, whose answer is kept back; return its event id.

        It keeps an idle session: the gateway counts events, not pings (protocol.md 1.5, G). And as events are
        answered in order (1.6, D, O), its answer shows that all before it have been answered.
        """
        event_id = self._ids.next()
        event = {"event_id": event_id, "type": "session.update", "session": {"type": self.history.session_type}}
        post(encode_event(event), partial(self._updates.append, (event_id, True)))
        log.debug("sent a session.update without a change")
        return event_id

    def left(self) -> bool:
        """Tell whether everything sent before a ``RenewNow`` has been answered."""
        return self._fence is None

    def announces_end(self, message: RealtimeMessage) -> bool:
        """Tell whether an error may be followed by the close of a connection that another replaces."""
        return self._policy is not None and message.error is not None and message.error.code in self._policy.codes

    def survives(self, end: MeshAPIError) -> bool:
        """Tell whether the policy, the server and the user let the session go on."""
        if self._policy is None or self.inbox.ended is not None or not self._policy.survives(end):
            return False
        return self._policy.per_session is None or self._counters.reconnects < self._policy.per_session

    def reconnect(self, end: MeshAPIError | RenewNow) -> tuple[Connection, list[RealtimeMessage]] | None:
        """Connect again and restore; ``None`` where that failed or the user closed, and the session is over."""
        assert self._policy is not None
        began = time.monotonic()
        cut = [clause for clause in (self._cut_by(end),) if clause]
        self._begin_gap()
        log.info("connecting again: %s", _why(end))
        try:
            revived = revive(
                reopen=self._reopen,
                policy=self._policy,
                replay=plan_replay(self.history, self._policy.restore_items),
                next_id=self._ids.next,
                redact=self._redact,
                closing=self._told_to_close,
            )
        except MeshAPIError as failure:
            self.conclude(self._given_up(end, failure))
            return None
        messages = self._settle_in(revived)
        self._counters.reconnects += 1
        with self._state:
            dropped, self._dropped_before = self._dropped - self._dropped_before, self._dropped
            closing = self._closing
            self._connection = None if closing else revived.connection
            self._state.notify_all()
        if closing:
            revived.connection.abort("it was closed by this side", unread=True)
        told = reconnected_message(
            revived,
            reason=_why(end),
            planned=isinstance(end, RenewNow),
            gap=time.monotonic() - began,
            cut=cut,
            dropped=dropped,
        )
        return revived.connection, [told, *messages]

    def _cut_by(self, end: MeshAPIError | RenewNow) -> str | None:
        return end.cut if isinstance(end, RenewNow) else self._busy()

    def _settle_in(self, revived: Revived) -> list[RealtimeMessage]:
        """Take the new session's facts over; return what is for the consumers."""
        self.history.forget_connection()
        self.history.observe(revived.hello)
        self._upkeep.connected(time.monotonic(), self._expires_in())
        if revived.settings is not None:
            self.history.observe(revived.settings)
        self._restored = set(revived.unfinished)
        return revived.messages

    def _begin_gap(self) -> None:
        with self._state:
            self._connection = None
        self._updates.clear()
        self._restored.clear()
        self._unsaid_audio = False

    def _given_up(self, end: MeshAPIError | RenewNow, failure: MeshAPIError) -> MeshAPIError:
        lost = ConnectionLost(
            f"the session is lost ({_why(end)}), and connecting again failed: {failure}",
            close_code=getattr(end, "close_code", None) or 1006,
        )
        lost.__cause__ = failure
        return lost

    def conclude(self, end: MeshAPIError) -> None:
        """Take the reader's outcome; a close of this side came first, if there was one."""
        if self._policy is None:
            _advise(end)
        if self.inbox.end(end):
            log.debug("the session ended: %s", end)
        with self._state:
            self._connection = None
            self._state.notify_all()

    # -- the end ---

    def close(self, code: int, reason: str, timeout: float) -> None:
        """End the session; see ``RealtimeSession.close``."""
        deadline = Deadline(timeout)
        with self._state:
            first, self._closing = not self._closing, True
            connection = self._connection
        self._told_to_close.set()
        told = f" ({reason})" if reason else ""
        closed = SessionClosed(f"this side closed the session{told}", close_code=code, close_reason=reason)
        if first and self.inbox.end(closed):
            self._wake_senders()
            if connection is not None:
                self._say_goodbye(connection, code, reason, deadline)
        elif not first:
            self._pump.join(deadline.left() / 2)  # another close() is in the middle of its handshake
        if connection is not None:
            connection.abort("it was closed by this side", unread=True)
        if not self._pump.join(deadline.left()):
            log.warning("the reader thread did not stop in time")

    def _say_goodbye(self, connection: Connection, code: int, reason: str, deadline: Deadline) -> None:
        """Begin the closing handshake and give the peer a moment to finish it."""
        with contextlib.suppress(TimeoutError, NotSent, CutOff):
            connection.send_close(code, reason, Wait(deadline.left() / 4))
            self._pump.join(deadline.left() / 2)

    def _wake_senders(self) -> None:
        with self._state:
            self._state.notify_all()

    def abort(self) -> None:
        """Break off without a word: the session is garbage."""
        self._told_to_close.set()
        self.inbox.end(SessionClosed("the session was garbage-collected while open"))
        with self._state:
            self._closing = True
            connection = self._connection
            self._state.notify_all()
        if connection is not None:
            connection.abort("it was garbage-collected while open", unread=True)

    def orphan(self) -> None:
        """End the session in a forked child, where its reader does not exist."""
        self._state = threading.Condition(threading.Lock())
        self.inbox.orphan(ConnectionLost("this session was opened in another process, before a fork: open one here"))

    # -- what is seen ---

    def stats(self) -> SessionStats:
        """Return a snapshot of the counts."""
        counted, shift = self._counters, time.time() - time.monotonic()
        return SessionStats(
            frames_sent=counted.frames_sent,
            frames_received=counted.frames_received,
            bytes_sent=counted.bytes_sent,
            bytes_received=counted.bytes_received,
            unread_messages=len(self.inbox),
            unread_bytes=self.inbox.unread_bytes(),
            unread_peak=self.inbox.peak,
            stalls=counted.stalls,
            ping_round_trip=counted.ping_round_trip,
            reconnects=counted.reconnects,
            dropped_sends=self._dropped,
            last_sent=None if counted.last_sent is None else counted.last_sent + shift,
            last_received=None if counted.last_received is None else counted.last_received + shift,
        )


def _why(end: MeshAPIError | RenewNow) -> str:
    return "the connection was near the end of its life" if isinstance(end, RenewNow) else str(end)


def _advise(end: MeshAPIError) -> None:
    """Let an end that a new connection would mend say that ``reconnect`` exists."""
    if isinstance(end, ConnectionLost) or (isinstance(end, RealtimeError) and end.kind is ErrorKind.RECONNECTABLE):
        end.advice = "connect again, or use connect(..., reconnect=True) to have that done"


def check_close(code: int, reason: str) -> None:
    """Refuse what RFC 6455 7.4 does not let a client send in a close frame.

    Raises:
        ConfigurationError: With what is allowed.
    """
    if not isinstance(code, int) or not (code in (1000, 1001, 1003, 1007, 1008, 1009) or 3000 <= code <= 4999):
        raise ConfigurationError(f"a close code must be 1000, or 3000 to 4999 for your own use; not {code!r}")
    if not isinstance(reason, str) or len(reason.encode()) > 123:
        raise ConfigurationError("a close reason must be a string of at most 123 bytes of UTF-8")


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _orphan_all() -> None:
    for engine in list(_engines):
        engine.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_orphan_all)
