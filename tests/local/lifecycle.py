"""What holds for the events of any session, whatever was asked: order, indexes, sums (protocol.md 4 and 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["assert_lifecycles"]

Event = Mapping[str, Any]

# The events that carry what is added up, the event that tells the sum, and its field.
_SUMS = {
    "response.output_text.done": ("response.output_text.delta", "text"),
    "response.output_audio_transcript.done": ("response.output_audio_transcript.delta", "transcript"),
    "response.function_call_arguments.done": ("response.function_call_arguments.delta", "arguments"),
}


def assert_lifecycles(events: Sequence[Event]) -> None:
    """Check all that one session sent."""
    assert events[0]["type"] == "session.created"
    assert [event["type"] for event in events].count("session.created") == 1
    event_ids = [event["event_id"] for event in events if "event_id" in event]
    assert len(set(event_ids)) == len(event_ids)
    _check_conversation(events)
    for event in events:
        if event["type"] == "response.created":
            _check_response(events, event["response"])


def _check_conversation(events: Sequence[Event]) -> None:
    """Predecessors are known items, and items are done after they were added."""
    known: set[str] = set()
    for event in events:
        if event["type"] in ("conversation.item.added", "conversation.item.done"):
            before, item_id = event["previous_item_id"], event["item"]["id"]
            assert before is None or before in known, event
            assert (item_id in known) == event["type"].endswith("done"), event
            known.add(item_id)
        elif event["type"] == "conversation.item.deleted":
            assert event["item_id"] in known


def _check_response(events: Sequence[Event], created: Mapping[str, Any]) -> None:
    mine = [event for event in events if _response_id(event) == created["id"]]
    types = [event["type"] for event in mine]
    assert types.count("response.created") == 1
    assert types[0] == "response.created"
    if "response.done" not in types:
        return  # the session ended first
    assert types.index("response.done") == len(types) - 1
    done = mine[-1]["response"]
    assert done["conversation_id"] == created["conversation_id"]
    assert done["metadata"] == created["metadata"]
    assert done["status"] != "in_progress"
    finished = [event for event in mine if event["type"] == "response.output_item.done"]
    assert [event["item"] for event in finished] == done["output"]
    assert [event["output_index"] for event in finished] == list(range(len(finished)))
    assert types.count("response.output_item.added") == len(finished)
    for item in finished:
        _check_item(events, mine, item, joins=created["conversation_id"] is not None)
    if done["status"] == "completed":
        assert all(item["status"] == "completed" for item in done["output"])


def _response_id(event: Event) -> str | None:
    if event["type"] in ("response.created", "response.done"):
        return str(event["response"]["id"])
    return event.get("response_id")


def _check_item(events: Sequence[Event], mine: Sequence[Event], finished: Event, *, joins: bool) -> None:
    item_id, index = finished["item"]["id"], finished["output_index"]
    inner = [event for event in mine if event.get("item_id") == item_id]
    assert all(event["output_index"] == index for event in inner)
    assert all(event.get("content_index", 0) == 0 for event in inner)
    types = [event["type"] for event in inner]
    if finished["item"]["type"] == "message":
        assert types[0] == "response.content_part.added"
        assert types[-1] == "response.content_part.done"
    for event in inner:
        if event["type"] in _SUMS:
            delta, field = _SUMS[event["type"]]
            assert event[field] == "".join(part["delta"] for part in inner if part["type"] == delta)
        if event["type"] == "response.content_part.done":
            said = next(e for e in inner if e["type"] in _SUMS)
            assert said[_SUMS[said["type"]][1]] in event["part"].values()
    joined = [e for e in events if e["type"] == "conversation.item.added" and e["item"]["id"] == item_id]
    assert len(joined) == int(joins)
    if joins:
        place = {id(event): at for at, event in enumerate(events)}
        announced = next(e for e in mine if e["type"] == "response.output_item.added" and e["item"]["id"] == item_id)
        assert place[id(announced)] + 1 == place[id(joined[0])]
