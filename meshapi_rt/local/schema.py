"""The table of fields: client events, the session object, responses (protocol.md 2.1 and 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .failures import Refusal
from .item_schema import client_item
from .rules import (
    Rule,
    anything,
    boolean,
    const,
    either,
    integer,
    list_of,
    map_of,
    nullable,
    number,
    obj,
    one_of,
    tagged,
    text,
)

__all__ = ["CLIENT_EVENTS", "RESPONSE", "SESSION"]

_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
_anything_text = text()


def _max_tokens(value: Any, path: str) -> None:
    (const("inf") if isinstance(value, str) else integer(1, 4096))(value, path)


_FORMAT = tagged(
    {
        "audio/pcm": obj({"type": anything, "rate": const(24000)}),
        "audio/pcmu": obj({"type": anything}),
        "audio/pcma": obj({"type": anything}),
    }
)
_VOICE = either(one_of(*_VOICES), obj({"id": text(shortest=1)}, "id"))
_MODALITIES = list_of(one_of("audio", "text"), shortest=1, longest=1)  # never both: protocol.md 3.2

_TURN_DETECTION = tagged(
    {
        "server_vad": obj(
            {
                "type": anything,
                "threshold": number(0.0, 1.0),
                "prefix_padding_ms": integer(0),
                "silence_duration_ms": integer(0),
                "idle_timeout_ms": nullable(integer(5000, 30000)),
                "create_response": boolean,
                "interrupt_response": boolean,
            }
        ),
        "semantic_vad": obj(
            {
                "type": anything,
                "eagerness": one_of("low", "medium", "high", "auto"),
                "create_response": boolean,
                "interrupt_response": boolean,
            }
        ),
    }
)
_TRANSCRIPTION = obj(
    {
        "model": text(shortest=1),
        "language": _anything_text,
        "languages": list_of(_anything_text),
        "keywords": list_of(_anything_text),
        "prompt": _anything_text,
        "delay": one_of(*_EFFORTS),
    }
)
_AUDIO_INPUT = obj(
    {
        "format": _FORMAT,
        "noise_reduction": nullable(
            obj({"type": one_of("near_field", "far_field"), "strength": number(0.0)}),
        ),
        "transcription": nullable(_TRANSCRIPTION),
        "turn_detection": nullable(_TURN_DETECTION),
    }
)

_TOOL_FILTER = obj({"read_only": boolean, "tool_names": list_of(_anything_text)})
_MCP_FIELDS = obj(
    {
        "type": anything,
        "server_label": text(shortest=1),
        "server_url": _anything_text,
        "connector_id": _anything_text,
        "tunnel_id": _anything_text,
        "authorization": _anything_text,
        "headers": nullable(map_of(_anything_text)),
        "allowed_tools": nullable(
            lambda value, path: (list_of(_anything_text) if isinstance(value, list) else _TOOL_FILTER)(value, path)
        ),
        "require_approval": nullable(
            either(one_of("always", "never"), obj({"always": _TOOL_FILTER, "never": _TOOL_FILTER}))
        ),
        "server_description": _anything_text,
        "allowed_callers": nullable(list_of(one_of("direct", "programmatic"))),
        "defer_loading": boolean,
    },
    "server_label",
)


def _mcp_tool(value: Any, path: str) -> None:
    _MCP_FIELDS(value, path)
    if not {"server_url", "connector_id", "tunnel_id"} & set(value):
        raise Refusal.missing(f"{path}.server_url")


def _tool_name(value: Any, path: str) -> None:
    _anything_text(value, path)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise Refusal.invalid(path, "expected 1 to 64 letters, digits, underscores or dashes")


_TOOLS = list_of(
    tagged(
        {
            "function": obj(
                {
                    "type": anything,
                    "name": _tool_name,
                    "description": _anything_text,
                    "parameters": map_of(anything),
                },
                "name",
            ),
            "mcp": _mcp_tool,
        }
    )
)
_TOOL_CHOICE = either(
    one_of("none", "auto", "required"),
    tagged(
        {
            "function": obj({"type": anything, "name": _anything_text}, "name"),
            "mcp": obj(
                {"type": anything, "server_label": _anything_text, "name": nullable(_anything_text)},
                "server_label",
            ),
        }
    ),
)
_REASONING = nullable(obj({"effort": one_of(*_EFFORTS)}))
_PROMPT = nullable(
    obj(
        {"id": _anything_text, "version": nullable(_anything_text), "variables": nullable(map_of(anything))},
        "id",
    )
)
_INCLUDE = nullable(list_of(one_of("item.input_audio_transcription.logprobs")))
_METADATA = nullable(map_of(text(512), longest=16, longest_key=64))  # protocol.md 1.5

SESSION: Mapping[str, Rule] = {
    "realtime": obj(
        {
            "type": anything,
            "model": _anything_text,
            "output_modalities": _MODALITIES,
            "instructions": _anything_text,
            "tools": _TOOLS,
            "tool_choice": _TOOL_CHOICE,
            "parallel_tool_calls": boolean,
            "reasoning": _REASONING,
            "max_output_tokens": _max_tokens,
            "truncation": either(
                one_of("auto", "disabled"),
                tagged(
                    {
                        "retention_ratio": obj(
                            {
                                "type": anything,
                                "retention_ratio": number(0.0, 1.0),
                                "token_limits": obj({"post_instructions": integer(0)}),
                            },
                            "retention_ratio",
                        )
                    }
                ),
            ),
            "tracing": nullable(
                either(
                    const("auto"),
                    obj(
                        {
                            "workflow_name": _anything_text,
                            "group_id": _anything_text,
                            "metadata": map_of(anything),
                        }
                    ),
                )
            ),
            "prompt": _PROMPT,
            "include": _INCLUDE,
            "audio": obj(
                {
                    "input": _AUDIO_INPUT,
                    "output": obj({"format": _FORMAT, "voice": _VOICE, "speed": number(0.25, 1.5)}),
                }
            ),
        }
    ),
    "transcription": obj({"type": anything, "include": _INCLUDE, "audio": obj({"input": _AUDIO_INPUT})}),
}
"""The session object as ``session.update`` may carry it, by its type (protocol.md 3.2 to 3.7)."""


def _input_entry(value: Any, path: str) -> None:
    if isinstance(value, dict) and value.get("type") == "item_reference":
        obj({"type": anything, "id": _anything_text}, "id")(value, path)
    else:
        client_item(value, path)


RESPONSE = obj(
    {
        "output_modalities": _MODALITIES,
        "instructions": _anything_text,
        "audio": obj({"output": obj({"format": _FORMAT, "voice": _VOICE})}),
        "tools": _TOOLS,
        "tool_choice": _TOOL_CHOICE,
        "max_output_tokens": _max_tokens,
        "conversation": one_of("auto", "none"),
        "input": list_of(_input_entry),
        "metadata": _METADATA,
        "prompt": _PROMPT,
        "reasoning": _REASONING,
        "parallel_tool_calls": boolean,
    }
)
"""What ``response.create`` may override for one response (protocol.md 2.1)."""


def _event(fields: Mapping[str, Rule] | None = None, *required: str) -> Rule:
    return obj({"type": anything, "event_id": anything, **(fields or {})}, *required)


CLIENT_EVENTS: Mapping[str, Rule] = {
    # The session object has its own table, and is checked against the type of the session.
    "session.update": _event({"session": map_of(anything)}, "session"),
    "input_audio_buffer.append": _event({"audio": _anything_text}, "audio"),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "conversation.item.create": _event({"item": client_item, "previous_item_id": nullable(_anything_text)}, "item"),
    "conversation.item.retrieve": _event({"item_id": _anything_text}, "item_id"),
    "conversation.item.truncate": _event(
        {"item_id": _anything_text, "content_index": integer(0), "audio_end_ms": integer(0)},
        "item_id",
        "content_index",
        "audio_end_ms",
    ),
    "conversation.item.delete": _event({"item_id": _anything_text}, "item_id"),
    "response.create": _event({"response": nullable(RESPONSE)}),
    "response.cancel": _event({"response_id": nullable(_anything_text)}),
}
"""The client events of a WebSocket; ``output_audio_buffer.clear`` is none of them (protocol.md 2.1)."""
