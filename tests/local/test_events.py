"""Client events that cannot be handled, and the input buffer: in-band errors keep the session (protocol.md 1.9)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from meshapi_rt.local import LocalServer

from .conftest import ServerFactory
from .plain import Plain, audio_of, encode, last, silence, speech


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        '"text"',
        "null",
        "17",
        '{"type": "response.create", "x": NaN}',
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_frames_that_are_no_event(server: LocalServer, frame: str) -> None:
    """Whatever text comes, it is one in-band error."""
    with Plain(server) as client:
        client.expect("session.created")
        client.ws.send(frame)
        error = client.expect("error")["error"]
        client.quiet()

    assert error["type"] == "invalid_request_error"
    assert error["event_id"] is None


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({}, "missing_required_parameter", "type"),
        ({"type": 5}, "invalid_value", "type"),
        ({"type": "response.shout"}, "invalid_value", "type"),
        ({"type": "output_audio_buffer.clear"}, "invalid_value", "type"),
        ({"type": "transcription_session.update", "session": {}}, "invalid_value", "type"),
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": []}, "invalid_value", "session"),
        ({"type": "input_audio_buffer.commit", "now": True}, "unknown_parameter", "now"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 5}, "invalid_value", "audio"),
        ({"type": "conversation.item.delete", "item_id": None}, "invalid_value", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0},
            "missing_required_parameter",
            "audio_end_ms",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 1.5},
            "invalid_value",
            "audio_end_ms",
        ),
        ({"type": "response.create", "response": "now"}, "invalid_value", "response"),
        ({"type": "response.create", "response": {"modalities": ["text"]}}, "unknown_parameter", "response.modalities"),
        (
            {"type": "response.create", "response": {"audio": {"input": {}}}},
            "unknown_parameter",
            "response.audio.input",
        ),
        ({"type": "response.create", "response": {"conversation": "other"}}, "invalid_value", "response.conversation"),
        ({"type": "response.create", "response": {"metadata": {"k": 5}}}, "invalid_value", "response.metadata.k"),
        (
            {"type": "response.create", "response": {"metadata": {f"k{n}": "" for n in range(17)}}},
            "invalid_value",
            "response.metadata",
        ),
        (
            {"type": "response.create", "response": {"input": [{}]}},
            "missing_required_parameter",
            "response.input[0].type",
        ),
        (
            {"type": "response.create", "response": {"reasoning": {"effort": "low"}}},
            "invalid_value",
            "response.reasoning",
        ),
    ],
)
def test_refused_events(server: LocalServer, event: dict[str, Any], code: str, param: str) -> None:
    """A bad event names its code and field, echoes its id and changes nothing."""
    with Plain(server) as client:
        client.expect("session.created")
        client.ws.send(json.dumps({"event_id": "mine", **event}))
        error = client.expect("error")["error"]
        client.quiet()

    assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")


def test_unknown_type_lists_the_known_ones(server: LocalServer) -> None:
    """The message for an unknown type helps."""
    with Plain(server) as client:
        client.expect("session.created")
        message = client.refused("response.shout")["message"]

    assert message.startswith("Invalid value: 'response.shout'. Supported values are: 'session.update', ")
    assert "output_audio_buffer" not in message


@pytest.mark.parametrize("event_id", [5, None, "x" * 513])
def test_bad_event_ids(server: LocalServer, event_id: Any) -> None:
    """An id that is no short string is refused, and not echoed."""
    with Plain(server) as client:
        client.expect("session.created")
        client.send("input_audio_buffer.clear", event_id=event_id)
        error = client.expect("error")["error"]

    assert (error["param"], error["event_id"]) == ("event_id", None)


def test_event_ids_are_echoed_in_errors_only(server: LocalServer) -> None:
    """A success does not carry the client's id."""
    with Plain(server) as client:
        client.expect("session.created")
        client.send("input_audio_buffer.clear", event_id="mine")
        assert client.expect("input_audio_buffer.cleared")["event_id"] != "mine"


@pytest.mark.parametrize("audio", ["", "AAA", "AA==\n", "AA AA", "____", "-_-_", "AAAA====", "é", "AAA=AAAA"], ids=repr)
def test_strict_base64(server: LocalServer, audio: str) -> None:
    """Audio is standard base64 with padding, and not empty."""
    with Plain(server) as client:
        client.expect("session.created")
        error = client.refused("input_audio_buffer.append", audio=audio)

    assert (error["code"], error["param"]) == ("invalid_value", "audio")
    assert error["message"].startswith("Invalid 'audio'. Expected base64-encoded audio bytes")
    assert error["message"].endswith("got empty bytes." if not audio else "got an invalid value.")


def test_short_commit(server: LocalServer) -> None:
    """Under 100 ms there is nothing to commit; what there is stays."""
    with Plain(server) as client:
        client.manual()
        empty = client.refused("input_audio_buffer.commit")
        client.append(speech(0.06))
        short = client.refused("input_audio_buffer.commit")
        client.append(speech(0.04))
        client.send("input_audio_buffer.commit")
        client.expect("input_audio_buffer.committed")

    assert empty["code"] == short["code"] == "input_audio_buffer_commit_empty"
    assert empty["message"].endswith("Expected at least 100ms of audio, but buffer only has 0.00ms of audio.")
    assert short["message"].endswith("only has 60.00ms of audio.")


