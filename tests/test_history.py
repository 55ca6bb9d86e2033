"""The mirror of the conversation, and what a new session is told of it: event lists in, items out."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest

from meshapi_rt.history import History
from meshapi_rt.message import decode_text
from meshapi_rt.replay import plan_replay


def mirror(*events: dict[str, Any]) -> History:
    history = History()
    for event in events:
        history.observe(decode_text(json.dumps(event)))
    return history


def told(history: History) -> list[tuple[str | None, list[str | None]]]:
    return [(item.role, [part.text for part in item.parts.values()]) for item in history.items]


def user(item_id: str, text: str, previous: str | None = None) -> dict[str, Any]:
    item = {"id": item_id, "type": "message", "role": "user", "status": "completed"}
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.added", "previous_item_id": previous, "item": {**item, "content": content}}


def reply(item_id: str, *words: str, done: bool = True) -> list[dict[str, Any]]:
    """Return the events of a spoken reply: 100 ms of audio a word."""
    ids = {"response_id": "r", "item_id": item_id, "output_index": 0, "content_index": 0}
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    audio = base64.b64encode(bytes(4800)).decode()
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r", "conversation_id": "c"}},
        {"type": "response.output_item.added", "response_id": "r", "item": item},
        {"type": "conversation.item.added", "item": item},
        {"type": "response.content_part.added", **ids, "part": {"type": "audio", "transcript": ""}},
    ]
    for word in words:
        events.append({"type": "response.output_audio_transcript.delta", **ids, "delta": word})
        events.append({"type": "response.output_audio.delta", **ids, "delta": audio})
    if done:
        whole = {**item, "status": "completed", "content": [{"type": "output_audio", "transcript": "".join(words)}]}
        events += [
            {"type": "response.output_audio_transcript.done", **ids, "transcript": "".join(words)},
            {"type": "response.output_item.done", "response_id": "r", "item": whole},
            {"type": "conversation.item.done", "item": whole},
            {"type": "response.done", "response": {"id": "r", "conversation_id": "c", "output": [whole]}},
        ]
    return events


def test_a_conversation_in_its_order() -> None:
    """Users and assistants, placed by previous_item_id."""
    history = mirror(user("a", "one"), *reply("b", "two ", "words"), user("c", "three", "b"), user("ab", "x", "a"))
    assert told(history) == [("user", ["one"]), ("user", ["x"]), ("assistant", ["two words"]), ("user", ["three"])]
    assert [item.id for item in history.items] == ["a", "ab", "b", "c"]


@pytest.mark.parametrize("dropped", range(8))
def test_missing_events(dropped: int) -> None:
    """Whatever one event of a reply is missing, the final transcript is there."""
    events = reply("b", "two ", "words")
    del events[dropped]
    assert told(mirror(*events)) == [("assistant", ["two words"])]


def test_repeated_events() -> None:
    """Items that are told twice are there once."""
    events = [user("a", "one"), *reply("b", "two")]
    doubled = [event for event in events if "delta" not in event["type"] for _ in range(2)]
    assert told(mirror(*doubled)) == [("user", ["one"]), ("assistant", ["two"])]


def test_beta_names() -> None:
    """Old names mean the same."""
    old = {"output_audio": "audio", "output_text": "text", "conversation.item.added": "conversation.item.created"}
    text = json.dumps(reply("b", "two ", "words"))
    for new, name in old.items():
        text = text.replace(f'"{new}', f'"{name}').replace(f".{new}", f".{name}")
    assert told(mirror(*json.loads(text))) == [("assistant", ["two words"])]


def test_a_transcript_that_comes_after_the_answer() -> None:
    """The user's words find their turn."""
    committed = {"type": "input_audio_buffer.committed", "item_id": "u", "previous_item_id": None}
    late = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "content_index": 0}
    history = mirror(committed, *reply("b", "hi"), {**late, "transcript": "hello"})
    assert told(history) == [("user", ["hello"]), ("assistant", ["hi"])]


