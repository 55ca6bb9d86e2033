"""The mirror of the conversation, and what a new session is told of it: event lists in, items out."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest

from meshapi_rt.decoding import Decoder
from meshapi_rt.history import History
from meshapi_rt.replay import plan_replay


def mirror(*events: dict[str, Any]) -> History:
    history = History()
    for event in events:
        history.observe(Decoder().text(json.dumps(event).encode()))
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
    assert item.parts[0].said == "one two"
    assert item.parts[0].audio_ms == 400


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
                history.observe(Decoder().text(json.dumps({**event, key: wrong}).encode()))
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


# -- odd orders and odd servers ---


def spoken(*names: str) -> list[dict[str, Any]]:
    """Return named events of one reply, in the order asked for."""
    ids = {"response_id": "r", "item_id": "b", "output_index": 0, "content_index": 0}
    item = {"id": "b", "type": "message", "role": "assistant"}
    begun = {**item, "status": "in_progress", "content": []}
    whole = {**item, "status": "completed", "content": [{"type": "output_audio", "transcript": "one two"}]}
    audio = base64.b64encode(bytes(4800)).decode()
    known: dict[str, dict[str, Any]] = {
        "created": {"type": "response.created", "response": {"id": "r", "conversation_id": "c"}},
        "beside": {"type": "response.created", "response": {"id": "r", "conversation_id": None}},
        "begun": {"type": "response.output_item.added", "response_id": "r", "item": begun},
        "added": {"type": "conversation.item.added", "previous_item_id": None, "item": begun},
        "word": {"type": "response.output_audio_transcript.delta", **ids, "delta": "one "},
        "audio": {"type": "response.output_audio.delta", **ids, "delta": audio},
        "words": {"type": "response.output_audio_transcript.done", **ids, "transcript": "one two"},
        "ended": {"type": "response.output_item.done", "response_id": "r", "item": whole},
        "done": {"type": "conversation.item.done", "previous_item_id": None, "item": whole},
        "over": {"type": "response.done", "response": {"id": "r", "conversation_id": "c", "output": [whole]}},
        "past": {"type": "response.done", "response": {"id": "r", "conversation_id": None, "output": [whole]}},
        "gone": {"type": "conversation.item.deleted", "item_id": "b"},
        "empty": {"type": "response.done", "response": {"id": "r", "status": "cancelled", "output": []}},
    }
    return [known[name] for name in names]


@pytest.mark.parametrize(
    ("names", "text", "status", "ms"),
    [
        ("over", "one two", "completed", 0),
        ("audio audio word over", "one two", "completed", 200),
        ("begun audio over", "one two", "completed", 100),
        ("created begun added audio word words done ended over", "one two", "completed", 100),
        ("created begun added word audio done over audio audio", "one two", "completed", 100),
        ("created begun added audio done added begun over created", "one two", "completed", 100),
        ("created begun added audio done added begun", "one two", "completed", 100),
        ("created begun added words word word", "one two", "in_progress", 0),
        ("created begun added word empty word audio", "one ", "incomplete", 0),
        ("added audio word", "one ", "in_progress", 100),
        ("created begun added gone ended over audio", None, None, None),
        ("begun word past", None, None, None),
        ("beside begun audio word ended past", None, None, None),
        ("beside audio word audio", None, None, None),
    ],
)
def test_events_in_odd_orders(names: str, text: str | None, status: str | None, ms: int | None) -> None:
    """Only told at the end, late, repeated, cut short, deleted in mid-answer, beside the conversation."""
    history = mirror(*spoken(*names.split()))
    if text is None:
        assert history.items == ()
        return
    (item,) = history.items
    assert (item.parts[0].text, item.status, item.parts[0].audio_ms) == (text, status, ms)
    assert history.busy is None or "created" in names


def test_an_echo_of_a_beginning_does_not_make_a_session_busy() -> None:
    """Neither of a response that is over nor of speech that has been committed or cleared."""
    started = {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 0}
    committed = {"type": "input_audio_buffer.committed", "item_id": "u", "previous_item_id": None}
    assert mirror(*spoken("created", "over", "created"), started, committed, started).busy is None
    assert mirror(started, {"type": "input_audio_buffer.cleared"}, started).busy is None


def test_places_of_items_that_are_told_late() -> None:
    """Whoever follows an item that is not known yet waits for it."""
    listed = {"type": "message", "role": "assistant", "status": "completed", "content": []}
    output = [{**listed, "id": "b"}, {**listed, "id": "c"}]
    over = {"type": "response.done", "response": {"id": "r", "conversation_id": "x", "output": output}}
    first, behind, between = user("a", "1"), user("d", "4", "c"), user("e", "5", "c")
    assert [item.id for item in mirror(first, behind, over).items] == ["a", "b", "c", "d"]
    assert [item.id for item in mirror(first, behind, between, over).items] == ["a", "b", "c", "e", "d"]
    gone = {"type": "conversation.item.deleted", "item_id": "d"}
    assert [item.id for item in mirror(first, behind, user("f", "6", "d"), gone, over).items] == ["a", "b", "c", "f"]


def test_the_length_of_the_users_audio() -> None:
    """By the server's clock, or from the item when it is retrieved; unknown elsewhere."""
    started = {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 700}
    stopped = {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 1900}
    committed = {"type": "input_audio_buffer.committed", "item_id": "u", "previous_item_id": None}
    audio = base64.b64encode(bytes(48 * 250)).decode()
    content = [{"type": "audio", "audio": audio, "transcript": "hi"}]
    item = {"id": "u", "type": "message", "role": "user", "status": "completed", "content": content}
    retrieved = {"type": "conversation.item.retrieved", "item": item}
    assert mirror(started, stopped, committed).items[0].parts[0].audio_ms == 1200
    assert mirror(started, committed).items[0].parts[0].audio_ms is None
    assert mirror(committed, retrieved).items[0].parts[0].audio_ms == 250


