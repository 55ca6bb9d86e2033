"""A user's script that leans on the types. mypy checks it in strict mode, where an ignore that ignores nothing is an
error: the lines with one are mistakes that mypy must find. It runs, too.
"""

import sys
from typing import Literal

from meshapi_rt import MeshAPI, RealtimeMessage, RealtimeSession
from meshapi_rt.event_types import (
    ClientEvent,
    ErrorEvent,
    RealtimeConversationItemFunctionCall,
    RealtimeResponseUsage,
    ReconnectedEvent,
    ResponseDoneEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ServerEvent,
    SessionUpdateEvent,
)

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


def with_if(msg: RealtimeMessage) -> str:
    """Narrow by a comparison."""
    assert_type(msg.event, ServerEvent | None)
    if (e := msg.event) and e["type"] == "response.done":
        assert_type(e, ResponseDoneEvent)
        for item in e["response"].get("output") or []:
            if item["type"] == "function_call":
                assert_type(item, RealtimeConversationItemFunctionCall)
                assert_type(item["arguments"], str)
            elif item["type"] == "message":
                assert_type(item["role"], Literal["system", "user", "assistant"])
                if item["role"] == "assistant":
                    assert_type(item["content"][0].get("transcript"), str | None)
        assert_type(e["response"].get("usage"), RealtimeResponseUsage | None)
        return e["response"].get("status") or "?"
    if msg.event and msg.event["type"] == "response.function_call_arguments.done":
        assert_type(msg.event, ResponseFunctionCallArgumentsDoneEvent)
        return msg.event["name"]
    return ""


def with_match(e: ServerEvent) -> str:
    """Narrow by a match."""
    match e["type"]:
        case "response.output_text.delta" | "response.output_audio_transcript.delta":
            return e["delta"]
        case "session.created" | "session.updated":
            assert_type(e["session"]["type"], Literal["realtime", "transcription"])
            return e["session"]["type"]
        case "response.done":
            assert_type(e, ResponseDoneEvent)
        case "error":
            assert_type(e, ErrorEvent)
            return e["error"]["message"]
        case "meshapi.reconnected":
            assert_type(e, ReconnectedEvent)
            return ", ".join(e["lost"])
    return ""


update: SessionUpdateEvent = {
    "type": "session.update",
    "session": {
        "type": "realtime",
        "output_modalities": ["text"],
        "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.6}}, "output": {"voice": "marin"}},
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}],
        "max_output_tokens": "inf",
    },
}
turn: list[ClientEvent] = [
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    },
    {"type": "response.create", "response": {"metadata": {"turn": "1"}}},
]


def mistakes(e: ServerEvent, session: RealtimeSession) -> tuple[object, ...]:
    """Never called."""
    if e["type"] == "response.done":
        e["respnse"]  # type: ignore[typeddict-item]
        e["response"]["usage"]["total_tokens"]  # type: ignore[index]
    session.on("error", len)  # type: ignore[arg-type]
    session.on("error", lambda msg: msg.code)  # type: ignore[attr-defined]
    mistyped: SessionUpdateEvent = {"type": "session.update", "sesion": {}}  # type: ignore[typeddict-item]
    misplaced: SessionUpdateEvent = {
        "type": "session.update",
        "session": {"type": "realtime", "voice": "marin"},  # type: ignore[typeddict-item]
    }
    return (
        e["type"] == "response.cancelled",  # type: ignore[comparison-overlap]
        e["delta"],  # type: ignore[typeddict-item]
        mistyped,
        misplaced,
    )


def main(client: MeshAPI) -> list[str]:
    """Talk, by a loop and by handlers; return what was seen."""
    seen: list[str] = []
    with client.realtime.connect(model="openai/gpt-realtime-mini") as session:
        session.send(update)
        for event in turn:
            session.send(event)
        for msg in session.events(timeout=10):
            seen.append(with_match(msg.event) if msg.event else "")
            if status := with_if(msg):
                seen.append(status)
                break

        @session.on("response.done")
        def finish(msg: RealtimeMessage) -> None:
            seen.append(with_if(msg))
            session.close()

        session.on("error", lambda msg: seen.append(msg.error.message if msg.error else ""))
        session.send({"type": "response.create"})
        session.run(timeout=10)
    return seen
