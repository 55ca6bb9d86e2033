"""The conversation as a user sees it: snapshots, print, audio, and threads that look while it goes on."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from meshapi_rt import ConfigurationError, ConversationItem, ConversationView, Usage, pcm
from meshapi_rt.history import History
from meshapi_rt.items import Part
from meshapi_rt.keeping import AudioKeeper
from meshapi_rt.local import Audio, LocalServer, Text, ToolCall, Turn

from .peers import LIMIT
from .test_history import OUTPUT, call, mirror, reply, user


def view(*events: dict[str, Any], keeper: AudioKeeper | None = None) -> ConversationView:
    return ConversationView(mirror(*events), keeper)


def test_snapshots() -> None:
    """Everything that is known of an item, and nothing that changes afterwards."""
    seen = view(user("a", "one"), *reply("b", "two ", "words"), call(), OUTPUT)
    asked, answered, called, output = seen.items
    assert (asked.id, asked.role, asked.text, asked.transcript, asked.made_by) == ("a", "user", "one", None, "client")
    assert (answered.role, answered.text, answered.transcript) == ("assistant", None, "two words")
    assert (answered.audio_ms, answered.heard_ms, answered.complete) == (200, None, True)
    assert (answered.made_by, answered.response_id) == ("response", "r")
    assert (called.name, called.arguments, called.call_id, called.output) == ("look", "{}", "k", "seen")
    assert (output.type, output.call_id, output.output, output.arguments) == ("function_call_output", "k", "seen", None)
    with pytest.raises(AttributeError):
        asked.role = "x"  # type: ignore[misc]


def test_it_is_a_collection() -> None:
    """Length, iteration, membership, and indexing by id and by place."""
    seen = view(user("a", "one"), *reply("b", "two"), call(), OUTPUT)
    assert len(seen) == 4
    assert [item.id for item in seen] == ["a", "b", "f", "o"]
    assert seen["b"] == seen[1] == seen.items[1]
    assert seen["f"].output == "seen"
    assert seen[-1].id == "o"
    assert "a" in seen
    assert "z" not in seen
    with pytest.raises(KeyError, match="the conversation has no item 'z'"):
        seen["z"]
    with pytest.raises(IndexError):
        seen[4]
    assert repr(seen) == "<ConversationView of 4 items>"


def test_it_reads_as_a_dialogue() -> None:
    """Roles, transcripts, calls with their answers, images, and marks for what was cut."""
    image = user("i", "what is this?")
    image["item"]["content"].insert(0, {"type": "input_image", "image_url": "data:image/png;base64,AA=="})
    committed = {"type": "input_audio_buffer.committed", "item_id": "u"}
    cut = {"type": "conversation.item.truncated", "item_id": "b", "content_index": 0, "audio_end_ms": 150}
    incomplete = {"id": "q", "type": "message", "role": "assistant", "status": "incomplete", "content": []}
    seen = view(
        user("a", "line one\nline two"),
        *reply("b", "one ", "two ", "three ", "four"),
        cut,
        call(),
        OUTPUT,
        {**image, "previous_item_id": "o"},
        {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 1000},
        {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 3300},
        {**committed, "previous_item_id": "i"},
        {"type": "conversation.item.done", "item": incomplete},
        {"type": "conversation.item.done", "item": {"id": "l", "type": "mcp_list_tools"}},
    )
    assert str(seen).splitlines() == [
        "user: line one",
        "    line two",
        "assistant: one two [interrupted at 0.1 s, the words are an estimate]",
        "assistant: calls look({}) → seen",
        "user: (image) what is this?",
        "user: (audio, 2.3 s)",
        "assistant: (nothing) [unfinished]",
        "mcp_list_tools: (no message)",
    ]
    assert (seen["b"].heard_ms, seen["b"].heard_estimate, seen["b"].audio_ms) == (150, True, 400)
    assert seen["u"].made_by == "speech"


def test_items_are_bounded() -> None:
    """The ones that came first go first, and are counted; late news of them bring nothing back."""
    history = History(limit=3)
    events = [user(f"n{at}", "x", f"n{at - 1}" if at else None) for at in range(5)]
    for message in events:
        history.observe(_message(message))
    seen = ConversationView(history, None)
    assert [item.id for item in seen] == ["n2", "n3", "n4"]
    assert seen.dropped == 2
    history.observe(_message({"type": "conversation.item.done", "item": events[0]["item"]}))
    assert len(seen) == 3
    assert str(seen).startswith("(2 older items are not kept)")


def test_pictures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The items stay, the oldest pictures go."""
    monkeypatch.setattr("meshapi_rt.order._IMAGE_CHARACTERS", 250)
    events = [user(f"n{at}", "x", f"n{at - 1}" if at else None) for at in range(4)]
    for event in events:
        event["item"]["content"].append({"type": "input_image", "image_url": "p" * 100})
    kept = [item.parts[1].image_url is not None for item in view(*events)]
    assert kept == [False, False, True, True]


def _message(event: dict[str, Any]) -> Any:
    import json

    from meshapi_rt.decoding import Decoder

    return Decoder().text(json.dumps(event).encode())


def test_looking_while_it_goes_on() -> None:
    """Threads that look at every moment see whole items, in order, and no status before its text."""
    history = History()
    seen = ConversationView(history, None)
    messages = [_message(event) for at in range(300) for event in _round(at)]
    over, wrong = threading.Event(), []

    def look() -> None:
        while not over.is_set():
            try:
                items = seen.items
                numbers = [int(item.id[1:]) for item in items]
                assert numbers == sorted(numbers)
                assert all(item.transcript == "one two three" for item in items if item.complete)
                str(seen)
            except Exception as exc:
                wrong.append(exc)
                return

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for message in messages:
        history.observe(message)
    over.set()
    for thread in threads:
        thread.join(LIMIT)
    assert not wrong
    assert len(seen) == 300 - 48