def test_usage_is_counted_once() -> None:
    """Of every response, cancelled ones and those beside included, and of transcriptions; echoes add nothing."""
    done = {"id": "r", "conversation_id": None, "status": "cancelled", "usage": {"input_tokens": 5, "output_tokens": 2}}
    heard = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "content_index": 0}
    over = {"type": "response.done", "response": done}
    text = {**heard, "transcript": "x", "usage": {"type": "duration", "seconds": 2}}
    usage = mirror(over, over, text, text, {**over, "response": {**done, "id": "s"}}).usage
    assert (usage.responses, usage.total_tokens, usage.transcriptions, usage.transcription_seconds) == (2, 14, 1, 2.0)


def test_what_is_lost_is_told_once() -> None:
    """A turn that one reconnect could not restore is neither tried nor told by the next; nor are older items."""
    committed = {"type": "input_audio_buffer.committed", "item_id": "u", "previous_item_id": "a"}
    history = mirror(user("a", "old"), committed, user("b", "new", "u"))
    first = plan_replay(history, 2, lambda _: None)
    assert first.lost == ["1 older items", "a turn of the user without transcript or kept audio (u)"]
    history.forget_connection()
    history.resumed({item["id"] for item in first.items})
    second = plan_replay(history, 2, lambda _: None)
    assert (second.lost, [item["id"] for item in second.items]) == ([], ["b"])
    assert [item.lost for item in history.items] == [True, True, False]


def test_a_new_item_after_a_loss_comes_behind_what_was_lost() -> None:
    """The server's first item is not the first of the conversation."""
    history = mirror(user("a", "lost"))
    history.resumed(set())
    history.observe(Decoder().text(json.dumps(user("b", "new")).encode()))
    assert [item.id for item in history.items] == ["a", "b"]


def test_items_beyond_the_bound_are_lost_to_a_new_connection() -> None:
    """They are counted with the older ones, once."""
    history = History(limit=2)
    for at in range(5):
        history.observe(Decoder().text(json.dumps(user(f"n{at}", "x", f"n{at - 1}" if at else None)).encode()))
    assert plan_replay(history, 10, lambda _: None).lost == ["3 older items"]
    history.resumed({"n3", "n4"})
    assert plan_replay(history, 10, lambda _: None).lost == []


def test_a_lost_item_that_is_created_again_is_a_new_one() -> None:
    """The user may bring back under its id what a reconnect lost."""
    history = mirror(user("a", "lost"), user("b", "kept", "a"))
    history.resumed({"b"})
    history.observe(Decoder().text(json.dumps(user("a", "again", "b")).encode()))
    assert [(item.id, item.lost, item.parts[0].text) for item in history.items] == [
        ("b", False, "kept"),
        ("a", False, "again"),
    ]


def test_a_guessed_place_is_corrected() -> None:
    """Where an item of a response stands is told by the event after the one that shows it."""
    begun, added = spoken("begun", "added")
    item = user("u", "two", "a")
    history = mirror(user("a", "one"), *spoken("created"), begun, item, {**added, "previous_item_id": "a"})
    assert [item.id for item in history.items] == ["a", "b", "u"]


def test_a_lost_connection_ends_what_was_in_progress() -> None:
    """Nobody will finish it."""
    history = mirror(*spoken("created", "begun", "added", "word", "audio"))
    history.forget_connection()
    history.observe(Decoder().text(json.dumps(spoken("audio")[0]).encode()))
    (item,) = history.items
    assert (item.status, item.parts[0].text, item.parts[0].audio_ms) == ("incomplete", "one ", 100)
    assert history.busy is None


def test_what_was_cut_stays_cut() -> None:
    """Neither an echo of an earlier truncation nor the shortened audio of a retrieved item changes it."""
    cut = {"type": "conversation.item.truncated", "item_id": "b", "content_index": 0}
    audio = base64.b64encode(bytes(48 * 20)).decode()
    content = [{"type": "audio", "audio": audio, "transcript": None}]
    item = {"id": "b", "type": "message", "role": "assistant", "status": "completed", "content": content}
    later = {"type": "conversation.item.retrieved", "item": item}
    cuts = [{**cut, "audio_end_ms": 60}, {**cut, "audio_end_ms": 20}, {**cut, "audio_end_ms": 60}]
    (part,) = mirror(*reply("b", "one ", "two"), *cuts, later).items[0].parts.values()
    assert (part.heard_ms, part.audio_ms) == (20, 200)


def test_what_might_have_joined_and_did_not_is_forgotten() -> None:
    """No audio is taken for it any more."""
    history = mirror(*spoken("begun", "audio"))
    assert history.takes_audio("b")
    history.observe(Decoder().text(json.dumps(spoken("past")[0]).encode()))
    assert not history.takes_audio("b")
