"""Who answers: the signature of a responder, and the one that a server has when it is given none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from .speech import describe
from .turn import Turn
from .values import Audio, Piece, Text, ToolCall

__all__ = ["Responder", "parrot"]

Responder: TypeAlias = Callable[[Turn], Iterable[Piece]]
"""Gets a turn, yields the answer. Runs on a thread of its own, and may block."""

_CALL = re.compile(r"\bcall\s+([A-Za-z0-9_-]{1,64})\s*(?=(\{)?)")
_GREETING = "Hello! I repeat what I hear."


def parrot(turn: Turn) -> Iterator[Piece]:
    """Repeat the user: text as text, speech as the very same samples.

    Calls functions where it may: when ``tool_choice`` demands it, and when the user writes
    ``call NAME {"json": "arguments"}``, several times for parallel calls. Says what functions returned.
    """
    if turn.outputs:
        yield Text(" ".join(item.output or "(nothing)" for item in turn.outputs))
        return
    calls = list(_calls(turn))
    if calls:
        yield from calls
        return
    item = turn.last_user_item
    if item is None:
        yield Text(_GREETING)
    elif item.text:
        yield Text(item.text)
    else:
        samples = item.audio
        if samples is None:
            yield Text("(an image)")
        else:
            yield Audio(samples, item.transcript or describe(samples))


def _calls(turn: Turn) -> Iterator[ToolCall]:
    tools = {tool["name"]: tool for tool in turn.tools if tool["type"] == "function"}
    if not tools or turn.tool_choice == "none":
        return
    asked = [(name, arguments) for name, arguments in _asked(turn.text) if name in tools]
    if asked:
        for name, arguments in asked:
            yield ToolCall(name, arguments or _sample(tools[name], turn.text))
    elif isinstance(turn.tool_choice, Mapping):
        chosen = turn.tool_choice.get("name")
        if isinstance(chosen, str) and chosen in tools:
            yield ToolCall(chosen, _sample(tools[chosen], turn.text))
    elif turn.tool_choice == "required":
        name = next(iter(tools))
        yield ToolCall(name, _sample(tools[name], turn.text))


def _asked(text: str) -> Iterator[tuple[str, str | None]]:
    for match in _CALL.finditer(text):
        arguments = None
        if match.group(2):
            try:
                _, length = json.JSONDecoder().raw_decode(text[match.end() :])
                arguments = text[match.end() : match.end() + length]
            except ValueError:
                arguments = text[match.end() :]  # as a model may write it: the client has to cope
        yield match.group(1), arguments


def _sample(tool: Mapping[str, Any], text: str) -> str:
    """Make arguments that fit the tool's schema: every required property, strings say what the user said."""
    schema = tool.get("parameters") or {}
    properties = schema.get("properties") or {}
    return json.dumps({name: _value(properties.get(name) or {}, text) for name in schema.get("required") or ()})


def _value(schema: Mapping[str, Any], text: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    simple = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None}
    kind = schema.get("type")
    return simple.get(kind, text) if isinstance(kind, str) else text
