"""Items: create, retrieve, truncate, delete (protocol.md 2.1, 2.4, 4.8)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from meshapi_rt.local import LocalServer

from .plain import Plain, audio_of, encode, last, speech, types_of


def text_item(text: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


def create(client: Plain, item: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], str | None]:
    """Create an item; return it and its predecessor, which both events agree on."""
    client.send("conversation.item.create", item=item, **fields)
    added, done = client.expect("conversation.item.added"), client.expect("conversation.item.done")
    assert added["item"] == done["item"]
    assert added["previous_item_id"] == done["previous_item_id"]
    return added["item"], added["previous_item_id"]


def order(client: Plain, server: LocalServer) -> list[str]:
    return [item.id for item in server.sessions[0].items]


def test_predecessors(server: LocalServer) -> None:
    """Items go to the end, the front, or behind another; the predecessor is the real one."""
    with Plain(server) as client:
        client.expect("session.created")
        assert create(client, text_item("a", id="a"))[1] is None
        assert create(client, text_item("b", id="b"))[1] == "a"
        assert create(client, text_item("c", id="c"), previous_item_id="a")[1] == "a"
        assert create(client, text_item("d", id="d"), previous_item_id="root")[1] is None
        assert order(client, server) == ["d", "a", "c", "b"]


def test_delete_repairs_the_chain(server: LocalServer) -> None:
    """After the tail is deleted, the next item follows the new tail."""
    with Plain(server) as client:
        client.expect("session.created")
        for name in ("a", "b"):
            create(client, text_item(name, id=name))
        client.send("conversation.item.delete", item_id="b")
        assert client.expect("conversation.item.deleted")["item_id"] == "b"
        assert create(client, text_item("c", id="c"))[1] == "a"


@pytest.mark.parametrize(
    "item",
    [
        text_item("Hello"),
        text_item("Be kind.", "system"),
        text_item("Hello back", "assistant"),
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
            ],
        },
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"},
        {"type": "mcp_list_tools", "server_label": "l", "tools": [{"name": "t", "input_schema": {}}]},
        {"type": "mcp_call", "id": "m", "server_label": "l", "name": "t", "arguments": "{}"},
        {"type": "mcp_approval_request", "id": "r", "server_label": "l", "name": "t", "arguments": "{}"},
        {"type": "mcp_approval_response", "id": "s", "approval_request_id": "r", "approve": True},
    ],
)
def test_every_kind_of_item(server: LocalServer, item: dict[str, Any]) -> None:
    """Every kind that clients may create comes back as it was sent."""
    with Plain(server) as client:
        client.expect("session.created")
        created, _ = create(client, item)
        assert {**created, **item} == created
        client.send("conversation.item.retrieve", item_id=created["id"])
        assert client.expect("conversation.item.retrieved")["item"] == created


def test_audio_is_shown_by_retrieve_only(server: LocalServer) -> None:
    """Created audio is stripped from added and done, and comes back when it is asked for."""
    audio = encode(speech(0.3).tobytes())
    part = {"type": "input_audio", "audio": audio, "transcript": "hm"}
    with Plain(server) as client:
        client.expect("session.created")
        created, _ = create(client, {"type": "message", "role": "user", "content": [part]})
        assert created["content"] == [{"type": "input_audio", "transcript": "hm"}]
        client.send("conversation.item.retrieve", item_id=created["id"])
        assert client.expect("conversation.item.retrieved")["item"]["content"] == [part]
        assert audio_of(client.respond()) == base64.b64decode(audio)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "item"),
        ({"item": {}}, "missing_required_parameter", "item.type"),
        ({"item": {"type": "thing"}}, "invalid_value", "item.type"),
        ({"item": {"type": "message", "content": []}}, "missing_required_parameter", "item.role"),
        ({"item": {"type": "message", "role": "user"}}, "missing_required_parameter", "item.content"),
        ({"item": text_item("x", colour="red")}, "unknown_parameter", "item.colour"),
        ({"item": text_item("x"), "previous_item_id": "nobody"}, None, "previous_item_id"),
        ({"item": text_item("x", id="taken")}, None, "item.id"),
        (
            {"item": {"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}},
            "invalid_value",
            "item.content[0].type",
        ),
        (
            {"item": {"type": "message", "role": "assistant", "content": [{"type": "output_audio"}]}},
            "invalid_value",
            "item.content[0].type",
        ),
        (
            {"item": {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "?"}]}},
            "invalid_value",
            "item.content[0].audio",
        ),
        (
            {"item": {"type": "function_call_output", "call_id": "call_no", "output": ""}},
            "invalid_value",
            "item.call_id",
        ),
        (
            {"item": {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c" * 33}},
            "invalid_value",
            "item.call_id",
        ),
    ],
)
def test_refused_items(server: LocalServer, fields: dict[str, Any], code: str | None, param: str) -> None:
    """A refused item names the field, and nothing is added."""
    with Plain(server) as client:
        client.expect("session.created")
        create(client, text_item("a", id="taken"))
        error = client.refused("conversation.item.create", **fields)
        assert error["param"] == param
        assert code is None or error["code"] == code
        assert order(client, server) == ["taken"]


@pytest.mark.parametrize(
    ("verb", "fields"), [("retrieve", {}), ("delete", {}), ("truncate", {"content_index": 0, "audio_end_ms": 0})]
)
def test_unknown_item(server: LocalServer, verb: str, fields: dict[str, Any]) -> None:
    """Every command has its own code for an item that does not exist."""
    with Plain(server) as client:
        client.expect("session.created")
        error = client.refused(f"conversation.item.{verb}", item_id="item_no", **fields)
        assert error["code"] == f"item_{verb}_invalid_item_id"
        assert error["param"] is None


def test_truncate(server: LocalServer) -> None:
    """Truncating cuts the audio and drops the transcript; the bound is the true length."""
    with Plain(server) as client:
        client.expect("session.created")
        client.say("one two three")
        events = client.respond()
        item_id = last(events, "conversation.item.done")["item"]["id"]
        place = {"item_id": item_id, "content_index": 0}

        error = client.refused("conversation.item.truncate", **place, audio_end_ms=601)
        assert error["message"] == "Audio content of 600ms is already shorter than 601ms"
        assert error["code"] == "invalid_value"

        client.send("conversation.item.truncate", **place, audio_end_ms=250)
        truncated = client.expect("conversation.item.truncated")
        assert {**truncated, **place, "audio_end_ms": 250} == truncated

        client.send("conversation.item.retrieve", item_id=item_id)
        part = client.expect("conversation.item.retrieved")["item"]["content"][0]
        assert base64.b64decode(part["audio"]) == audio_of(events)[: 250 * 48]
        assert part["transcript"] is None


def test_only_spoken_items_are_truncated(server: LocalServer) -> None:
    """Text, user audio and unknown parts are refused."""
    with Plain(server) as client:
        client.manual(output_modalities=["text"])
        client.append(speech(0.2))
        client.send("input_audio_buffer.commit")
        user = client.until("conversation.item.done")[-1]["item"]["id"]
        answer = last(client.respond(), "conversation.item.done")["item"]["id"]
        for item_id in (user, answer):
            error = client.refused("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
            assert error["message"] == "Only model output audio messages can be truncated"
        spoken = last(client.respond(output_modalities=["audio"]), "conversation.item.done")["item"]["id"]
        error = client.refused("conversation.item.truncate", item_id=spoken, content_index=1, audio_end_ms=0)
        assert error["param"] == "content_index"


def test_image(server: LocalServer) -> None:
    """Images count as image tokens and start no response."""
    part = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    with Plain(server) as client:
        client.expect("session.created")
        create(client, {"type": "message", "role": "user", "content": [part]})
        client.quiet()
        events = client.respond(output_modalities=["text"])
        assert last(events, "response.done")["response"]["usage"]["input_token_details"]["image_tokens"] > 0
        assert types_of(events).count("response.done") == 1
