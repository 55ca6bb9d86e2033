"""The session object: what an update may say, how it merges, what is refused (protocol.md, section 3)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshapi_rt.local import LocalServer
from meshapi_rt.local.failures import Refusal
from meshapi_rt.local.settings import SessionSettings, is_reasoning_model

from .plain import Plain

MODEL = "openai/gpt-realtime"


def settings(model: str = MODEL, session_type: str = "realtime") -> SessionSettings:
    return SessionSettings(session_type, model, 1790000000)


def update(given: SessionSettings, *, speaking: bool = False, **session: Any) -> dict[str, Any]:
    given.update({"type": given.type, **session}, speaking=speaking)
    return given.wire()


def refused(
    given: SessionSettings, session: dict[str, Any], *, speaking: bool = False
) -> tuple[str | None, str | None]:
    """Return code and param of the refusal; the session must not have changed."""
    before = copy.deepcopy(given.wire())
    with pytest.raises(Refusal) as caught:
        given.update(session, speaking=speaking)
    assert given.wire() == before
    return caught.value.code, caught.value.param


def tool(**changes: Any) -> dict[str, Any]:
    return {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, **changes}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"modalities": ["text"]}, "session.modalities"),
        ({"voice": "alloy"}, "session.voice"),
        ({"temperature": 0.8}, "session.temperature"),
        ({"input_audio_format": "pcm16"}, "session.input_audio_format"),
        ({"turn_detection": None}, "session.turn_detection"),
        ({"max_response_output_tokens": 5}, "session.max_response_output_tokens"),
        ({"id": "sess_x"}, "session.id"),
        ({"audio": {"inptu": {}}}, "session.audio.inptu"),
        ({"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}}, "session.audio.input.format.rate"),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        ({"tools": [tool(function={})]}, "session.tools[0].function"),
        ({"tools": [tool(), tool(strict=True)]}, "session.tools[1].strict"),
        ({"tool_choice": {"type": "function", "name": "f", "x": 1}}, "session.tool_choice.x"),
    ],
)
def test_unknown_fields(session: dict[str, Any], param: str) -> None:
    """Unknown and beta fields are refused by their full path."""
    assert refused(settings(), {"type": "realtime", **session}) == ("unknown_parameter", param)


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({}, "session.type"),
        ({"modalities": ["text"]}, "session.type"),
        ({"type": "realtime", "tools": [{"type": "function"}]}, "session.tools[0].name"),
        ({"type": "realtime", "tools": [{"name": "f"}]}, "session.tools[0].type"),
        ({"type": "realtime", "tools": [{"type": "mcp", "server_url": "u"}]}, "session.tools[0].server_label"),
        ({"type": "realtime", "tools": [{"type": "mcp", "server_label": "l"}]}, "session.tools[0].server_url"),
        ({"type": "realtime", "tool_choice": {"type": "function"}}, "session.tool_choice.name"),
        ({"type": "realtime", "prompt": {}}, "session.prompt.id"),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"threshold": 0.5}}}},
            "session.audio.input.turn_detection.type",
        ),
        ({"type": "realtime", "audio": {"output": {"voice": {}}}}, "session.audio.output.voice.id"),
        (
            {"type": "realtime", "audio": {"input": {"noise_reduction": {"strength": 0.5}}}},
            "session.audio.input.noise_reduction.type",
        ),
    ],
)
def test_missing_fields(session: dict[str, Any], param: str) -> None:
    """What has to be there is named by its full path."""
    assert refused(settings(), session) == ("missing_required_parameter", param)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "beta"),
        ("type", 1),
        ("type", "transcription"),
        ("instructions", None),
        ("instructions", 5),
        ("model", None),
        ("output_modalities", ["audio", "text"]),
        ("output_modalities", []),
        ("output_modalities[0]", "video"),
        ("max_output_tokens", 0),
        ("max_output_tokens", 4097),
        ("max_output_tokens", "infinite"),
        ("max_output_tokens", True),
        ("tool_choice", "maybe"),
        ("tools", None),
        ("tools[0]", "f"),
        ("tools[0].type", "code"),
        ("tools[0].name", "with space"),
        ("truncation", "never"),
        ("truncation.retention_ratio", 1.5),
        ("include[0]", "everything"),
        ("parallel_tool_calls", "yes"),
        ("audio", None),
        ("audio.input", 3),
        ("audio.input.format.type", "audio/wav"),
        ("audio.input.format.rate", 16000),
        ("audio.input.noise_reduction.type", "mid_field"),
        ("audio.input.turn_detection.threshold", 1.1),
        ("audio.input.turn_detection.threshold", "0.5"),
        ("audio.input.turn_detection.prefix_padding_ms", 1.5),
        ("audio.input.turn_detection.silence_duration_ms", -1),
        ("audio.input.turn_detection.idle_timeout_ms", 4999),
        ("audio.input.turn_detection.create_response", None),
        ("audio.output.voice", "bob"),
        ("audio.output.speed", 1.6),
        ("audio.output.speed", 0.1),
    ],
)
def test_invalid_values(path: str, value: Any) -> None:
    """Wrong types and values out of range are refused by their full path."""
    base: dict[str, Any] = {
        "tools": tool(),
        "audio.input.turn_detection": {"type": "server_vad"},
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
    }
    session: dict[str, Any] = {"type": "realtime"}
    place = session
    names = path.split(".")
    for at, name in enumerate(names):
        key, is_list = name.partition("[")[0], "[" in name
        if at == len(names) - 1:
            place[key] = [value] if is_list else value
        elif is_list:
            place[key] = [copy.deepcopy(base[key])]
            place = place[key][0]
        else:
            place = place.setdefault(key, copy.deepcopy(base.get(".".join(names[: at + 1]), {})))
    if path == "audio.input.format.rate":
        session["audio"]["input"]["format"]["type"] = "audio/pcm"

    assert refused(settings(), session) == ("invalid_value", f"session.{path}")


def test_deep_merge() -> None:
    """What an update leaves out stays as it was, at every depth."""
    given = settings()
    update(given, audio={"input": {"noise_reduction": {"type": "near_field", "strength": 0.5}}}, instructions="x")
    update(given, audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 700}}})
    session = update(given, audio={"input": {"noise_reduction": {"type": "far_field"}}, "output": {"speed": 1.25}})

    audio = session["audio"]
    assert audio["input"]["noise_reduction"] == {"type": "far_field", "strength": 0.5}
    assert audio["input"]["turn_detection"]["silence_duration_ms"] == 700
    assert audio["input"]["turn_detection"]["prefix_padding_ms"] == 300
    assert audio["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.25}
    assert session["instructions"] == "x"


def test_arrays_and_unions_are_replaced() -> None:
    """Arrays, formats and choices are no objects to merge."""
    given = settings()
    update(given, tools=[tool()], tool_choice={"type": "function", "name": "f"})
    session = update(
        given, tools=[tool(name="g")], tool_choice="auto", audio={"input": {"format": {"type": "audio/pcmu"}}}
    )

    assert [entry["name"] for entry in session["tools"]] == ["g"]
    assert session["tool_choice"] == "auto"
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}


def test_another_turn_detection_starts_with_its_defaults() -> None:
    """A new type of turn detection takes nothing from the old one."""
    given = settings()
    session = update(given, audio={"input": {"turn_detection": {"type": "semantic_vad"}}})

    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_clearing() -> None:
    """Everything that can be set can be cleared as protocol.md 3.6 says."""
    given = settings()
    fresh = given.wire()
    fresh["instructions"] = ""
    transcription = {"model": "gpt-4o-transcribe", "language": "en"}
    update(
        given,
        instructions="x",
        tools=[tool()],
        tool_choice="required",
        max_output_tokens=5,
        truncation="disabled",
        tracing="auto",
        prompt={"id": "p"},
        include=["item.input_audio_transcription.logprobs"],
        audio={
            "input": {"transcription": transcription, "noise_reduction": {"type": "near_field"}},
            "output": {"speed": 1.5},
        },
    )
    session = update(
        given,
        instructions="",
        tools=[],
        tool_choice="auto",
        max_output_tokens="inf",
        truncation="auto",
        tracing=None,
        prompt=None,
        include=None,
        audio={"input": {"transcription": None, "noise_reduction": None}, "output": {"speed": 1.0}},
    )

    assert session == fresh


def test_model_is_ignored() -> None:
    """A different model has no effect; the rest of the update has."""
    session = update(settings(), model="gpt-realtime-2", instructions="x")
    assert (session["model"], session["instructions"]) == ("gpt-realtime", "x")


def test_voice_lock() -> None:
    """After the first audio another voice is refused, the same one accepted."""
    given = settings()
    update(given, audio={"output": {"voice": {"id": "voice_1"}}})
    given.voice_locked = True

    session = {"type": "realtime", "instructions": "x", "audio": {"output": {"voice": "ash"}}}
    assert refused(given, session) == ("cannot_update_voice", "session.audio.output.voice")
    update(given, audio={"output": {"voice": {"id": "voice_1"}}})


def test_speed_changes_between_turns() -> None:
    """A running response refuses another speed, and nothing else."""
    given = settings()
    session = {"type": "realtime", "audio": {"output": {"speed": 1.5}}}
    assert refused(given, session, speaking=True) == ("invalid_value", "session.audio.output.speed")
    update(given, speaking=True, audio={"output": {"speed": 1.0}}, instructions="x")


def test_tracing_is_fixed_once_on() -> None:
    """Tracing can be turned off, not changed."""
    given = settings()
    update(given, tracing="auto")
    assert refused(given, {"type": "realtime", "tracing": {"group_id": "g"}})[1] == "session.tracing"
    update(given, tracing=None)


@pytest.mark.parametrize(
    ("transcription", "param"),
    [
        ({"model": "gpt-transcribe", "language": "en", "languages": ["en"]}, "languages"),
        ({"model": "whisper-1", "languages": ["en"]}, "languages"),
        ({"model": "whisper-1", "keywords": ["x"]}, "keywords"),
        ({"model": "whisper-1", "delay": "low"}, "delay"),
        ({"model": "gpt-realtime-whisper", "prompt": "x"}, "prompt"),
    ],
)
def test_transcription_rules(transcription: dict[str, Any], param: str) -> None:
    """Fields of transcription depend on its model."""
    session = {"type": "realtime", "audio": {"input": {"transcription": transcription}}}
    assert refused(settings(), session) == ("invalid_value", f"session.audio.input.transcription.{param}")


def test_reasoning_models() -> None:
    """Only the second family reasons; a dated first one does not look like it."""
    assert is_reasoning_model("openai/gpt-realtime-2")
    assert is_reasoning_model("openai/gpt-realtime-2.1-mini")
    assert not is_reasoning_model("openai/gpt-realtime-2025-08-28")
    session = {"type": "realtime", "reasoning": {"effort": "low"}}
    assert refused(settings(), session) == ("invalid_value", "session.reasoning")


def test_transcription_session() -> None:
    """A transcription session has its own shape, and takes nothing that makes responses."""
    given = settings("openai/gpt-realtime-whisper", "transcription")
    session = given.wire()
    assert set(session) == {"type", "object", "id", "expires_at", "include", "audio"}
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-realtime-whisper"}
    assert session["audio"]["input"]["turn_detection"] is None
    assert refused(given, {"type": "transcription", "instructions": "x"}) == (
        "unknown_parameter",
        "session.instructions",
    )
    audio = {"input": {"turn_detection": {"type": "server_vad"}}}
    assert refused(given, {"type": "transcription", "audio": audio})[1] == "session.audio.input.turn_detection"
    update(given, audio={"input": {"transcription": {"model": "gpt-4o-transcribe"}}})
    assert update(given, audio=audio)["audio"]["input"]["turn_detection"]["threshold"] == 0.5


def test_on_the_wire(server: LocalServer) -> None:
    """A refused update sends one error and no ``session.updated``; the session goes on."""
    with Plain(server) as client:
        before = client.expect("session.created")["session"]
        error = client.refused("session.update", session={"type": "realtime", "instructions": "x", "voice": "ash"})
        assert (error["code"], error["param"]) == ("unknown_parameter", "session.voice")
        assert error["message"] == "Unknown parameter: 'session.voice'."
        assert client.update() == before


def test_voice_lock_on_the_wire(server: LocalServer) -> None:
    """The voice is locked by the first audio, not by text."""
    with Plain(server) as client:
        client.expect("session.created")
        client.respond(output_modalities=["text"])
        client.update(audio={"output": {"voice": "ash"}})
        client.respond()
        error = client.refused("response.create", response={"audio": {"output": {"voice": "cedar"}}})
        assert error["code"] == "cannot_update_voice"
        events = client.respond(conversation="none", audio={"output": {"voice": "cedar"}})
        assert events[0]["response"]["audio"]["output"]["voice"] == "cedar"
