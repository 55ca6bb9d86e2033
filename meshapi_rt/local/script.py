"""The script of a server at work: which fault happens on which connection, when, and what it does there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeGuard

from .armed import Armed, Watch
from .failures import Terminal
from .faults import (
    Act,
    Close,
    Drain,
    Drop,
    Fault,
    Faults,
    Refuse,
    Reset,
    Scripted,
    Send,
    Slow,
    Stall,
    Terminate,
    Twist,
    WireAct,
)
from .ids import new_id
from .outbox import Action
from .twists import Event, Twister, twister
from .wire import Wire

__all__ = ["DRAINING", "Play", "Script", "Stage"]

log = logging.getLogger("meshapi_rt")

DRAINING = Terminal("service_draining", "The service is being replaced; connect again.")


class Stage(Protocol):
    """What a play needs of the connection that it plays on."""

    wire: Wire
    queue: Callable[[Action], None]  # does something between the frames queued before and those queued later

    def put(self, frame: Event | str | bytes) -> None:
        """Queue an event, or the text or bytes of a frame."""

    def finish(self, finale: Action) -> None:
        """End the session: nothing more is queued, and behind what is, *finale* ends the connection."""

    def end(self, terminal: Terminal) -> None:
        """End the session with a terminal error and a close."""

    def call_later(self, seconds: float, action: Callable[[], None]) -> object:
        """Do something later, unless the session has ended."""


class Play:
    """The faults of one connection.

    Args:
        stage: The connection.
        number: Which one it is.
    """

    def __init__(self, stage: Stage, number: int) -> None:
        self.number = number
        self._stage = stage
        self._acts: list[Watch] = []
        self._twists: list[Twister] = []
        self._waiting: list[Watch] = []  # twists whose moment is a number of frames

    def arm(self, armed: Iterable[Armed]) -> list[asyncio.Future[None]]:
        """Take faults; those that wait for nothing happen. Returns what is done when they have."""
        now: list[Watch] = []
        for one in armed:
            fault = one.fault
            if isinstance(fault, Scripted) and fault.concerns(self.number) and not _on_the_wire(fault):
                watch = Watch(one, self.number)
                self._wait(watch)
                if isinstance(fault, Act) and fault.immediate:
                    now.append(watch)
        return [done for watch in now for done in self._fire(watch)]

    def _wait(self, watch: Watch) -> None:
        fault = watch.fault
        if isinstance(fault, Twist):
            self._twists.append(twister(watch, self._put, self._stage.call_later))
            if fault.sent is not None or fault.received is not None:
                self._waiting.append(watch)
        elif not fault.immediate:
            self._acts.append(watch)
        if fault.after is not None:
            self._stage.call_later(fault.after, partial(self._moment, watch))

    def _moment(self, watch: Watch) -> None:
        if isinstance(watch.fault, Twist):
            watch.live = True
        else:
            self._fire(watch)

    # -- what happens on the connection --------------------------------------------------------------------

    def send(self, event: Event) -> None:
        """Send an event, or what the faults make of it."""
        events = [event]
        for one in self._twists:
            events = [changed for before in events for changed in one.change(before)]
        for changed in events:
            self._put(changed)

    def _put(self, event: Event) -> None:
        self._stage.put(event)
        for one in self._twists:
            one.went_out(event)
        self._note("server", event["type"])

    def received(self, frame: str | bytes) -> None:
        """Take note of a frame of the client, before it is handled."""
        named = any(watch.fault.on is not None for watch in self._acts)
        self._note("client", _type_of(frame) if named else None)

    def _note(self, sender: str, event_type: str | None) -> None:
        for watch in self._waiting:
            watch.live = watch.live or watch.due(sender, event_type)
        for watch in tuple(self._acts):
            if watch.due(sender, event_type):
                self._fire(watch)

    # -- what the faults do --------------------------------------------------------------------------------

    def _fire(self, watch: Watch) -> list[asyncio.Future[None]]:
        fault = watch.fault
        if not watch.take():
            return []
        if isinstance(fault, Slow) and watch in self._acts:  # once on each connection
            self._acts.remove(watch)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._do(fault, partial(_settle, done))
        return [done]

    def _do(self, fault: Fault, done: Callable[[], None]) -> None:
        stage, wire = self._stage, self._stage.wire
        if isinstance(fault, (Drop, Reset)) and (fault.immediate or fault.after is not None):
            wire.give_up()  # a moment in time, not a place behind some frame: it does not wait for a stall to end
        if isinstance(fault, Drop):
            stage.finish(_then(wire.drop, done))
        elif isinstance(fault, Reset):
            stage.finish(_then(wire.reset, done))
        elif isinstance(fault, Close):
            stage.finish(_then(partial(wire.close, fault.code, fault.reason), done))
        elif isinstance(fault, Terminate):
            stage.end(Terminal(fault.code, fault.message, fault.close_code))
            stage.queue(_then(_nothing, done))
        elif isinstance(fault, Drain):
            stage.end(DRAINING)
            stage.queue(_then(_nothing, done))
        elif isinstance(fault, Send):
            stage.put(fault.frame if isinstance(fault.frame, (str, bytes)) else _event(fault.frame))
            stage.queue(_then(_nothing, done))
        elif isinstance(fault, Stall):
            stage.queue(_then(partial(_now, wire.stall, fault), done))
        else:
            assert isinstance(fault, Slow)
            stage.queue(_then(partial(_now, wire.slow, fault), done))


class Script:
    """The faults of one run of a server."""

    def __init__(self, faults: Faults | None) -> None:
        self._armed = [Armed(fault) for fault in faults or ()]
        self._connections = 0

    def arm(self, fault: Refuse) -> None:
        """Take one more refusal, for the connections to come."""
        self._armed.append(Armed(fault))

    def count(self) -> int:
        """Give the next connection its number."""
        self._connections += 1
        return self._connections

    def refusal(self, number: int) -> Refuse | None:
        """Find what refuses a connection."""
        for armed in self._armed:
            fault = armed.fault
            if isinstance(fault, Refuse) and fault.concerns(number) and armed.take():
                log.info("local server, connection %d: %r", number, fault)
                return fault
        return None

    def watch_bytes(self, number: int, wire: Wire) -> None:
        """Have the wire of a connection watch for the faults that happen after a byte."""
        for armed in self._armed:
            fault = armed.fault
            if _on_the_wire(fault) and fault.concerns(number):
                wire.mark(fault, Watch(armed, number).take)

    def faults(self, number: int) -> list[Armed]:
        """List what may happen on a connection once it is a session."""
        return [armed for armed in self._armed if isinstance(armed.fault, Scripted) and armed.fault.concerns(number)]


def _on_the_wire(fault: Fault) -> TypeGuard[WireAct]:
    """It waits for a byte: the wire watches those."""
    return isinstance(fault, WireAct) and fault.sent_bytes is not None


def _event(fields: Any) -> Event:
    return {"type": fields["type"], "event_id": new_id("event"), **fields}


def _type_of(frame: str | bytes) -> str | None:
    try:
        event = json.loads(frame) if isinstance(frame, str) else None
    except (ValueError, RecursionError):
        return None
    kind = event.get("type") if isinstance(event, dict) else None
    return kind if isinstance(kind, str) else None


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def _nothing() -> None:
    """Mark a place between two frames."""


async def _now(action: Callable[[Any], None], fault: Fault) -> None:
    action(fault)


def _then(action: Callable[[], Awaitable[object]], done: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def both() -> None:
        await action()
        done()

    return both
