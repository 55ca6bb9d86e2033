"""Faults in what the server says: events changed, left out, held back, added. Pure but for a timer."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from typing import Any

from .armed import Watch
from .faults import Delay, ExtraFields, LateDeltas, LateTranscription, NoEcho, Skip, Twist
from .ids import new_id

__all__ = ["Event", "Later", "Twister", "twister"]

Event = dict[str, Any]
Later = Callable[[float, Callable[[], None]], object]

_TRANSCRIPTION = "conversation.item.input_audio_transcription."
_TRANSCRIBED = (f"{_TRANSCRIPTION}completed", f"{_TRANSCRIPTION}failed")


class Twister:
    """Applies one twist to the events of one connection.

    Args:
        watch: Tells which events it concerns.
        put: Sends an event of its own; the twists that follow in the script do not see that.
        later: Does something after some seconds, if the session still goes on.
    """

    def __init__(self, watch: Watch, put: Callable[[Event], None], later: Later) -> None:
        self.watch = watch
        self.put = put
        self.later = later

    def change(self, event: Event) -> list[Event]:
        """Say what is sent in the place of an event."""
        return [event]

    def went_out(self, event: Event) -> None:
        """Take note of an event that was sent in the end."""

    def put_all(self, events: list[Event]) -> None:
        """Send what was held back."""
        held = list(events)
        events.clear()  # before any goes out: that may end what they waited for once more
        for event in held:
            self.put(event)


class _ExtraFields(Twister):
    def __init__(self, fault: ExtraFields, *rest: Any) -> None:
        super().__init__(*rest)
        self._fields = fault.fields

    def change(self, event: Event) -> list[Event]:
        if not self.watch.takes(event):
            return [event]
        return [_strange(event) if self._fields is None else {**event, **copy.deepcopy(self._fields)}]


def _strange(event: Event) -> Event:
    event = copy.deepcopy(event)
    kind = event["type"]
    if kind.endswith(".delta") and kind != "response.output_audio.delta":
        event["obfuscation"] = secrets.token_urlsafe(12)  # protocol.md 1.6
    items = [event["item"]] if kind.startswith("response.output_item.") else []
    items += event["response"]["output"] if kind == "response.done" else []
    for item in items:
        if item.get("role") == "assistant" or item["type"] == "function_call":
            item["phase"] = "final_answer"  # protocol.md 2.4
    invented = {"invented": True, "why": ["to harden clients", None, 1.5]}
    for part in (event, *(value for value in event.values() if isinstance(value, dict))):
        part["x_local_server"] = invented
    return event


class _Skip(Twister):
    def change(self, event: Event) -> list[Event]:
        return [] if self.watch.takes(event) else [event]


class _NoEcho(Twister):
    def __init__(self, fault: NoEcho, *rest: Any) -> None:
        super().__init__(*rest)
        self._code = fault.code

    def change(self, event: Event) -> list[Event]:
        error = event.get("error") if event["type"] == "error" else None
        if error is None or error.get("event_id") is None or self._code not in (None, error["code"]):
            return [event]
        return [{**event, "error": {**error, "event_id": None}}] if self.watch.takes(event) else [event]


class _Delay(Twister):
    def __init__(self, fault: Delay, *rest: Any) -> None:
        super().__init__(*rest)
        self._fault = fault
        self._held: list[Event] = []

    def change(self, event: Event) -> list[Event]:
        if not self.watch.takes(event):
            return [event]
        if self._fault.seconds is not None:
            self.later(self._fault.seconds, lambda: self.put(event))
        else:
            self._held.append(event)
        return []

    def went_out(self, event: Event) -> None:
        if event["type"] == self._fault.until:
            self.put_all(self._held)


class _LateTranscription(Twister):
    """Decides at the first transcription event of an item whether it is held back."""

    def __init__(self, fault: LateTranscription, *rest: Any) -> None:
        super().__init__(*rest)
        self._seconds = fault.seconds
        self._wanted = True  # the session asks for transcription
        self._committed: list[str] = []  # items that will be transcribed, in the order of speech
        self._begun: set[str] = set()
        self._held: dict[str, list[Event]] = {}

    def change(self, event: Event) -> list[Event]:
        kind, item_id = event["type"], event.get("item_id")
        if kind in ("session.created", "session.updated"):
            self._wanted = bool(event["session"]["audio"]["input"].get("transcription"))
        if kind == "input_audio_buffer.committed" and self._wanted:
            self._committed.append(event["item_id"])
        if item_id not in self._committed or not kind.startswith(_TRANSCRIPTION):
            return [event]
        if item_id not in self._begun:
            if self._is_fit(item_id) and self.watch.takes(event):
                self._hold(item_id)
            self._begun.add(item_id)
        if item_id not in self._held:
            return [event]
        self._held[item_id].append(event)
        return []

    def _is_fit(self, item_id: str) -> bool:
        """Tell whether to be late would change anything: threads may have mixed the order already."""
        if self._seconds is not None:
            return True
        at = self._committed.index(item_id)
        in_order = self._begun.issuperset(self._committed[:at]) and self._begun.isdisjoint(self._committed[at + 1 :])
        return in_order and not self._held

    def _hold(self, item_id: str) -> None:
        self._held[item_id] = []
        if self._seconds is not None:
            self.later(self._seconds, lambda: self.put_all(self._held.pop(item_id)))

    def went_out(self, event: Event) -> None:
        if self._seconds is None and event["type"] in _TRANSCRIBED:
            for item_id in tuple(self._held):
                self.put_all(self._held.pop(item_id))


class _LateDeltas(Twister):
    def __init__(self, fault: LateDeltas, *rest: Any) -> None:
        super().__init__(*rest)
        self._fault = fault
        self._audio: dict[str, Event] = {}  # the last delta of each running response

    def change(self, event: Event) -> list[Event]:
        if event["type"] == "response.output_audio.delta":
            self._audio[event["response_id"]] = event
        if event["type"] != "response.done":
            return [event]
        audio = self._audio.pop(event["response"]["id"], None)
        cancelled = event["response"]["status"] == "cancelled"
        if audio is None or not cancelled or not self.watch.takes(event):
            return [event]
        late = [{**audio, "event_id": new_id("event")} for _ in range(self._fault.count)]
        if self._fault.seconds == 0:
            return [event, *late]
        self.later(self._fault.seconds, lambda: self.put_all(late))
        return [event]


def twister(watch: Watch, put: Callable[[Event], None], later: Later) -> Twister:
    """Make what applies a twist."""
    fault = watch.fault
    assert isinstance(fault, Twist)
    if isinstance(fault, ExtraFields):
        return _ExtraFields(fault, watch, put, later)
    if isinstance(fault, NoEcho):
        return _NoEcho(fault, watch, put, later)
    if isinstance(fault, Delay):
        return _Delay(fault, watch, put, later)
    if isinstance(fault, LateTranscription):
        return _LateTranscription(fault, watch, put, later)
    if isinstance(fault, LateDeltas):
        return _LateDeltas(fault, watch, put, later)
    assert isinstance(fault, Skip)
    return _Skip(watch, put, later)
