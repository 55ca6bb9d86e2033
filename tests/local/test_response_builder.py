"""The builder of a response by itself: any pieces, any limit, any end."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from meshapi_rt.local import Audio, Fail, Text, ToolCall
from meshapi_rt.local.conversation import Conversation
from meshapi_rt.local.plan import make_plan
from meshapi_rt.local.rendering import Renderer
from meshapi_rt.local.response import ResponseBuilder
from meshapi_rt.local.settings import SessionSettings

from .lifecycle import assert_lifecycles
from .plain import audio_of, silence, speech
from .validation import assert_valid_server_events


def sound(length: int) -> NDArray[np.int16]:
    return speech(length / 20) if length else silence(0)


PIECES = st.one_of(
    st.text("ab c\n.é", max_size=40),
    st.text("ab c", max_size=40).map(Text),
    st.integers(0, 5).map(lambda n: Audio(sound(n))),
    st.integers(0, 5).map(lambda n: Audio(sound(n), "as said")),
    st.text('{"a": 1}', max_size=40).map(lambda arguments: ToolCall("f", arguments)),
    st.just(Fail()),
)


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(PIECES, max_size=6),
    limit=st.one_of(st.just("inf"), st.integers(1, 30)),
    modality=st.sampled_from(["audio", "text"]),
    fmt=st.sampled_from(["audio/pcm", "audio/pcmu"]),
    out_of_band=st.booleans(),
    end=st.sampled_from(["complete", "cancel"]),
)
def test_any_response(*, pieces: list[Any], limit: Any, modality: str, fmt: str, out_of_band: bool, end: str) -> None:
    """Whatever a responder yields, the events are valid, in order and within the limit."""
    session = SessionSettings("realtime", "openai/gpt-realtime", 1790000000)
    conversation = Conversation()
    wanted = {
        "output_modalities": [modality],
        "max_output_tokens": limit,
        "audio": {"output": {"format": {"type": fmt}}},
        "conversation": "none" if out_of_band else "auto",
    }
    plan = make_plan(session, conversation, wanted)
    joined, conversation_id = (None, None) if out_of_band else (conversation, "conv_1")
    builder = ResponseBuilder(plan, joined, conversation_id)
    renderer = Renderer(plan, 3)

    events: list[dict[str, Any]] = [{"type": "session.created", "session": session.wire()}, *builder.begin()]
    for rendered in (rendered for piece in pieces for rendered in renderer.render(piece)):
        if not builder.over:
            events += builder.add(rendered)
    if not builder.over:
        events += builder.complete() if end == "complete" else builder.cancel("client_cancelled")

    events = [{**event, "event_id": f"event_{at}"} for at, event in enumerate(events)]
    assert_valid_server_events(events)
    assert_lifecycles(events)
    done = events[-1]["response"]
    assert limit == "inf" or done["usage"]["output_tokens"] <= limit
    assert (done["status"] == "failed") <= any(isinstance(piece, Fail) for piece in pieces)
    sounds = [part.sound.data() for item in conversation.items for part in item.parts if part.sound]
    assert out_of_band or b"".join(sounds) == audio_of(events)
    tokens = len(audio_of(events)) / plan.wire_format.bytes_per_ms / 50
    assert 0 <= done["usage"]["output_token_details"]["audio_tokens"] - tokens < 1


def test_deltas_are_uneven_and_the_same_each_time() -> None:
    """Sizes depend on the number of the response only, and most are odd."""
    session = SessionSettings("realtime", "openai/gpt-realtime", 1790000000)
    plan = make_plan(session, Conversation(), {})

    def deltas(number: int) -> list[bytes]:
        rendered = Renderer(plan, number).render(Audio(speech(2.0)))
        return [piece.delta for piece in rendered if isinstance(piece.delta, bytes)]  # type: ignore[union-attr]

    assert deltas(0) == deltas(0)
    assert [len(delta) for delta in deltas(0)] != [len(delta) for delta in deltas(1)]
    assert sum(len(delta) % 2 for delta in deltas(0)) > len(deltas(0)) / 2
    assert base64.b64encode(b"".join(deltas(0))) == base64.b64encode(speech(2.0).tobytes())
