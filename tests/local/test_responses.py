"""Responses: one at a time, out-of-band ones beside it, cancelled, interrupted, failed (protocol.md 4.8 to 4.11)."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from meshapi_rt.local import Audio, Fail, LocalServer, Text, ToolCall, Turn

from .conftest import ServerFactory
from .plain import PATIENCE, Plain, audio_of, last, silence, speech, types_of

CANCELLED = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "rate_limits.updated",
]


class Halting:
    """A responder that says something, then waits until it is told to go on, or is cancelled."""

    def __init__(self, *, modality: str = "audio") -> None:
        self.turns: queue.Queue[Turn] = queue.Queue()
        self.go_on = threading.Event()
        self.closed = threading.Event()
        self.first = Audio(speech(0.5), "I was saying") if modality == "audio" else Text("I was saying")

    def __call__(self, turn: Turn) -> Iterator[Any]:
        self.turns.put(turn)
        try:
            yield self.first
            while not self.go_on.is_set() and not turn.cancelled.wait(0.005):
                pass
            yield Text(" nothing")
        finally:
            self.closed.set()


def halted(client: Plain, responder: Halting, **response: Any) -> list[dict[str, Any]]:
    """Start a response and receive all that comes before it halts."""
    client.send("response.create", **({"response": response} if response else {}))
    events = client.until("response.output_audio_transcript.delta", delta=" saying")
    while len(audio_of(events)) < 24000:
        events.append(client.expect("response.output_audio.delta"))
    return events


def test_cancel(make_server: ServerFactory) -> None:
    """A cancelled response sends every pending ``.done``, its item is incomplete, its responder is closed."""
    responder = Halting()
    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        begun = halted(client, responder)
        client.send("response.cancel")
        events = client.until("rate_limits.updated")
        assert responder.closed.wait(PATIENCE)
        client.quiet()

    assert types_of(events) == CANCELLED
    response = last(events, "response.done")["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["transcript"] == "I was saying"
    assert response["usage"]["output_token_details"]["audio_tokens"] == 10
    assert response["id"] == begun[0]["response"]["id"]


def test_cancel_before_anything_was_said(make_server: ServerFactory) -> None:
    """A response without output ends with ``response.done`` alone."""
    asked = threading.Event()

    def responder(turn: Turn) -> None:
        asked.set()
        turn.cancelled.wait(PATIENCE)

    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        client.send("response.create")
        response_id = client.expect("response.created")["response"]["id"]
        assert asked.wait(PATIENCE)
        client.send("response.cancel", response_id=response_id)
        events = client.until("rate_limits.updated")

    assert types_of(events) == ["response.done", "rate_limits.updated"]


def test_nothing_to_cancel(server: LocalServer) -> None:
    """Cancelling what does not run is an error, with and without an id."""
    with Plain(server) as client:
        client.expect("session.created")
        for fields in ({}, {"response_id": "resp_no"}):
            error = client.refused("response.cancel", **fields)
            assert error["code"] == "response_cancel_not_active"
            assert error["message"] == "Cancellation failed: no active response found"


def test_one_active_response(make_server: ServerFactory) -> None:
    """A second response for the conversation is refused with the id of the first."""
    responder = Halting()
    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        running = halted(client, responder)[0]["response"]["id"]
        error = client.refused("response.create")
        responder.go_on.set()
        client.until("rate_limits.updated")

    assert error["code"] == "conversation_already_has_active_response"
    assert running in error["message"]
    assert error["param"] is None


def test_interruption(make_server: ServerFactory) -> None:
    """Speech closes the running response, and the turn goes on: 4.8."""
    responder = Halting()
    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        heard = halted(client, responder)
        client.append(speech(0.4))
        client.expect("input_audio_buffer.speech_started")
        events = client.until("rate_limits.updated")
        item_id = last(events, "response.output_item.done")["item"]["id"]
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=100)
        client.expect("conversation.item.truncated")
        responder.go_on.set()
        client.append(silence(0.5))
        rest = client.until("rate_limits.updated")

    assert types_of(events) == CANCELLED
    details = last(events, "response.done")["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "turn_detected"}
    assert types_of(rest)[:5] == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert rest[1]["previous_item_id"] == item_id
    assert heard[0]["response"]["id"] != last(rest, "response.done")["response"]["id"]


def test_interruption_off(make_server: ServerFactory) -> None:
    """``interrupt_response: false`` lets the response run; the turn then gets none of its own."""
    responder = Halting()
    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        detection = {"type": "server_vad", "interrupt_response": False}
        client.update(audio={"input": {"turn_detection": detection}})
        halted(client, responder)
        client.append(np.concatenate((speech(0.4), silence(0.5))))
        events = client.until("error")
        responder.go_on.set()
        done = last(client.until("rate_limits.updated"), "response.done")["response"]

    assert events[-1]["error"]["code"] == "conversation_already_has_active_response"
    assert events[-1]["error"]["event_id"] is None
    assert done["status"] == "completed"


def test_out_of_band(server: LocalServer) -> None:
    """Out-of-band responses echo their metadata, join nothing and are not remembered."""
    with Plain(server) as client:
        client.expect("session.created")
        client.say("Hello")
        events = client.respond(conversation="none", output_modalities=["text"], metadata={"topic": "x"})
        assert [item.text for item in server.sessions[0].items] == ["Hello"]

    assert not [name for name in types_of(events) if name.startswith("conversation.")]
    for name in ("response.created", "response.done"):
        response = last(events, name)["response"]
        assert response["conversation_id"] is None
        assert response["metadata"] == {"topic": "x"}
    assert last(events, "response.output_text.done")["text"] == "Hello"


def test_out_of_band_input(server: LocalServer) -> None:
    """``input`` replaces the conversation: own items and references to others."""
    with Plain(server) as client:
        client.expect("session.created")
        first = client.say("first")
        client.say("second")
        reference = {"type": "item_reference", "id": first}
        for given, said in (
            ([reference], "first"),
            ([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "own"}]}], "own"),
            ([], "Hello! I repeat what I hear."),
        ):
            events = client.respond(conversation="none", output_modalities=["text"], input=given)
            assert last(events, "response.output_text.done")["text"] == said
        error = client.refused("response.create", response={"input": [{"type": "item_reference", "id": "no"}]})
        assert error["param"] == "response.input[0].id"


def test_out_of_band_in_parallel(make_server: ServerFactory) -> None:
    """They run beside the normal response and beside each other, and speech does not interrupt them."""
    turns: queue.Queue[Turn] = queue.Queue()
    go_on = threading.Event()

    def responder(turn: Turn) -> str:
        turns.put(turn)
        while not go_on.wait(0.005) and not turn.cancelled.is_set():
            pass
        return "done"

    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        client.send("response.create")
        for name in "ab":
            client.send("response.create", response={"conversation": "none", "metadata": {"name": name}})
        created = [client.expect("response.created")["response"] for _ in range(3)]
        for _ in range(3):
            turns.get(timeout=PATIENCE)
        client.append(speech(0.3))
        events = client.until("rate_limits.updated")
        go_on.set()
        rest = [*client.until("rate_limits.updated"), *client.until("rate_limits.updated")]

    assert last(events, "response.done")["response"]["id"] == created[0]["id"]
    ended = {event["response"]["id"]: event["response"] for event in rest if event["type"] == "response.done"}
    assert set(ended) == {response["id"] for response in created[1:]}
    assert {response["status"] for response in ended.values()} == {"completed"}


def test_out_of_band_is_cancelled_by_id(make_server: ServerFactory) -> None:
    """Without an id only the conversation's response is meant."""
    responder = Halting()
    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        running = halted(client, responder, conversation="none")[0]["response"]["id"]
        client.refused("response.cancel")
        client.send("response.cancel", response_id=running)
        assert last(client.until("rate_limits.updated"), "response.done")["response"]["id"] == running