def test_an_item_that_is_completed_while_it_is_looked_at() -> None:
    """What is seen as completed is whole: its end may come after its text was read, and before its status is."""
    history = History()
    for event in reply("b0", "one ", "two ", done=False):
        history.observe(_message(event))
    item = history.find("b0")
    assert item is not None
    ends = partial(setattr, item, "status", "completed")

    class Ending(dict[int, Part]):
        def items(self) -> Any:
            ends()
            return super().items()

    item.parts = Ending(item.parts)
    (seen,) = ConversationView(history, None).items
    assert item.complete
    assert seen.status != "completed"


def _round(at: int) -> list[dict[str, Any]]:
    events = reply(f"b{at}", "one ", "two ", "three")
    for event in events:
        if event["type"] == "conversation.item.added":
            event["previous_item_id"] = None if at == 0 else f"b{at - 1}"
    gone = {"type": "conversation.item.deleted", "item_id": f"b{at - 10}"}
    return [*events, gone] if at % 6 == 0 and at >= 10 else events


# -- with a session ---


def test_a_session_shows_its_conversation_and_its_usage() -> None:
    """A spoken turn, a call with its output, an answer; what was used adds up to what the server told."""

    def answer(turn: Turn) -> list[Any]:
        return [Text("it is seen")] if turn.outputs else [Text("I look"), ToolCall("look", {"at": 1}, "call_1")]

    with LocalServer(responder=answer) as server, server.client().realtime.connect(model="m") as session:
        assert (len(session.conversation), session.usage) == (0, Usage())
        input_audio = {"turn_detection": None, "transcription": {"model": "whisper-1"}}
        session.send({"type": "session.update", "session": {"type": "realtime", "audio": {"input": input_audio}}})
        session.wait_for("session.updated", timeout=LIMIT)
        session.send_audio(pcm.silence(0.5))
        session.send({"type": "input_audio_buffer.commit"})
        session.wait_for("conversation.item.input_audio_transcription.completed", timeout=LIMIT)
        used = 0
        for _ in range(2):
            session.send({"type": "response.create"})
            done = session.wait_for("response.done", timeout=LIMIT).event
            assert done is not None
            assert done["type"] == "response.done"
            usage = done["response"]["usage"]
            assert usage is not None
            used += usage["total_tokens"] or 0
            item = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
            session.send({"type": "conversation.item.create", "item": item})
            session.wait_for("conversation.item.done", timeout=LIMIT)

        heard, spoken, called, output, answered = session.conversation.items[:5]
        assert (heard.made_by, heard.role) == ("speech", "user")
        assert heard.transcript
        assert (spoken.transcript, answered.transcript) == ("I look", "it is seen")
        assert (called.name, called.output, output.output) == ("look", "42", "42")
        assert session.conversation.audio is not None
        with pytest.raises(ConfigurationError, match="keep_audio=True"):
            session.conversation.audio(heard.id)
        assert session.usage.responses == 2
        assert session.usage.total_tokens == used
        assert (session.usage.transcriptions, session.usage.transcription_seconds) == (1, 0.5)


@pytest.mark.parametrize("form", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_kept_audio_of_both_sides(form: str) -> None:
    """The samples that were sent and those that came; cut where the answer was truncated; none of what is beside."""
    tone = np.arange(4800, dtype=np.int16)

    def answer(turn: Turn) -> list[Any]:
        return [Audio(np.full(24000, 1000, np.int16), "hm")]

    with (
        LocalServer(responder=answer) as server,
        server.client().realtime.connect(model="m", keep_audio=True) as session,
    ):
        audio: dict[str, Any] = {"input": {"turn_detection": None}, "output": {"format": {"type": form}}}
        if form == "audio/pcm":
            del audio["output"]
        session.send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        session.send_audio(tone)
        session.send({"type": "input_audio_buffer.commit"})
        session.send({"type": "response.create", "response": {"conversation": "none"}})
        session.wait_for("response.done", timeout=LIMIT)
        session.send({"type": "response.create"})
        session.wait_for("response.done", timeout=LIMIT)
        asked, answered = session.conversation.items
        assert asked.audio_ms == 200
        kept = session.conversation.audio(asked.id)
        assert kept is not None
        assert kept.tolist() == tone.tolist()
        assert answered.audio_ms == 1000
        whole = session.conversation.audio(answered.id)
        assert whole is not None
        assert whole.dtype == np.int16
        assert whole.size == pytest.approx(24000, abs=3)
        assert abs(int(np.median(whole)) - 1000) < 40

        cut = {"item_id": answered.id, "content_index": 0, "audio_end_ms": 400}
        session.send({"type": "conversation.item.truncate", **cut})
        session.wait_for("conversation.item.truncated", timeout=LIMIT)
        heard = session.conversation.audio(answered.id)
        assert heard is not None
        assert heard.size == pytest.approx(9600, abs=3)
        assert session.conversation.audio("item_unknown") is None


def test_types_of_an_item_are_exported() -> None:
    """For annotations of those who go through them."""
    items: tuple[ConversationItem, ...] = view(user("a", "one")).items
    assert items[0].parts[0].type == "input_text"
