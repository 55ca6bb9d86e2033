"""Keywords become the protocol's objects; absent is not None."""

from __future__ import annotations

from typing import Any

import pytest

from meshapi_rt import NOT_GIVEN, ConfigurationError
from meshapi_rt.shapes import response_shape, session_shape

PCM = {"type": "audio/pcm", "rate": 24000}

SHAPES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"instructions": NOT_GIVEN, "voice": NOT_GIVEN}, {}),
    ({"instructions": "be brief"}, {"instructions": "be brief"}),
    ({"voice": "marin"}, {"audio": {"output": {"voice": "marin"}}}),
    ({"voice": "voice_1"}, {"audio": {"output": {"voice": {"id": "voice_1"}}}}),
    ({"output_modalities": "text"}, {"output_modalities": ["text"]}),
    ({"output_modalities": ("audio",)}, {"output_modalities": ["audio"]}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    ({"tool_choice": "look_up"}, {"tool_choice": {"type": "function", "name": "look_up"}}),
    ({"turn_detection": "semantic_vad"}, {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}),
    ({"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
    ({"transcription": "whisper-1"}, {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}),
    ({"noise_reduction": "near_field"}, {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}),
    ({"input_format": "pcmu"}, {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
    ({"output_format": "audio/pcm"}, {"audio": {"output": {"format": PCM}}}),
    ({"speed": 1.2, "voice": "ash"}, {"audio": {"output": {"speed": 1.2, "voice": "ash"}}}),
    ({"reasoning": "low"}, {"reasoning": {"effort": "low"}}),
    ({"truncation": 0.5}, {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}}),
    ({"prompt": "pmpt_1"}, {"prompt": {"id": "pmpt_1"}}),
    ({"include": "item.input_audio_transcription.logprobs"}, {"include": ["item.input_audio_transcription.logprobs"]}),
    # None clears, each setting in its own way (protocol.md 3.6).
    (
        {"instructions": None, "tools": None, "tool_choice": None},
        {"instructions": "", "tools": [], "tool_choice": "auto"},
    ),
    ({"max_output_tokens": None, "truncation": None}, {"max_output_tokens": "inf", "truncation": "auto"}),
    ({"tracing": None, "prompt": None, "include": None}, {"tracing": None, "prompt": None, "include": None}),
    ({"speed": None, "output_format": None}, {"audio": {"output": {"speed": 1.0, "format": PCM}}}),
]


@pytest.mark.parametrize(("given", "shape"), SHAPES)
def test_keywords_of_a_session(given: dict[str, Any], shape: dict[str, Any]) -> None:
    """Each in its place, beside the type that every update needs."""
    assert session_shape("realtime", None, given) == {"type": "realtime", **shape}


def test_a_raw_object_is_merged() -> None:
    """Deep; where both speak the keyword counts, and the caller's object stays as it was."""
    raw = {"audio": {"output": {"voice": "ash", "speed": 1.1}, "input": {"transcription": None}}, "later": 1}

    shape = session_shape("transcription", raw, {"voice": "coral"})

    assert shape == {
        "type": "transcription",
        "audio": {"output": {"voice": "coral", "speed": 1.1}, "input": {"transcription": None}},
        "later": 1,
    }
    assert raw["audio"] == {"output": {"voice": "ash", "speed": 1.1}, "input": {"transcription": None}}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"turn_detection": "vad"}, "server_vad"),
        ({"turn_detection": False}, "mapping"),
        ({"output_format": "pcm16"}, "pcmu"),
        ({"voice": None}, "cannot be cleared"),
        ({"tools": [print]}, "mappings"),
        ({"transcription": 7}, "transcription"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], told: str) -> None:
    """With one sentence that names what is allowed."""
    with pytest.raises(ConfigurationError, match=told):
        session_shape("realtime", None, given)


def test_a_raw_object_of_another_shape_is_refused() -> None:
    """Where a keyword must go inside of it."""
    with pytest.raises(ConfigurationError, match=r"audio\.output\.voice"):
        session_shape("realtime", {"audio": None}, {"voice": "ash"})
    with pytest.raises(ConfigurationError, match="mapping"):
        session_shape("realtime", ["audio"], {})  # type: ignore[arg-type]


def test_keywords_of_a_response() -> None:
    """A subset, and some of its own; an unknown one is named."""
    given = {
        "response": {"temperature": 1},
        "conversation": "none",
        "metadata": {"a": "b"},
        "voice": "ash",
        "input": [],
    }

    assert response_shape(given) == {
        "temperature": 1,
        "conversation": "none",
        "metadata": {"a": "b"},
        "audio": {"output": {"voice": "ash"}},
        "input": [],
    }
    with pytest.raises(TypeError, match="speed"):
        response_shape({"speed": 1.0})
