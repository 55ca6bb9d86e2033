"""How a caller's events and audio get onto the current connection, or wait for the next one."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, Protocol, TypeAlias

from . import pcm
from .claims import Claim, Claims
from .codecs import chosen
from .decoding import Wire
from .errors import ConnectionLost, MeshAPIError, TimedOut
from .inbox import Inbox, again
from .ledger import ANSWERED, Sent
from .message import encode_append, encode_event, event_object
from .retired import beta_fields
from .transport import BINARY, TEXT, CutOff, NotSent
from .waiting import Batons, Patience, Wait, begun, patience, sleep_on

__all__ = ["EventIds", "Hooks", "Sender"]

log = logging.getLogger("meshapi_rt")

_Push: TypeAlias = Callable[[bytes, Patience, "Callable[[], None] | None", int], None]
"""Sends one message on a connection: see ``Outgoing.send``."""

_APPEND_BYTES = 10 * pcm.SAMPLE_RATE * pcm.BYTES_PER_SAMPLE  # 10 s per append; the limit is 15 MiB (protocol.md 1.5, T)
# What makes no sense later: a session that connects again drops and counts it while there is no connection.
_PERISHABLE = frozenset({"input_audio_buffer.append", "response.cancel", "conversation.item.truncate"})


class EventIds:
    """Unique ids for client events. Any thread may ask.

    Attributes:
        session: What the ids of a session begin with, at random.
        number: Returns what follows, another number each time; atomic, without the GIL too.
    """

    def __init__(self) -> None:
        self.session = f"evt_{os.urandom(6).hex()}_"
        self.number = itertools.count(1).__next__

    def next(self) -> str:
        """Return an id that was not given out before."""
        return f"{self.session}{self.number()}"


def _in_a_gap(_payload: bytes, wait: Patience, _mark: Callable[[], None] | None, _opcode: int) -> None:
    """Send on no connection."""
    raise NotSent(begun(wait))


class Hooks(Protocol):
    """What a session wants to know of what goes out."""

    def settles(self, wire: dict[str, Any]) -> bool:
        """Look at an event, and tell whether it is settled here and must not go out."""


class Sender:
    """The sending side of a session; any thread.

    Args:
        inbox: Knows whether the session has ended.
        claims: Are told of what calls send, and of each ``session.update``.
        ids: Makes event ids.
        binary_audio: Send audio as binary frames.
        reconnects: Whether a lost connection is followed by another.
        hooks: What the session wants to know before something goes out.
        hears: Is told of audio that goes out, raw or as an append event, in the order of the wire; ``None``: nobody.

    Attributes:
        unsaid_audio: Audio was appended and not committed.
    """

    def __init__(
        self,
        inbox: Inbox,
        claims: Claims,
        ids: EventIds,
        *,
        binary_audio: bool,
        reconnects: bool,
        hooks: Hooks,
        hears: Callable[[bytes | memoryview | Mapping[str, Any]], None] | None,
    ) -> None:
        self._inbox = inbox
        self._claims = claims
        self._ids = ids
        self._binary_audio = binary_audio
        self._reconnects = reconnects
        self._hooks = hooks
        self._hears = hears
        self._warned_of_beta = False
        self._make_lock()
        self._encode_base64 = chosen().encode_base64
        self._connection: Wire | None = None  # None in a gap
        self._push: _Push = _in_a_gap  # sends on it
        self._tells = False  # whether each piece of audio is logged; looked up with each connection and other event
        self.dropped = 0
        self.unsaid_audio = False

    def _make_lock(self) -> None:
        # Guards dropped. Held for attribute access only.
        self._lock = threading.Lock()
        self._waiting = Batons()  # for another connection, or the end

    # -- which connection ---

    @property
    def connection(self) -> Wire | None:
        """The current connection; ``None`` in a gap and at the end."""
        return self._connection

    def use(self, connection: Wire | None) -> None:
        """Send on *connection* from now on; ``None`` begins a gap. Waiting senders look again."""
        self._connection = connection
        self._push = _in_a_gap if connection is None else connection.send
        self._tells = log.isEnabledFor(logging.DEBUG)
        self._waiting.wake()
        if connection is None:
            self.unsaid_audio = False

    def wake(self) -> None:
        """Let waiting senders see that the session has ended."""
        self._waiting.wake()

    def orphan(self) -> None:
        """Forget locks that may be held by threads which do not exist in a forked child."""
        self._make_lock()

    # -- sending ---

    def send(self, event: object, wait: Patience, claim: Claim | None = None, only: object = None) -> str:
        """Send one event; return its ``event_id``.

        Args:
            event: See ``RealtimeSession.send``.
            wait: How long it may take.
            claim: The call whose the answer is; ``None`` for nobody's.
            only: A connection: it goes out on that one or not at all (``ConnectionLost``); ``None`` for whichever.
        """
        wait = wait if type(wait) is float and wait >= 0.0 else patience(wait)
        if self._inbox.ended is not None:
            self._check_open()
        wire = event_object(event, self._ids.next)
        kind: str = wire["type"]
        event_id: str = wire["event_id"]
        if self._hooks.settles(wire):
            if claim is not None:
                claim.answer({**wire, "type": "conversation.item.truncated"})
            return event_id
        payload = encode_event(wire)
        if kind == "session.update":
            self._warn_of_beta(wire)
        elif kind.startswith("input_audio_buffer."):
            self.unsaid_audio = kind.endswith(".append")
        mark = self._mark(kind, wire, claim)
        try:
            push = self._push if only is None else self._push_on(only)
            try:
                push(payload, wait, mark, TEXT)
            except (NotSent, CutOff) as exc:
                perishable = claim is None and kind in _PERISHABLE
                self._push_again(exc, push, payload, mark, TEXT, perishable=perishable, only=only)
        except BaseException:  # its turn may have come without a byte of it going out
            self._claims.withdraw(event_id)
            raise
        self._tells = log.isEnabledFor(logging.DEBUG)
        if self._tells:
            log.debug("sent %s, %d bytes", kind, len(payload))
        return event_id

    def post(self, event: object, claim: Claim | None = None) -> None:
        """Leave an event to whoever can send first, without waiting; where there is no connection it is dropped."""
        connection = self._connection
        if connection is None:
            return
        wire = event_object(event, self._ids.next)
        payload = encode_event(wire)
        connection.post(payload, self._mark(wire["type"], wire, claim) or _nothing)
        log.debug("sent %s, %d bytes", wire["type"], len(payload))

    def _mark(self, kind: str, wire: Mapping[str, Any], claim: Claim | None) -> Callable[[], None] | None:
        """Return what is to be noted when the turn of an event has come, if anything is."""
        if kind == "input_audio_buffer.append":
            return None if self._hears is None else partial(self._hears, wire)
        if claim is not None or kind == "session.update" or (self._claims.busy and kind in ANSWERED):
            return partial(self._claims.expect, Sent.of(wire, claim))
        return None

    def send_audio(self, audio: pcm.AudioLike, timeout: float | None) -> tuple[str, ...]:
        """Send audio, in pieces of 10 s at most; return the ids of the events."""
        if type(audio) is not bytes or len(audio) % pcm.BYTES_PER_SAMPLE:
            audio = pcm.as_bytes(audio)
        if not 0 < len(audio) <= _APPEND_BYTES:
            return self._send_pieces(audio, timeout)
        wait: Patience = timeout if type(timeout) is float and timeout >= 0.0 else patience(timeout)
        mark = None if self._hears is None else partial(self._hears, audio)
        ids: tuple[str, ...]
        if self._binary_audio:
            ids, payload, opcode = (), bytes(audio), BINARY
        else:
            ids_of = self._ids
            event_id = f"{ids_of.session}{ids_of.number()}"  # next() itself: audio is sent more often than all else
            ids, payload, opcode = (event_id,), encode_append(event_id, self._encode_base64(audio)), TEXT
        push = self._push  # no method: to look it up and call it at once takes Python 3.11 longer
        try:
            push(payload, wait, mark, opcode)
        except (NotSent, CutOff) as exc:
            self._push_again(exc, push, payload, mark, opcode, perishable=True)
        self.unsaid_audio = True
        if self._tells:
            log.debug("sent audio of %d bytes", len(audio))
        return ids

    def _send_pieces(self, audio: bytes | memoryview, timeout: float | None) -> tuple[str, ...]:
        wait = Wait(timeout)
        self._check_open()
        ids: list[str] = []
        for start in range(0, len(audio), _APPEND_BYTES):
            left = None if timeout is None else wait.left()
            ids += self.send_audio(audio[start : start + _APPEND_BYTES], left)
        return tuple(ids)

    def _push_on(self, only: object) -> _Push:
        """Return what sends on one connection, if that is the current one."""
        connection = self._connection
        if connection is None or connection is not only:
            self._not_on_another()
        return connection.send

    def _not_on_another(self) -> NoReturn:
        self._check_open()
        raise ConnectionLost("the connection that this was meant for is gone; nothing was sent")

    def _push_again(
        self,
        exc: NotSent | CutOff,
        failed: _Push,
        payload: bytes,
        mark: Callable[[], None] | None,
        opcode: int,
        *,
        perishable: bool,
        only: object = None,
    ) -> None:
        """Go on where sending failed: wait for the next connection and send there, or drop what is perishable."""
        while isinstance(exc, NotSent):
            if only is not None:
                self._not_on_another()
            push, wait = self._other(exc.wait, failed, perishable=perishable), exc.wait
            if push is None:
                return
            try:
                push(payload, wait, mark, opcode)
            except (NotSent, CutOff) as again:
                exc, failed = again, push
            else:
                return
        if not (perishable and self._drop()):
            raise self._cut_off() from exc.__cause__

    def _other(self, wait: Wait, failed: _Push, *, perishable: bool) -> _Push | None:
        """Return what sends on another connection; ``None`` where the send was dropped and counted."""
        baton = None
        try:
            while True:
                self._check_open()
                push = self._push
                if push is not _in_a_gap and push is not failed:
                    return push
                if perishable and self._drop():
                    return None
                longest = wait.slice()
                if longest == 0:
                    raise TimedOut(
                        f"nothing was sent within {wait.timeout:g} s: the connection is lost"
                        + ("; the session is open and waits for another one" if self._reconnects else "")
                    )
                if baton is None:
                    baton = self._waiting.take()
                elif sleep_on(baton, longest):
                    baton = None
        finally:
            if baton is not None:
                self._waiting.give_back(baton)

    def _check_open(self) -> None:
        end = self._inbox.ended
        if end is not None:
            raise again(end)

    def _drop(self) -> bool:
        """Count a send as dropped, if the session goes on without it."""
        with self._lock:
            goes_on = self._reconnects and self._inbox.ended is None
            self.dropped += goes_on
        return goes_on

    def _cut_off(self) -> MeshAPIError:
        """Say that a send broke off with its connection; the session may go on."""
        end = self._inbox.ended
        if end is not None:
            return again(end)
        lost = "the connection broke while an event was being sent; whether the server got it is unknown"
        if self._reconnects:
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


def _nothing() -> None:
    """Mark nothing."""
