"""Two clients that are not ours hold turns with the server, unchanged."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import meshapi  # type: ignore[import-untyped]
import openai
import pytest

from meshapi_rt.local import LocalServer

from .plain import MODEL, encode, speech
from .test_turns import WEATHER

# Both call websockets' connect() without `with`, which websockets 17 warns of.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context manager")

CALL_TEXT = 'call weather {"city": "Oslo", "days": 2}'


@pytest.fixture
def openai_session(server: LocalServer) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-any") as client:
        with client.realtime.connect(model=MODEL) as connection:
            assert connection.recv().type == "session.created"
            yield connection


@pytest.fixture
def meshapi_session(server: LocalServer) -> Iterator[Any]:
    client = meshapi.MeshAPI(base_url=server.url, token="rsk_any")
    with client.realtime.connect(model=MODEL) as session:
        assert session.receive().event["type"] == "session.created"
        yield session
    client.close()


def openai_until_done(connection: Any) -> list[Any]:
    events = []
    for event in connection:
        events.append(event)
        if event.type == "response.done":
            return events
    raise AssertionError("the connection ended")


def meshapi_until_done(session: Any) -> list[Any]:
    messages = []
    for message in session:
        messages.append(message)
        if message.event["type"] == "response.done":
            return messages
    raise AssertionError("the session ended")


def user_item(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def test_openai_text_turn(openai_session: Any) -> None:
    """The ``openai`` package asks by text and reads text."""
    openai_session.conversation.item.create(item=user_item("Hello from afar"))
    openai_session.response.create(response={"output_modalities": ["text"]})

    events = openai_until_done(openai_session)

    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Hello from afar"
    assert events[-1].response.status == "completed"


def test_openai_audio_turn(openai_session: Any) -> None:
    """The ``openai`` package speaks and hears the same samples."""
    spoken = speech(0.5).tobytes()
    openai_session.session.update(
        session={"type": "realtime", "audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}}}
    )
    openai_session.input_audio_buffer.append(audio=encode(spoken))
    openai_session.input_audio_buffer.commit()
    openai_session.response.create()

    events = openai_until_done(openai_session)

    deltas = [base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta"]
    assert b"".join(deltas) == spoken
    assert next(e for e in events if e.type == "session.updated").session.audio.output.voice == "marin"


def test_openai_function_call(openai_session: Any) -> None:
    """The ``openai`` package is asked to call, and gives the output."""
    openai_session.session.update(session={"type": "realtime", "tools": [WEATHER], "output_modalities": ["text"]})
    openai_session.conversation.item.create(item=user_item(CALL_TEXT))
    openai_session.response.create()
    call = openai_until_done(openai_session)[-1].response.output[0]
    openai_session.conversation.item.create(
        item={"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    )
    openai_session.response.create()

    events = openai_until_done(openai_session)

    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo", "days": 2})
    assert events[-1].response.output[0].content[0].text == "Sunny."


def test_meshapi_text_turn(meshapi_session: Any) -> None:
    """The ``meshapi`` package asks by text and reads text."""
    meshapi_session.send({"type": "conversation.item.create", "item": user_item("Hello from afar")})
    meshapi_session.send({"type": "response.create", "response": {"output_modalities": ["text"]}})

    messages = meshapi_until_done(meshapi_session)

    deltas = [m.event["delta"] for m in messages if m.event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "Hello from afar"


def test_meshapi_audio_turn(meshapi_session: Any) -> None:
    """The ``meshapi`` package speaks and hears the same samples."""
    spoken = speech(0.5).tobytes()
    meshapi_session.send(
        {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
    )
    meshapi_session.send_audio(spoken)
    meshapi_session.send({"type": "input_audio_buffer.commit"})
    meshapi_session.send({"type": "response.create"})

    messages = meshapi_until_done(meshapi_session)

    assert b"".join(m.audio for m in messages if m.audio) == spoken


def test_meshapi_function_call(meshapi_session: Any) -> None:
    """The ``meshapi`` package is asked to call, and gives the output."""
    meshapi_session.send({"type": "conversation.item.create", "item": user_item(CALL_TEXT)})
    text_with_tools = {"output_modalities": ["text"], "tools": [WEATHER]}
    meshapi_session.send({"type": "response.create", "response": text_with_tools})
    call = meshapi_until_done(meshapi_session)[-1].event["response"]["output"][0]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Sunny."}
    meshapi_session.send({"type": "conversation.item.create", "item": output})
    meshapi_session.send({"type": "response.create", "response": {"output_modalities": ["text"]}})

    done = meshapi_until_done(meshapi_session)[-1].event["response"]

    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Oslo", "days": 2})
    assert done["output"][0]["content"][0]["text"] == "Sunny."


@pytest.mark.parametrize("wrong", ["frame", "status"])
def test_meshapi_refused(make_server: Any, wrong: str) -> None:
    """The ``meshapi`` package reads both forms of a refusal as errors."""
    server = make_server(token="rsk_right", auth_failure=wrong)
    client = meshapi.MeshAPI(base_url=server.url, token="rsk_wrong")
    with pytest.raises(Exception, match=r"invalid_api_key|401"):
        with client.realtime.connect(model=MODEL) as session:
            session.receive()
    client.close()