def test_clear(server: LocalServer) -> None:
    """Cleared audio is gone; clearing nothing is a success."""
    with Plain(server) as client:
        client.manual()
        client.quiet()
        client.append(speech(0.5))
        client.quiet()
        client.refused("input_audio_buffer.commit")


def test_clear_in_mid_speech(server: LocalServer) -> None:
    """Clearing forgets speech under way; the clock goes on."""
    with Plain(server) as client:
        client.expect("session.created")
        client.append(speech(0.5))
        client.expect("input_audio_buffer.speech_started")
        client.quiet()
        client.append(np.concatenate((silence(0.5), speech(0.4))))
        assert client.expect("input_audio_buffer.speech_started")["audio_start_ms"] >= 500


def test_switching_turn_detection_off(server: LocalServer) -> None:
    """Without turn detection nothing happens by itself; what was heard can be committed."""
    with Plain(server) as client:
        client.expect("session.created")
        client.append(speech(0.3))
        client.expect("input_audio_buffer.speech_started")
        client.update(audio={"input": {"turn_detection": None}})
        client.append(silence(1.0))
        client.send("input_audio_buffer.commit")
        client.expect("input_audio_buffer.committed")


def test_binary_frames_are_ignored(server: LocalServer) -> None:
    """The gateway takes no binary frames, and neither does the server."""
    with Plain(server) as client:
        client.manual()
        client.ws.send(speech(0.5).tobytes())
        client.refused("input_audio_buffer.commit")


def test_binary_audio(make_server: ServerFactory) -> None:
    """With ``binary_audio`` binary frames carry audio both ways, and no base64 deltas are sent."""
    spoken = speech(0.5).tobytes()
    with Plain(make_server(binary_audio=True)) as client:
        client.manual()
        client.ws.send(spoken[:9999])
        client.ws.send(spoken[9999:])
        client.ws.send(b"")  # nothing, and no error
        client.send("input_audio_buffer.commit")
        client.until("conversation.item.done")
        events = client.respond()

    assert b"".join(client.audio_frames) == spoken
    assert not audio_of(events)
    assert last(events, "response.done")["response"]["usage"]["output_token_details"]["audio_tokens"] == 10


def test_transcription_session(server: LocalServer) -> None:
    """A transcription session writes down, and makes no responses: 3.7."""
    with Plain(server, "intent=transcription") as client:
        session = client.expect("session.created")["session"]
        assert (session["type"], session["object"]) == ("transcription", "realtime.transcription_session")
        client.send(
            "session.update",
            session={"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}},
        )
        client.expect("session.updated")
        client.append(np.concatenate((speech(0.5), silence(0.5))))
        events = client.until("conversation.item.input_audio_transcription.completed")
        error = client.refused("response.create")

    names = [event["type"] for event in events]
    assert names[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    completed = events[-1]
    assert completed["item_id"] == events[2]["item_id"]
    assert completed["usage"]["type"] == "tokens"
    deltas = [event["delta"] for event in events if event["type"].endswith("transcription.delta")]
    assert "".join(deltas) == completed["transcript"]
    assert error["code"] == "invalid_value"


class Listener:
    """A responder that can write down."""

    def __call__(self, _: Any) -> str:
        return "I heard you"

    def transcribe(self, pcm: Any) -> str:
        """Refuse what is long."""
        if len(pcm) > 24000:
            raise RuntimeError("too long")
        return "hello there"


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe-diarize"])
def test_own_transcription(make_server: ServerFactory, model: str) -> None:
    """A responder's ``transcribe`` is asked, on request with log probabilities; its item has the transcript."""
    server = make_server(responder=Listener())
    with Plain(server) as client:
        client.expect("session.created")
        client.update(
            audio={"input": {"turn_detection": None, "transcription": {"model": model}}},
            include=["item.input_audio_transcription.logprobs"],
        )
        client.append(speech(0.5))
        client.send("input_audio_buffer.commit")
        events = client.until("conversation.item.input_audio_transcription.completed")
        assert server.sessions[0].items[0].transcript == "hello there"

    completed = events[-1]
    assert completed["transcript"] == "hello there"
    assert [entry["token"] for entry in completed["logprobs"]] == ["hello", " there"]
    segments = [event for event in events if event["type"].endswith("segment")]
    if model == "whisper-1":
        assert completed["usage"] == {"type": "duration", "seconds": 0.5}
        assert not segments
    else:
        assert (segments[0]["text"], segments[0]["end"]) == ("hello there", 0.5)


def test_failed_transcription(make_server: ServerFactory, caplog: pytest.LogCaptureFixture) -> None:
    """A ``transcribe`` that raises is a ``failed`` event; the session lives on."""
    caplog.set_level("CRITICAL", "meshapi_rt")
    with Plain(make_server(responder=Listener())) as client:
        client.expect("session.created")
        client.update(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
        client.append(speech(1.5))
        client.send("input_audio_buffer.commit")
        failed = client.until("conversation.item.input_audio_transcription.failed")[-1]
        client.quiet()

    assert "too long" in failed["error"]["message"]


def test_input_format_change_drops_the_buffer(server: LocalServer) -> None:
    """Audio of another format cannot be committed with the new one."""
    with Plain(server) as client:
        client.manual()
        client.append(speech(0.5))
        client.update(audio={"input": {"format": {"type": "audio/pcmu"}}})
        client.refused("input_audio_buffer.commit")
        client.send("input_audio_buffer.append", audio=encode(bytes(800)))
        client.send("input_audio_buffer.commit")
        client.expect("input_audio_buffer.committed")