@pytest.mark.parametrize("how", ["fails", "raises at once", "raises later", "yields nonsense"])
def test_failures(make_server: ServerFactory, caplog: pytest.LogCaptureFixture, how: str) -> None:
    """A responder that fails ends its response ``failed``; the session lives on."""
    caplog.set_level(logging.CRITICAL, "meshapi_rt")

    def later(turn: Turn) -> Iterator[Any]:
        yield "I wanted to say"
        if how == "raises later":
            raise RuntimeError("out of ideas")
        yield Fail("rate_limit_exceeded", "Too much.") if how == "fails" else 5

    def responder(turn: Turn) -> Any:
        if turn.metadata:
            return "fine"
        if how == "raises at once":
            raise RuntimeError("out of ideas")
        return later(turn)

    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        response = last(client.respond(), "response.done")["response"]
        again = last(client.respond(metadata={"again": "yes"}), "response.done")["response"]

    error = response["status_details"]["error"]
    assert response["status"] == response["status_details"]["type"] == "failed"
    assert error["code"] == ("rate_limit_exceeded" if how == "fails" else "internal_error")
    assert ("out of ideas" in error["message"]) == how.startswith("raises")
    assert again["status"] == "completed"


@pytest.mark.parametrize(
    "make",
    [lambda: ToolCall("f", call_id="c" * 33), lambda: ToolCall(5), lambda: Text(b"x"), lambda: Fail(5)],  # type: ignore[arg-type]
)
def test_values_are_checked(make: Callable[[], object]) -> None:
    """What a responder may yield is checked where it is made."""
    with pytest.raises((TypeError, ValueError)):
        make()