def test_deleting() -> None:
    """The item is gone; deleting twice or an unknown one does nothing."""
    gone = {"type": "conversation.item.deleted", "item_id": "a"}
    assert told(mirror(user("a", "one"), user("b", "two", "a"), gone, gone)) == [("user", ["two"])]


def test_truncating_estimates_what_was_heard() -> None:
    """By length, in whole words; later events of the item do not bring the rest back."""
    cut = {"type": "conversation.item.truncated", "item_id": "b", "content_index": 0, "audio_end_ms": 150}
    events = reply("b", "one ", "two ", "three ", "four")
    history = mirror(*events, cut, *events[-4:])
    (item,) = history.items
    assert item.parts[0].heard_ms == 150
    assert item.parts[0].text == "one two"[: len(item.parts[0].text or "")]


def test_out_of_band_responses_stay_out() -> None:
    """Nothing of them joins the conversation."""
    events = reply("b", "aside")
    events[0]["response"]["conversation_id"] = None
    events[-1]["response"]["conversation_id"] = None
    events = [event for event in events if not event["type"].startswith("conversation.")]
    assert told(mirror(user("a", "one"), *events)) == [("user", ["one"])]


def test_busy() -> None:
    """A reply or speech in progress is no gap."""
    events = reply("b", "one")
    assert mirror(*events[:-1]).busy
    assert mirror(*events).busy is None
    started = {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 0}
    assert mirror(started).busy
    assert mirror(started, {"type": "input_audio_buffer.committed", "item_id": "u"}).busy is None


def test_nonsense_is_passed_over() -> None:
    """Wrong types in any field of any event never raise."""
    junk: list[Any] = [None, 7, "x", [], {}, [None], {"id": 5}, {"type": 3}, True]
    good = [user("a", "one"), *reply("b", "two"), {"type": "conversation.item.truncated"}, {"type": "session.updated"}]
    history = History()
    for event, wrong in itertools.product(good, junk):
        for key in [*event, "session", "item_id", "audio_end_ms", "part", "content_index"]:
            if key != "type":
                history.observe(decode_text(json.dumps({**event, key: wrong})))
    plan_replay(history, 10, lambda _: None)


# -- what is restored ---


def call(status: str = "completed") -> dict[str, Any]:
    item = {"id": "f", "type": "function_call", "call_id": "k", "name": "look", "arguments": "{}", "status": status}
    return {"type": "conversation.item.done", "item": item}


OUTPUT = {
    "type": "conversation.item.done",
    "item": {"id": "o", "type": "function_call_output", "call_id": "k", "output": "seen"},
}


def test_replay_of_a_conversation() -> None:
    """Turns become text items with their ids; calls come with their outputs."""
    settings = {"type": "realtime", "id": "s", "object": "o", "expires_at": 5, "model": "m", "instructions": "x"}
    history = mirror(
        {"type": "session.created", "session": settings}, user("a", "one"), *reply("b", "two"), call(), OUTPUT
    )
    replay = plan_replay(history, 200, lambda _: None)
    assert replay.update == {"type": "realtime", "instructions": "x"}
    assert replay.lost == []
    assert replay.items == [
        {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"id": "b", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
        {"id": "f", "type": "function_call", "call_id": "k", "name": "look", "arguments": "{}"},
        {"id": "o", "type": "function_call_output", "call_id": "k", "output": "seen"},
    ]


def test_replay_tells_what_is_lost() -> None:
    """Turns without transcript, unfinished calls, outputs without call, items beyond the bound."""
    committed = {"type": "input_audio_buffer.committed", "item_id": "u", "previous_item_id": "a"}
    history = mirror(user("a", "old"), committed, call("incomplete"), OUTPUT)
    replay = plan_replay(history, 3, lambda _: None)
    assert replay.items == []
    told_lost = "; ".join(replay.lost)
    for clause in ("1 older items", "turn of the user without transcript", "not finished", "without its call"):
        assert clause in told_lost
