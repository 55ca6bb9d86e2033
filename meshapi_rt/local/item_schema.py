"""The table of fields of items, as clients may create them (protocol.md 2.4)."""

from __future__ import annotations

from collections.abc import Mapping

from .rules import Rule, anything, boolean, const, list_of, map_of, nullable, obj, one_of, tagged, text

__all__ = ["client_item"]

_text = text()


def _message(parts: Mapping[str, Rule]) -> Rule:
    return obj(
        {
            "type": anything,
            "id": text(shortest=1),
            "object": const("realtime.item"),
            "status": one_of("in_progress", "completed", "incomplete"),
            "role": anything,
            "phase": nullable(_text),
            "content": list_of(tagged(parts)),
        },
        "content",
    )


def _item(fields: Mapping[str, Rule], *required: str) -> Rule:
    common: dict[str, Rule] = {
        "type": anything,
        "id": text(shortest=1),
        "object": const("realtime.item"),
        "status": one_of("in_progress", "completed", "incomplete"),
    }
    return obj({**common, **fields}, *required)


_INPUT_TEXT = obj({"type": anything, "text": _text}, "text")
_INPUT_AUDIO = obj(
    {"type": anything, "audio": _text, "transcript": nullable(_text)},
    "audio",
)
_INPUT_IMAGE = obj(
    {"type": anything, "image_url": text(shortest=1), "detail": one_of("auto", "low", "high")},
    "image_url",
)
_CALL_ID = text(32, shortest=1)  # protocol.md 1.5

client_item = tagged(
    {
        "message": tagged(
            {
                "user": _message({"input_text": _INPUT_TEXT, "input_audio": _INPUT_AUDIO, "input_image": _INPUT_IMAGE}),
                "system": _message({"input_text": _INPUT_TEXT}),
                # Assistant audio cannot be made by clients: protocol.md 2.1.
                "assistant": _message({"output_text": _INPUT_TEXT}),
            },
            "role",
        ),
        "function_call": _item({"name": _text, "arguments": _text, "call_id": _CALL_ID}, "name", "arguments"),
        "function_call_output": _item({"call_id": _CALL_ID, "output": _text}, "call_id", "output"),
        "mcp_list_tools": _item(
            {
                "server_label": _text,
                "tools": list_of(
                    obj(
                        {
                            "name": _text,
                            "input_schema": anything,
                            "description": nullable(_text),
                            "annotations": anything,
                        },
                        "name",
                        "input_schema",
                    )
                ),
            },
            "server_label",
            "tools",
        ),
        "mcp_call": _item(
            {
                "server_label": _text,
                "name": _text,
                "arguments": _text,
                "output": nullable(_text),
                "error": nullable(map_of(anything)),
                "approval_request_id": nullable(_text),
            },
            "id",
            "server_label",
            "name",
            "arguments",
        ),
        "mcp_approval_request": _item(
            {"server_label": _text, "name": _text, "arguments": _text},
            "id",
            "server_label",
            "name",
            "arguments",
        ),
        "mcp_approval_response": _item(
            {
                "approval_request_id": _text,
                "approve": boolean,
                "reason": nullable(_text),
            },
            "id",
            "approval_request_id",
            "approve",
        ),
    }
)
"""An item as clients may create it (protocol.md 2.4)."""
