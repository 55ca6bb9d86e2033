"""The lifecycles of protocol.md 4.2 to 4.7, event by event."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from meshapi_rt.local import LocalServer, Text, ToolCall, Turn

from .conftest import ServerFactory
from .plain import (
    Plain,
    audio_of,
    chunks_of,
    encode,
    joined,
    last,
    silence,
    speech,
    types_of,
)

TEXT_RESPONSE = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "rate_limits.updated",
]
CALL = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "conversation.item.done",
]
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}


def test_text_turn(server: LocalServer) -> None:
    """A text turn has every event of 4.4 in order, and its deltas add up."""
    with Plain(server) as client:
        client.expect("session.created")
        question = client.say("Hello big world")
        events = client.respond(output_modalities=["text"])

    assert types_of(events, once=True) == TEXT_RESPONSE
    assert joined(events, "response.output_text.delta") == "Hello big world"
    assert last(events, "response.output_text.done")["text"] == "Hello big world"
    assert events[2]["previous_item_id"] == question
    assert events[3]["part"] == {"type": "text", "text": ""}
    assert last(events, "response.content_part.done")["part"] == {"type": "text", "text": "Hello big world"}
    response = last(events, "response.done")["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "output_text", "text": "Hello big world"}]
    assert response["output"] == [last(events, "conversation.item.done")["item"]]


def test_created_response_is_empty(server: LocalServer) -> None:
    """``response.created`` shows a response in progress, without output and usage."""
    with Plain(server) as client:
        client.expect("session.created")
        created = client.respond(output_modalities=["text"], metadata={"topic": "none"})[0]["response"]

    assert created["status"] == "in_progress"
    assert (created["output"], created["usage"], created["status_details"]) == ([], None, None)
    assert created["metadata"] == {"topic": "none"}
    assert created["conversation_id"].startswith("conv_")


def test_spoken_answer_to_text(server: LocalServer) -> None:
    """With audio output the words become tones of 200 ms, and the text is their transcript."""
    with Plain(server) as client:
        client.expect("session.created")
        client.say("Hello big big world")
        events = client.respond()

    once = [name for name in types_of(events, once=True) if not name.endswith("delta")]
    assert once == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    words = np.frombuffer(audio_of(events), "<i2").reshape(4, 4800)
    assert np.array_equal(words[1], words[2])
    assert not np.array_equal(words[0], words[1])
    item = last(events, "conversation.item.done")["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello big big world"}]
    assert last(events, "response.output_audio_transcript.done")["transcript"] == "Hello big big world"


def test_manual_audio_turn_plays_the_samples_back(server: LocalServer) -> None:
    """The parrot returns the very samples, in uneven deltas, transcript first."""
    spoken = speech(1.3)
    with Plain(server) as client:
        client.manual()
        client.append(spoken)
        client.send("input_audio_buffer.commit")
        committed = client.expect("input_audio_buffer.committed")
        added = client.expect("conversation.item.added")
        done = client.expect("conversation.item.done")
        client.quiet()  # a commit starts no response
        events = client.respond()

    assert committed["item_id"] == added["item"]["id"] == done["item"]["id"]
    assert committed["previous_item_id"] is None
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert audio_of(events) == spoken.tobytes()
    sizes = [len(base64.b64decode(e["delta"])) for e in events if e["type"] == "response.output_audio.delta"]
    assert len(set(sizes)) > 3
    assert any(size % 2 for size in sizes)
    kinds = types_of(events)
    last_word = len(kinds) - kinds[::-1].index("response.output_audio_transcript.delta")
    assert last_word <= kinds.index("response.output_audio.delta")
    assert last(events, "response.output_audio_transcript.done")["transcript"] == "(1.3 s of speech)"


def test_server_vad_turn(server: LocalServer) -> None:
    """Speech in, speech out without a commit, in the order of 4.2, with one item id throughout."""
    spoken = np.concatenate((silence(0.5), speech(0.6), silence(0.5)))
    with Plain(server) as client:
        client.expect("session.created")
        client.append(spoken)
        events = client.until("rate_limits.updated")

    assert types_of(events)[:6] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    started, stopped, committed, added = events[:4]
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == added["item"]["id"]
    assert started["audio_start_ms"] == 200  # 500 ms less the prefix of 300 ms
    assert 1280 <= stopped["audio_end_ms"] <= 1340  # 1100 ms and 200 ms of silence
    heard = audio_of(events)
    start, end = started["audio_start_ms"] * 48, stopped["audio_end_ms"] * 48
    assert heard == spoken.tobytes()[start:end]


def test_vad_counts_all_audio(server: LocalServer) -> None:
    """The second turn's times go on where the first one's stopped."""
    turn = np.concatenate((speech(0.4), silence(0.6)))
    with Plain(server) as client:
        client.expect("session.created")
        client.append(turn)
        client.until("rate_limits.updated")
        client.append(turn)
        events = client.until("rate_limits.updated")

    assert 700 <= events[0]["audio_start_ms"] <= 1000
    assert events[1]["audio_end_ms"] > 1400


def test_vad_without_response(server: LocalServer) -> None:
    """``create_response: false`` commits turns and leaves the answer to the client."""
    with Plain(server) as client:
        client.expect("session.created")
        client.update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        client.append(np.concatenate((speech(0.4), silence(0.5))))
        client.until("conversation.item.done")
        client.quiet()


def test_semantic_vad(server: LocalServer) -> None:
    """Semantic turn detection waits longer than server VAD: a pause of 0.3 s ends no turn."""
    spoken = (speech(0.4), silence(0.3), speech(0.4), silence(0.6))
    with Plain(server) as client:
        client.expect("session.created")
        client.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}})
        client.append(np.concatenate(spoken))
        events = client.until("rate_limits.updated")

    assert types_of(events).count("input_audio_buffer.speech_started") == 1
    assert len(audio_of(events)) > 1.1 * 48000


def test_client_commit_ends_a_vad_turn(server: LocalServer) -> None:
    """A commit in mid-speech uses the announced id; ``speech_stopped`` does not come."""
    with Plain(server) as client:
        client.expect("session.created")
        client.append(speech(0.5))
        started = client.expect("input_audio_buffer.speech_started")
        client.send("input_audio_buffer.commit")
        committed = client.expect("input_audio_buffer.committed")

    assert committed["item_id"] == started["item_id"]


def test_odd_chunks_are_put_together(server: LocalServer) -> None:
    """Appends may cut samples in half: the bytes are one stream."""
    data = speech(0.5).tobytes()
    with Plain(server) as client:
        client.manual()
        for chunk in chunks_of(data, [333, 4801, 77]):
            client.send("input_audio_buffer.append", audio=encode(chunk))
        client.send("input_audio_buffer.commit")
        client.until("conversation.item.done")
        assert audio_of(client.respond()) == data


def test_function_call_round_trip(server: LocalServer) -> None:
    """A call, its output, and the answer that uses it: 4.6."""
    with Plain(server) as client:
        client.expect("session.created")
        client.update(tools=[WEATHER], output_modalities=["text"])
        client.say('Please call weather {"city": "Oslo", "days": 2}')
        events = client.respond()
        done = last(events, "response.function_call_arguments.done")
        output = {"type": "function_call_output", "call_id": done["call_id"], "output": "Sunny in Oslo."}
        client.send("conversation.item.create", item=output)
        client.expect("conversation.item.added")
        client.expect("conversation.item.done")
        answer = client.respond()

    assert types_of(events, once=True) == ["response.created", *CALL, "response.done", "rate_limits.updated"]
    assert events[1]["item"]["arguments"] == ""
    assert events[1]["item"]["status"] == "in_progress"
    assert done["name"] == "weather"
    assert json.loads(done["arguments"]) == {"city": "Oslo", "days": 2}
    assert joined(events, "response.function_call_arguments.delta") == done["arguments"]
    call = last(events, "response.done")["response"]["output"][0]
    assert (call["arguments"], call["status"]) == (done["arguments"], "completed")
    assert last(answer, "response.output_text.done")["text"] == "Sunny in Oslo."


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_demanded_call(server: LocalServer, choice: Any) -> None:
    """``tool_choice`` has the parrot make up arguments that fit the schema."""
    with Plain(server) as client:
        client.expect("session.created")
        client.say("Bergen")
        events = client.respond(tools=[WEATHER], tool_choice=choice)

    arguments = json.loads(last(events, "response.function_call_arguments.done")["arguments"])
    assert arguments == {"city": "Bergen", "days": 1}


def test_no_tools_no_call(server: LocalServer) -> None:
    """``tools: []`` and ``tool_choice: none`` take calls away for one response."""
    with Plain(server) as client:
        client.expect("session.created")
        client.update(tools=[WEATHER], tool_choice="required")
        client.say("call weather {}")
        overrides: list[dict[str, Any]] = [{"tools": []}, {"tool_choice": "none"}]
        for override in overrides:
            events = client.respond(**override)
            assert last(events, "response.done")["response"]["output"][0]["type"] == "message"


def test_parallel_calls(server: LocalServer) -> None:
    """Several calls of one response have their own output indexes and ids."""
    with Plain(server) as client:
        client.expect("session.created")
        client.say('call weather {"city": "Oslo"} and call weather {"city": "Rome"}')
        events = client.respond(tools=[WEATHER])

    calls = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [call["output_index"] for call in calls] == [0, 1]
    assert len({call["call_id"] for call in calls}) == 2
    assert [json.loads(call["arguments"])["city"] for call in calls] == ["Oslo", "Rome"]


def test_message_before_a_call(make_server: ServerFactory) -> None:
    """A spoken item may come before the call: index 0 and 1, the message done before the call begins."""

    def responder(turn: Turn) -> Any:
        yield Text("One moment.")
        yield ToolCall("weather", {"city": "Oslo"}, "call_mine")
        yield "Done."

    with Plain(make_server(responder=responder)) as client:
        client.expect("session.created")
        events = client.respond(output_modalities=["text"])

    items = [event for event in events if event["type"] == "response.output_item.done"]
    assert [(event["output_index"], event["item"]["type"]) for event in items] == [
        (0, "message"),
        (1, "function_call"),
        (2, "message"),
    ]
    assert items[1]["item"]["call_id"] == "call_mine"


def test_usage_adds_up(server: LocalServer) -> None:
    """Usage counts the whole context and the output, by the documented rules of thumb."""
    with Plain(server) as client:
        client.manual(instructions="abcdefgh")  # 2 tokens
        client.append(speech(2.0))  # 20 tokens
        client.send("input_audio_buffer.commit")
        client.until("conversation.item.done")
        usage = last(client.respond(), "response.done")["response"]["usage"]

    assert usage["input_token_details"]["text_tokens"] == 2
    assert usage["input_token_details"]["audio_tokens"] == 20
    assert usage["output_token_details"]["audio_tokens"] == 40
    assert usage["output_token_details"]["text_tokens"] == 5  # "(2.0 s of speech)"
    assert usage["input_tokens"] == 22
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_max_output_tokens(server: LocalServer, modality: str) -> None:
    """A response that reaches its limit ends ``incomplete``, with what fits."""
    with Plain(server) as client:
        client.expect("session.created")
        client.say("one two three four five six seven eight")
        events = client.respond(output_modalities=[modality], max_output_tokens=5)

    response = last(events, "response.done")["response"]
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 5
    if modality == "text":
        assert last(events, "response.output_text.done")["text"] == "one two three four five"[:20]


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_g711_both_ways(server: LocalServer, name: str) -> None:
    """G.711 speech comes back as G.711 speech."""
    from meshapi_rt import pcm

    encode_g711, decode_g711 = {
        "audio/pcmu": (pcm.ulaw_encode, pcm.ulaw_decode),
        "audio/pcma": (pcm.alaw_encode, pcm.alaw_decode),
    }[name]
    narrow = np.repeat(speech(0.5, rate=2000), 4)  # most of its energy lies well below 4 kHz
    data = encode_g711(narrow)
    with Plain(server) as client:
        client.expect("session.created")
        audio = {"input": {"format": {"type": name}, "turn_detection": None}, "output": {"format": {"type": name}}}
        client.update(audio=audio)
        client.append(data, chunk=800)
        client.send("input_audio_buffer.commit")
        client.until("conversation.item.done")
        events = client.respond()

    heard = decode_g711(audio_of(events)).astype(float)
    said = decode_g711(data).astype(float)
    assert heard.size == said.size
    assert np.corrcoef(heard, said)[0, 1] > 0.98
    assert last(events, "response.done")["response"]["audio"]["output"]["format"] == {"type": name}
