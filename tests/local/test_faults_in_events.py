"""Faults in what the server says: events invented, changed, missing, late and out of order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshapi_rt.local import (
    Audio,
    Delay,
    ExtraFields,
    LateDeltas,
    LateTranscription,
    NoEcho,
    Send,
    Skip,
    Turn,
)

from .plain import PATIENCE, Plain, speech, types_of
from .playing import playing

# -- the events -----------------------------------------------------------------------------------------------


def test_send() -> None:
    """Any frame can be sent: unknown events, text that is no event, bytes."""
    script = (
        Send({"type": "response.output_smell.delta", "smell": "rose"}, on="session.created"),
        Send("[]", on="session.created"),
        Send(b"\x00\x01", on="session.created"),
    )
    with playing(*script) as server, Plain(server) as client:
        client.expect("session.created")
        assert client.expect("response.output_smell.delta")["smell"] == "rose"
        assert client.ws.recv(timeout=PATIENCE) == "[]"
        assert client.ws.recv(timeout=PATIENCE) == b"\x00\x01"


def test_extra_fields_of_every_kind() -> None:
    """Unscripted, they are those of the live service and invented ones; what is known stays as it was."""
    with playing(ExtraFields()) as server, Plain(server) as client:
        client.expect("session.created")
        client.say("call me")
        events = client.respond()

    deltas = [event for event in events if event["type"] == "response.output_audio_transcript.delta"]
    assert all(isinstance(event["obfuscation"], str) for event in deltas)
    items = [event["item"] for event in events if event["type"].startswith("response.output_item.")]
    assert all(item["phase"] == "final_answer" for item in (*items, *events[-2]["response"]["output"]))
    assert all("x_local_server" in event for event in client.events)
    assert "x_local_server" in client.events[0]["session"]
    assert "".join(event["delta"] for event in deltas) == "call me"


def test_extra_fields_of_the_script() -> None:
    """Scripted, they are as written, on the events that the script names, and no others."""
    field = ExtraFields({"mood": "good"}, on="input_audio_buffer.cleared", nth=2, times=1)
    with playing(field) as server, Plain(server) as client:
        client.expect("session.created")
        for _ in range(3):
            client.quiet()

    assert [event.get("mood") for event in client.events] == [None, None, "good", None]


@pytest.mark.parametrize("moment", [{"after": 0.05}, {"sent": 2}, {"received": 2}], ids=str)
def test_twists_begin_at_their_moment(moment: dict[str, Any]) -> None:
    """Events change from a time or a frame on."""
    with playing(ExtraFields({"mood": "good"}, **moment)) as server, Plain(server) as client:
        client.expect("session.created")
        client.quiet()
        if "after" in moment:
            time.sleep(0.15)
        client.quiet()
        client.quiet()

    assert [event.get("mood") for event in client.events] == [None, None, "good", "good"]


def test_done_without_created() -> None:
    """An event can be missing: here a response is done that never began."""
    with playing(Skip(on="response.created", times=1)) as server, Plain(server) as client:
        client.expect("session.created")
        first = types_of(client.respond())
        second = types_of(client.respond())

    assert "response.created" not in first
    assert "response.done" in first
    assert second[0] == "response.created"


def test_delay_until_an_event() -> None:
    """Events are overtaken by others: until one of them has gone out."""
    twist = Delay(on="conversation.item.added", until="conversation.item.done", times=1)
    with playing(twist) as server, Plain(server) as client:
        client.expect("session.created")
        content = [{"type": "input_text", "text": "Hello"}]
        for _ in range(2):
            client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        types = [client.recv()["type"].rsplit(".", 1)[1] for _ in range(4)]

    assert types == ["done", "added", "added", "done"]


def test_delay_for_a_time() -> None:
    """Or for a time."""
    with playing(Delay(0.1, on="session.created")) as server, Plain(server) as client:
        began = time.monotonic()
        client.quiet()
        client.expect("session.created")
        assert time.monotonic() - began >= 0.09


def spoken_turns(client: Plain, number: int) -> list[str]:
    """Say something several times, with transcription; return the items."""
    client.expect("session.created")
    client.update(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    items = []
    for _ in range(number):
        client.append(speech(0.2))
        client.send("input_audio_buffer.commit")
        items.append(client.until("input_audio_buffer.committed")[-1]["item_id"])
    return items


def transcribed(client: Plain, number: int) -> list[str]:
    """Receive until so many transcriptions are complete; return their items, in the order of completion."""
    kind = "conversation.item.input_audio_transcription.completed"
    while types_of(client.events).count(kind) < number:
        client.recv()
    return [event["item_id"] for event in client.events if event["type"] == kind]


def test_transcriptions_out_of_order() -> None:
    """Each turn's transcription comes after the next one's, whole."""
    with playing(LateTranscription()) as server, Plain(server) as client:
        items = spoken_turns(client, 4)
        order = transcribed(client, 4)

    assert order == [items[1], items[0], items[3], items[2]]
    marks = [event["item_id"] for event in client.events if "transcription" in event["type"]]
    assert len(marks) > 8  # deltas too
    assert marks == sorted(marks, key=order.index)


def test_late_transcription() -> None:
    """A transcription comes so late that a whole response overtakes it; the others do not wait."""
    with playing(LateTranscription(0.3, times=1)) as server, Plain(server) as client:
        items = spoken_turns(client, 2)
        client.send("response.create", response={"output_modalities": ["text"]})
        client.until("rate_limits.updated")
        order = transcribed(client, 2)

    assert order == [items[1], items[0]]
    types = types_of(client.events)
    assert types.index("response.done") < len(types) - 1
    assert types[-1].endswith("transcription.completed")


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_late_deltas(delay: float) -> None:
    """Audio of a cancelled response still comes after its end; of others it does not."""
    stop = threading.Event()

    def responder(turn: Turn) -> Iterator[Audio]:
        yield Audio(speech(0.3), "la")
        if len(turn.items) < 2:
            stop.wait(PATIENCE)

    with playing(LateDeltas(3, seconds=delay), responder=responder) as server, Plain(server) as client:
        client.expect("session.created")
        client.send("response.create")
        ours = client.until("response.output_audio.delta")[-1]["response_id"]
        client.send("response.cancel")
        client.until("response.done")
        late = [client.until("response.output_audio.delta")[-1] for _ in range(3)]
        stop.set()
        client.send("conversation.item.create", item={"type": "message", "role": "user", "content": []})
        client.send("response.create")
        client.until("response.done")
        client.until("rate_limits.updated")
        client.quiet()

    assert {event["response_id"] for event in late} == {ours}
    ids = [event["event_id"] for event in client.events]
    assert len(set(ids)) == len(ids)
    assert types_of(client.events)[-2:] == ["rate_limits.updated", "input_audio_buffer.cleared"]


def test_errors_without_the_clients_id() -> None:
    """In-band errors do not say which event they answer: all, or those of a code."""
    bad = {"item_id": "no such item", "event_id": "mine"}
    with playing(NoEcho("item_delete_invalid_item_id", times=1)) as server, Plain(server) as client:
        client.expect("session.created")
        client.send("response.cancel", event_id="mine")
        assert client.expect("error")["error"]["event_id"] == "mine"
        for echoed in (None, "mine"):
            client.send("conversation.item.delete", **bad)
            assert client.expect("error")["error"]["event_id"] == echoed
