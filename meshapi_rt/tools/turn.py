"""One response that calls tools: its calls, their outputs, and what asks for the response that follows."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from .calls import ToolCall
from .runs import Run

__all__ = ["FOLLOWS", "Answer", "State", "ToolTurn", "Work", "calls_in"]

FOLLOWS = "meshapi_rt.follows"
"""The key in the metadata of a follow-up whose value is the id of the response that it follows."""

_MOST_METADATA = 16  # pairs (protocol.md 1.5)


class ToolTurn:
    """A response that calls tools, as whoever waits for its outcome sees it. Any thread may look.

    Attributes:
        response_id: The response with the calls.
        over: Set when the outputs are sent and it is settled whether a response follows.
    """

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id
        self.over = threading.Event()
        # Guards the rest. Held for looking and changing only.
        self._lock = threading.Lock()
        self._calls: list[ToolCall] = []
        self._follow_up: str | None = None
        self._listeners: list[Callable[[ToolTurn], object]] = []

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls that have ended so far, in the order of their ends."""
        with self._lock:
            return tuple(self._calls)

    @property
    def follow_up(self) -> str | None:
        """The id of the response that answers with the outputs; ``None`` as long as there is none.

        It may be one that a user's turn began meanwhile: it had the outputs before it, so no other was asked for.
        """
        with self._lock:
            return self._follow_up

    def when_over(self, tell: Callable[[ToolTurn], object]) -> None:
        """Have *tell* called once it is over, at once if it is; else on a thread of the session: it must not block."""
        with self._lock:
            waits = not self.over.is_set()
            if waits:
                self._listeners.append(tell)
        if not waits:
            tell(self)

    def note(self, call: ToolCall) -> None:
        """Take a call that has ended."""
        with self._lock:
            self._calls.append(call)

    def end(self, follow_up: str | None) -> None:
        """Settle which response follows, if any."""
        with self._lock:
            self._follow_up = follow_up
            self.over.set()
            listeners, self._listeners = self._listeners, []
        for tell in listeners:
            tell(self)

    def __repr__(self) -> str:
        state = f"followed by {self.follow_up}" if self.over.is_set() else "open"
        return f"<ToolTurn of {self.response_id}, {len(self.calls)} calls ended, {state}>"


class State(enum.Enum):
    """How far the output of a call has come."""

    RUNNING = "the call has not ended"
    READY = "to be sent"
    SENT = "not yet confirmed"
    KEPT = "the server has it, or it goes with the follow-up"
    DROPPED = "the server does not take it"


@attrs.define
class Answer:
    """One call of a response and its output."""

    asked: ToolCall
    call_item: str | None  # the id of the item that asks
    item_id: str  # of the output's item, chosen here
    run: Run | None = None
    ended: ToolCall | None = None
    state: State = State.RUNNING
    gone: bool = False  # the server has forgotten the call

    def item(self) -> dict[str, Any]:
        """Return the output as an item."""
        assert self.ended is not None
        return {"type": "function_call_output", "call_id": self.asked.call_id, "output": self.ended.output}


@attrs.define(eq=False)
class Work:
    """What is to be done for one response.

    Attributes:
        turn: Its face.
        inside: It is part of the conversation, so that outputs become items there.
        wanted: The ``response`` object that asked for it; empty where nobody did.
        metadata: Of the response.
        depth: How many follow-ups came right before it.
        partly: It also calls functions that are not ours: their owner asks for what follows.
        context: Items that it read, where it is not part of the conversation.
        answers: Its calls.
        candidate: A response that is taken for the follow-up unless that is refused.
    """

    turn: ToolTurn
    inside: bool
    wanted: Mapping[str, Any]
    metadata: Mapping[str, Any]
    depth: int
    partly: bool
    context: Sequence[Mapping[str, Any]]
    answers: list[Answer] = attrs.field(factory=list)
    candidate: str | None = None

    @property
    def own_input(self) -> bool:
        """Whether it read what it was given instead of the conversation; so will its follow-up."""
        return not self.inside or self.wanted.get("input") is not None

    @property
    def running(self) -> bool:
        """Whether outputs are still to be sent."""
        return any(answer.state in (State.RUNNING, State.READY) for answer in self.answers)

    @property
    def kept(self) -> bool:
        """Whether the server has every output that it takes, and takes any."""
        states = {answer.state for answer in self.answers}
        return State.KEPT in states and states <= {State.KEPT, State.DROPPED}

    @property
    def dropped(self) -> bool:
        """Whether the server takes none of the outputs."""
        return all(answer.state is State.DROPPED for answer in self.answers)

    def follow_up(self, *, forced: bool, last: bool) -> dict[str, Any]:
        """Return the ``response`` object that asks for the follow-up, in the way that this one was asked for.

        A demand for a call is not repeated: the model would call for ever.

        Args:
            forced: Whether ``tool_choice`` of the session demands a call.
            last: Whether no further calls are wanted.
        """
        asked = {key: value for key, value in self.wanted.items() if key not in ("input", "metadata")}
        forced = asked["tool_choice"] not in ("auto", "none") if "tool_choice" in asked else forced
        if last or forced:
            asked["tool_choice"] = "none" if last else "auto"
        if not self.inside:
            asked["conversation"] = "none"
        if self.own_input:
            asked["input"] = [*self._input(), *self._exchange()]
        metadata = dict(self.metadata)
        metadata.pop(FOLLOWS, None)
        if len(metadata) < _MOST_METADATA:
            metadata[FOLLOWS] = self.turn.response_id
        return {**asked, "metadata": metadata}

    def _input(self) -> Sequence[Mapping[str, Any]]:
        given = self.wanted.get("input")
        return given if isinstance(given, Sequence) else self.context

    def _exchange(self) -> list[dict[str, Any]]:
        """Return calls and outputs as items."""
        items = []
        for answer in self.answers:
            asked = answer.asked
            call = {"type": "function_call", "call_id": asked.call_id, "name": asked.name, "arguments": asked.arguments}
            items += [call, answer.item()]
        return items


def calls_in(response: Mapping[str, Any]) -> list[tuple[ToolCall, str | None]]:
    """List the calls of a response that may run, with the ids of their items: only of one that was completed.

    ``.done`` events come for cut responses too, with partial arguments (protocol.md 4.6).
    """
    output = response.get("output")
    if response.get("status") != "completed" or not isinstance(output, list):
        return []
    found = []
    for item in output:
        if not isinstance(item, Mapping) or item.get("type") != "function_call":
            continue
        call_id, name, arguments = item.get("call_id"), item.get("name"), item.get("arguments")
        whole = item.get("status") in (None, "completed")
        if whole and isinstance(call_id, str) and isinstance(name, str):
            told = arguments if isinstance(arguments, str) else ""
            call = ToolCall(call_id=call_id, name=name, arguments=told, response_id=str(response.get("id")))
            found.append((call, item["id"] if isinstance(item.get("id"), str) else None))
    return found
