"""One session over one or more connections: sending, what is not for the user's eyes, the gap, and the one ending."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from .aside import Aside
from .claims import Claim, Claims
from .decoding import Wire
from .errors import (
    ConfigurationError,
    ConnectionLost,
    ErrorKind,
    MeshAPIError,
    RealtimeError,
    SessionClosed,
)
from .following import Follower, Turn
from .history import History
from .inbox import Inbox
from .keeping import AudioKeeper
from .message import RealtimeMessage
from .opening import first_messages
from .policy import ReconnectPolicy
from .pump import Pump, RenewNow
from .retired import AUDIO_DELTAS
from .sending import EventIds, Sender
from .stats import Counters, SessionStats
from .transport import CutOff, NotSent
from .upkeep import Upkeep
from .waiting import Deadline, Wait

if TYPE_CHECKING:
    from .revival import Revived

__all__ = ["Engine", "Options"]

log = logging.getLogger("meshapi_rt")
_NO_ITEMS: frozenset[str] = frozenset()  # one for all: each takes 216 bytes
_REMARKABLE = AUDIO_DELTAS | {"session.created"}  # of messages without audio


@attrs.frozen(kw_only=True, eq=False)
class Options:
    """How a session behaves; see ``RealtimeConnectParams``."""

    max_unread_bytes: int
    binary_audio: bool
    keepalive: float | None
    keepalive_for: float | None
    policy: ReconnectPolicy | None
    kept_audio_bytes: int  # 0 keeps none


class Engine:
    """The working parts of one session.

    Threads:
        The methods of ``Keeper`` are called by one thread at a time, the pump's or a consumer's that has the turn, and
        they alone write the history. Everything else may be called from any thread.

    Args:
        reopen: Opens a WebSocket to the server, under the wait that it is given.
        redact: Takes the token out of what a server says.
        counters: What the connections count in.
        options: How the session behaves.
    """

    def __init__(
        self,
        *,
        reopen: Callable[[Wait], Wire],
        redact: Callable[[str], str],
        counters: Counters,
        options: Options,
    ) -> None:
        self._reopen = reopen
        self.redact = redact
        self._counters = counters
        self._options = options
        self._policy = options.policy
        # Guards _closing. Held for attribute access only.
        self._state_lock = threading.Lock()
        self._closing = False
        self._told_to_close = threading.Event() if self._policy else None  # ends a reconnect under way
        self._leaving: Wire | None = None  # for another; close() breaks it off
        self._dropped_before = 0  # the last reconnect
        self._drops = 0  # connections lost, the renewed ones not counted
        self._last_used = time.monotonic()
        self._taken = 0
        self.keeper = AudioKeeper(options.kept_audio_bytes) if options.kept_audio_bytes else None
        self._as_text = _NO_ITEMS  # assistant items that were restored as text
        self._heard: list[dict[str, Any]] = []  # truncates of those, for the mirror; any thread appends
        self._upkeep = Upkeep(options.keepalive, options.keepalive_for, options.policy)
        self.due = -math.inf
        self.inbox = Inbox(options.max_unread_bytes)
        self.history = History()
        self.follower: Follower | None = None
        self._ids = EventIds()
        self.claims = Claims(self.inbox, self.history, self._cancel)
        self._aside = Aside(self.claims)
        self.sender = Sender(
            self.inbox,
            self.claims,
            self._ids,
            binary_audio=options.binary_audio,
            reconnects=options.policy is not None,
            hooks=self,
            hears=None if self.keeper is None else self._hears,
        )
        self._pump = Pump(self.inbox, self, counters, redact=redact)
        _engines.add(self)

    def next_id(self) -> str:
        """Return a fresh id for an event."""
        return self._ids.next()

    # -- opening ---

    def open(self, wait: Wait, *, for_first_frame: bool) -> None:
        """Connect, wait for the first frame if asked to, and start the reader.

        Raises:
            ConnectError: There is no session.
            Cancelled: The cancel event was set.
        """
        connection = self._reopen(wait)
        try:
            first = first_messages(connection, wait, self.redact) if for_first_frame else []
        except BaseException:
            connection.finish()
            raise
        self.sender.use(connection)
        self._connected(None)
        self._pump.start(connection, first)

    def _connected(self, expires_in: float | None) -> None:
        """Begin the clocks of a connection that its server ends after so many seconds, if it says."""
        self._upkeep.connected(time.monotonic(), expires_in)
        self.due = -math.inf

    # -- the sender's side: Hooks ---

    def settles(self, wire: dict[str, Any]) -> bool:
        """Keep a truncate of a restored item here: it has no audio on the server any more."""
        if wire["type"] == "conversation.item.truncate" and wire.get("item_id") in self._as_text:
            self._heard.append(wire)
            return True
        if self.keeper is not None and wire["type"] == "conversation.item.create":
            self.keeper.created(wire)
        if self.follower is not None:
            self.follower.sends(wire)
        return False

    def _hears(self, audio: bytes | memoryview | Mapping[str, Any]) -> None:
        """Keep the user's audio."""
        if self.keeper is not None and self.history.takes_pcm:
            self.keeper.appended(audio)

    # -- the reader's side: Keeper ---

    def sift(self, messages: list[RealtimeMessage]) -> list[RealtimeMessage]:
        """Mirror every message, and keep back the answers to what calls and the session itself have sent."""
        history, keeper = self.history, self.keeper
        for message in messages:
            history.observe(message)
            if message.audio is None and message.type in _REMARKABLE:
                self._look_closer(message.type)
            if keeper is not None and message.outline is not None:
                self._keep_audio(keeper, message.outline, message.audio)
        if self._heard:
            self._note_heard()
        follower, hidden = self.follower, None
        if follower is not None:  # sees what calls claim too, and before them: they ask it what follows a response
            hidden = [message for message in messages if follower.observe(message)]
        shown = self.claims.sift(messages) if self.claims.busy else messages
        return [message for message in shown if message not in hidden] if hidden else shown

    def _look_closer(self, kind: str | None) -> None:
        if kind == "session.created":
            self._connected(self._expires_in())
        else:
            log.warning("the audio of a %s event is not base64: msg.audio is None for it", kind)

    def turn_of(self, response_id: str) -> Turn | None:
        """Return what becomes of the calls of a response, where they are answered here."""
        return None if self.follower is None else self.follower.turn_of(response_id)

    def _cancel(self, response_id: str, claim: Claim) -> None:
        """Cancel a response of a call that is over; any thread, without waiting."""
        self.sender.post({"type": "response.cancel", "response_id": response_id}, claim)

    def _keep_audio(self, keeper: AudioKeeper, event: Mapping[str, Any], audio: bytes | None) -> None:
        if audio is None:
            keeper.observe(event)
        elif self.history.takes_audio(event.get("item_id")):
            keeper.spoken(event["item_id"], audio)

    def _note_heard(self) -> None:
        while self._heard:
            self.history.truncated(self._heard.pop(0))

    def _expires_in(self) -> float | None:
        expires = self.history.expires_at
        return None if expires is None else expires - time.time()

    def tick(self, connection: Wire) -> float:
        """Send a keepalive or leave for a new connection when it is time."""
        now = time.monotonic()
        waits_for_gap = False
        gap, at_last = self._upkeep.renewal_due(now)
        if gap == 0:
            cut = self._busy()
            if cut is None or at_last == 0:
                self._leaving = connection
                self.sender.use(None)
                self._aside.post_fence(connection.retire, self.history.session_type, self._ids.next())
                raise RenewNow(cut)
            gap, waits_for_gap = at_last, True
        keepalive = self._upkeep.keepalive_due(now, self._counters.last_asked, self._used(now))
        if keepalive == 0:
            self._aside.post_update(connection.post, self.history.session_type, self._ids.next())
            self._upkeep.kept(now)
            keepalive = self._upkeep.keepalive or math.inf
        longest = min(gap, keepalive)
        # What is sent and received meanwhile only puts it off, but for the end of what a renewal waits for.
        self.due = now if waits_for_gap else now + longest
        return longest

    def _busy(self) -> str | None:
        unsaid = self.sender.unsaid_audio and self.history.manual_turns
        waiting = "a call that waits for its answer" if self.claims.waiting else None
        return self.history.busy or ("audio that was not committed" if unsaid else waiting)

    def _used(self, now: float) -> float:
        """Return when the caller last sent or received; a consumer that waits is receiving."""
        taken = self.inbox.taken()
        if taken != self._taken or self.inbox.awaited:
            self._taken, self._last_used = taken, now
        return max(self._last_used, self._counters.last_asked or -math.inf)

    def left(self) -> bool:
        """Tell whether everything sent before a ``RenewNow`` has been answered."""
        return self._aside.fence_answered

    def announces_end(self, message: RealtimeMessage) -> bool:
        """Tell whether an error may be followed by the close of a connection that another replaces."""
        return self._policy is not None and message.error is not None and message.error.code in self._policy.codes

    def survives(self, end: MeshAPIError) -> bool:
        """Tell whether the policy, the server and the user let the session go on."""
        if self._policy is None or self.inbox.ended is not None or not self._policy.survives(end):
            return False
        return self._policy.per_session is None or self._drops < self._policy.per_session

    def reconnect(self, end: MeshAPIError | RenewNow) -> tuple[Wire, list[RealtimeMessage]] | None:
        """Connect again and restore; ``None`` where that failed or the user closed, and the session is over."""
        from .replay import plan_replay  # noqa: PLC0415 - of sessions that lose their connection
        from .revival import reconnected_message, revive  # noqa: PLC0415

        told_to_close = self._told_to_close
        assert self._policy is not None
        assert told_to_close is not None
        began = time.monotonic()
        self._drops += not isinstance(end, RenewNow)
        self.claims.lose(_unanswered(end))
        cut = [clause for clause in (self._cut_by(end),) if clause]
        self.sender.use(None)
        self._note_heard()
        if self.follower is not None:
            self.follower.lost()
        log.info("connecting again: %s", _why(end))
        try:
            revived = revive(
                reopen=self._reopen,
                policy=self._policy,
                replay=plan_replay(self.history, self._policy.restore_items, self._kept_audio),
                next_id=self._ids.next,
                redact=self.redact,
                closing=told_to_close,
            )
        except MeshAPIError as failure:
            self.conclude(self._given_up(end, failure))
            return None
        messages = self._settle_in(revived)
        self._counters.reconnects += 1
        self._leaving = None
        self.sender.use(revived.connection)
        if told_to_close.is_set():  # it may have looked for a connection just before
            revived.connection.abort("it was closed by this side", unread=True)
        if self.follower is not None:
            self.follower.reconnected(revived.restored, revived.connection)
        dropped = self.sender.dropped - self._dropped_before
        self._dropped_before += dropped
        told = reconnected_message(
            revived,
            reason=_why(end),
            planned=isinstance(end, RenewNow),
            gap=time.monotonic() - began,
            cut=cut,
            dropped=dropped,
        )
        return revived.connection, [told, *messages]

    def _kept_audio(self, item_id: str) -> bytes | None:
        return self.keeper.audio_of(item_id) if self.keeper is not None else None

    def _cut_by(self, end: MeshAPIError | RenewNow) -> str | None:
        return end.cut if isinstance(end, RenewNow) else self._busy()

    def _settle_in(self, revived: Revived) -> list[RealtimeMessage]:
        """Take the new session's facts over; return what is for the consumers."""
        self.history.forget_connection()
        self.history.observe(revived.hello)
        self.history.resumed(set(revived.restored))
        self._connected(self._expires_in())
        if revived.settings is not None:
            self.history.observe(revived.settings)
        self.claims.forget_connection(set(revived.unfinished))
        if self.keeper is not None:
            self.keeper.forget_connection()
        self._as_text |= frozenset(
            item.id for item in self.history.items if item.role == "assistant" and item.id in revived.restored
        )
        return revived.messages

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
        self.claims.wake()
        self.sender.use(None)
        if self.follower is not None:
            self.follower.close()

    # -- the end ---

    def close(self, code: int, reason: str, timeout: float) -> None:
        """End the session; see ``RealtimeSession.close``."""
        deadline = Deadline(timeout)
        with self._state_lock:
            first, self._closing = not self._closing, True
        if self._told_to_close is not None:
            self._told_to_close.set()
        told = f" ({reason})" if reason else ""
        closed = SessionClosed(f"this side closed the session{told}", close_code=code, close_reason=reason)
        first_end = first and self.inbox.end(closed)
        connection = self.sender.connection or self._leaving
        if first_end:
            self.sender.wake()
            self.claims.wake()
            if connection is not None:
                self._say_goodbye(connection, code, reason, deadline)
        elif not first:
            self._pump.join(deadline.left() / 2)  # another close() is in the middle of its handshake
        if connection is not None:
            connection.abort("it was closed by this side", unread=True)
        if not self._pump.join(deadline.left()):
            log.warning("the reader thread did not stop in time")
        if self.follower is not None:
            self.follower.close()
            self.follower.join(deadline.left())

    def _say_goodbye(self, connection: Wire, code: int, reason: str, deadline: Deadline) -> None:
        """Begin the closing handshake and give the peer a moment to finish it."""
        with contextlib.suppress(TimeoutError, NotSent, CutOff):
            connection.send_close(code, reason, Wait(deadline.left() / 4))
            self._pump.join(deadline.left() / 2)

    def abort(self) -> None:
        """Break off without a word: the session is garbage."""
        if self._told_to_close is not None:
            self._told_to_close.set()
        self.inbox.end(SessionClosed("the session was garbage-collected while open"))
        self.sender.wake()
        self.claims.wake()
        connection = self.sender.connection
        if connection is not None:
            connection.abort("it was garbage-collected while open", unread=True)

    def orphan(self) -> None:
        """End the session in a forked child, where its reader does not exist."""
        self._state_lock = threading.Lock()
        self.sender.orphan()
        if self.keeper is not None:
            self.keeper.orphan()
        self.claims.orphan()
        self.inbox.orphan(ConnectionLost("this session was opened in another process, before a fork: open one here"))

    # -- what is seen ---

    def stats(self) -> SessionStats:
        """Return a snapshot of the counts."""
        return self._counters.snapshot(
            unread_messages=len(self.inbox),
            unread_bytes=self.inbox.unread_bytes(),
            unread_peak=self.inbox.peak,
            unread_beyond=self.inbox.beyond,
            dropped_sends=self.sender.dropped,
        )


def _why(end: MeshAPIError | RenewNow) -> str:
    return "the connection was near the end of its life" if isinstance(end, RenewNow) else str(end)


def _unanswered(end: MeshAPIError | RenewNow) -> ConnectionLost:
    """Say to a call that its answer will not come."""
    return ConnectionLost(
        f"the connection was lost while this call waited for its answer ({_why(end)}): whether the server did what it "
        "asked is not known, and it is not asked again; the session connects again",
        close_code=getattr(end, "close_code", None) or 1006,
    )


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