def test_what_a_responder_sees(make_server: ServerFactory) -> None:
    """The turn holds the conversation, the settings and what this response overrides."""
    turns: queue.Queue[Turn] = queue.Queue()
    tool = {"type": "function", "name": "f"}
    spoken = speech(0.3)
    with Plain(make_server(responder=turns.put)) as client:
        client.manual(instructions="Be brief.", tools=[tool])
        client.say("typed")
        client.append(spoken)
        client.send("input_audio_buffer.commit")
        client.until("conversation.item.done")
        client.respond(instructions="Be long.", metadata={"a": "b"})
        client.respond(input=[], tool_choice="none", output_modalities=["text"])

    first, second = turns.get(timeout=PATIENCE), turns.get(timeout=PATIENCE)
    assert [(item.role, item.text) for item in first.items] == [("user", "typed"), ("user", "")]
    assert (first.instructions, first.tools, first.modality) == ("Be long.", [tool], "audio")
    assert (first.metadata, first.voice, first.model) == ({"a": "b"}, "alloy", "gpt-realtime-mini")
    assert first.items[0].audio is None
    assert first.audio is not None
    assert np.array_equal(first.audio, spoken)
    assert (second.items, second.instructions, second.modality) == ((), "Be brief.", "text")


def test_audio_for_a_client_that_wants_text(make_server: ServerFactory) -> None:
    """With text output the transcript of a responder's audio is the answer."""
    with Plain(make_server(responder=lambda _: Audio(speech(0.2), "as said"))) as client:
        client.expect("session.created")
        events = client.respond(output_modalities=["text"])

    assert last(events, "response.output_text.done")["text"] == "as said"
    assert not audio_of(events)


def test_truncating_a_running_item(make_server: ServerFactory) -> None:
    """What a response says after its item was truncated is sent, and not remembered."""
    responder = Halting()
    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        item_id = last(halted(client, responder), "conversation.item.added")["item"]["id"]
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=100)
        client.expect("conversation.item.truncated")
        responder.go_on.set()
        events = client.until("rate_limits.updated")
        client.send("conversation.item.retrieve", item_id=item_id)
        part = client.expect("conversation.item.retrieved")["item"]["content"][0]

    assert last(events, "response.output_audio_transcript.done")["transcript"] == "I was saying nothing"
    assert len(part["audio"]) == 6400
    assert part["transcript"] is None


def test_deleting_a_running_item(make_server: ServerFactory) -> None:
    """A deleted item leaves the conversation at once; its response goes on."""
    responder = Halting()
    server = make_server(responder=responder)
    with Plain(server) as client:
        client.expect("session.created")
        item_id = last(halted(client, responder), "conversation.item.added")["item"]["id"]
        client.send("conversation.item.delete", item_id=item_id)
        client.expect("conversation.item.deleted")
        responder.go_on.set()
        events = client.until("rate_limits.updated")
        assert server.sessions[0].items == ()

    assert "conversation.item.done" not in types_of(events)
