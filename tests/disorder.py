"""A line between a server that sends events in its order and a client that sees them in another.

It takes every liberty that protocol.md leaves, and does what clients must bear (sections 2.3, 4.8, 4.10, 7.8).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Event = dict[str, Any]

TRANSCRIPTION = "conversation.item.input_audio_transcription."
CHAIN = ("conversation.item.", "input_audio_buffer.committed", "response.output_item.added", "response.done")
# Pairs about one item whose mutual order is open, by protocol.md 7.8.
OPEN_PAIRS = [
    {"response.output_item.done", "conversation.item.done"},
    {"response.output_audio.done", "response.output_audio_transcript.done"},
]
RETIRED = {
    "response.output_text": "response.text",
    "response.output_audio_transcript": "response.audio_transcript",
    "response.output_audio": "response.audio",
    "conversation.item.added": "conversation.item.created",
}
# What can be missed: something else tells the same.
OPTIONAL = {
    "response.created",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_audio.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    f"{TRANSCRIPTION}delta",
}
# What comes as often as it is said: a repetition of it is more of it. A late session.updated undoes the last one.
UNREPEATABLE = {"session.updated", "response.output_audio.delta"}


class Disorder:
    """A line that delivers what is put on it, not quite as it was.

    Args:
        deliver: Takes each event.
    """

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        self._deliver = deliver
        self._queue: list[Event] = []
        self._missed: set[str] = set()  # items of which no more may be missed of what tells that they are there
        self._muted: set[str] = set()  # responses of which little is told
        self._made: dict[str, str] = {}  # items by which responses
        self._last_audio: dict[str, Event] = {}

    def put(self, event: Event) -> None:
        """Take an event of the server."""
        self._queue.append(event)

    def lose(self) -> None:
        """Deliver nothing of what is on the line: the connection is gone."""
        self._queue.clear()

    def flush(self, chance: random.Random) -> None:
        """Deliver what is on the line."""
        events, self._queue = self._queue, []
        events = [event for event in self._with_late(events, chance) if not self._is_missed(event, chance)]
        for _ in range(len(events)):
            at = chance.randrange(len(events))
            if at and _commute(events[at - 1], events[at]):
                events[at - 1 : at + 1] = [events[at], events[at - 1]]
        for event in _with_echoes(events, chance):
            self._deliver(_old(event) if chance.random() < 0.1 else event)

    def _with_late(self, events: list[Event], chance: random.Random) -> Iterator[Event]:
        """Let audio of a cancelled response come late (protocol.md 4.8)."""
        for event in events:
            yield event
            if event["type"] == "response.output_audio.delta":
                self._last_audio[event["response_id"]] = event
            if event["type"] == "response.done":
                last = self._last_audio.pop(event["response"]["id"], None)
                if last and event["response"]["status"] == "cancelled" and chance.random() < 0.5:
                    yield {**last, "event_id": "event_late"}

    def _is_missed(self, event: Event, chance: random.Random) -> bool:
        """Miss what is optional; of some responses all but their audio and their end."""
        kind = event["type"]
        if kind == "response.created" and chance.random() < 0.1:
            self._muted.add(event["response"]["id"])
        if kind == "response.output_item.added":
            self._made[event["item"]["id"]] = event["response_id"]
        if kind == "conversation.item.deleted":
            self._missed.add(event["item_id"])  # only its being added tells that it came again
        rate = 1.0 if self._response_of(event) in self._muted else 0.15
        if chance.random() > rate:
            return False
        if kind in ("conversation.item.added", "conversation.item.done"):
            item_id = event["item"]["id"]
            missed = item_id in self._missed
            self._missed.add(item_id)
            return not missed or item_id in self._made
        return kind in OPTIONAL

    def _response_of(self, event: Event) -> str | None:
        if event["type"] == "response.created":
            return str(event["response"]["id"])
        return event.get("response_id") or self._made.get(_item_of(event) or "")


def _subject(event: Event) -> object:
    """Name what an event is about: a response's stream, the input, or an item."""
    kind = event["type"]
    if kind.startswith(TRANSCRIPTION):
        return event["item_id"]
    if kind in ("response.created", "response.done"):
        return event["response"]["id"]
    return event.get("response_id") or kind.partition(".")[0]


def _item_of(event: Event) -> str | None:
    item_id = event.get("item_id") or event.get("item", {}).get("id")
    return item_id if isinstance(item_id, str) else None


def _commute(first: Event, second: Event) -> bool:
    """Tell whether two neighbours may as well come the other way round."""
    kinds = {first["type"], second["type"]}
    if "rate_limits.updated" in kinds:
        return True
    if any(kind.startswith("session.") for kind in kinds):
        return False
    same_item = _item_of(first) is not None and _item_of(first) == _item_of(second)
    if kinds in OPEN_PAIRS:
        return same_item
    if kinds == {"response.output_audio.delta", "response.output_audio_transcript.delta"}:
        return True
    if any(kind.startswith(TRANSCRIPTION) for kind in kinds):
        # At any moment after the commit, but a deletion is the end of it, and retrieving shows it.
        fixed = ("input_audio_buffer.committed", "conversation.item.deleted", "conversation.item.retrieved")
        return _subject(first) != _subject(second) and not (same_item and not kinds.isdisjoint(fixed))
    if all(kind.startswith(CHAIN) for kind in kinds):
        return False  # who follows whom is told in one order
    return _subject(first) != _subject(second) and not same_item


def _with_echoes(events: list[Event], chance: random.Random) -> Iterator[Event]:
    """Repeat some, at once or a little later, but nothing of an item beyond its deletion, or its coming again."""
    echoes: list[tuple[int, Event]] = []
    for event in events:
        if event["type"] in ("conversation.item.deleted", "conversation.item.added"):
            echoes = [(wait, echo) for wait, echo in echoes if _item_of(echo) != _item_of(event)]
        yield event
        if event["type"] not in UNREPEATABLE and not event["type"].endswith(".delta") and chance.random() < 0.1:
            echoes.append((chance.randrange(12), event))
        yield from (echo for wait, echo in echoes if wait == 0)
        echoes = [(wait - 1, echo) for wait, echo in echoes if wait]


def _old(event: Event) -> Event:
    """Say it as the beta did."""
    text = json.dumps(event)
    for new, old in RETIRED.items():
        if event["type"].startswith(new):
            text = text.replace(f'"type": "{new}', f'"type": "{old}')
    if '"assistant"' in text:
        text = text.replace('"output_text"', '"text"').replace('"output_audio"', '"audio"')
    changed: Event = json.loads(text)
    return changed
