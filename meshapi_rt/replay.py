"""What a new connection is told so that the conversation goes on: configuration and items as client events. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .history import History
from .items import Item, Part

__all__ = ["Replay", "plan_replay"]

_READ_ONLY = {"id", "object", "expires_at", "model"}  # protocol.md 3.2: not to be sent


@attrs.frozen(eq=False)
class Replay:
    """What to send, in order, and what cannot be.

    Attributes:
        update: The ``session.update``; ``None`` where no configuration is known.
        items: The items of the ``conversation.item.create`` events.
        lost: A clause for each thing of the conversation that cannot be restored.
    """

    update: dict[str, Any] | None
    items: list[dict[str, Any]]
    lost: list[str]


def plan_replay(history: History, newest: int, audio_of: Callable[[str], bytes | None]) -> Replay:
    """Plan the restoring of a conversation.

    Args:
        history: The mirror as it stood when the connection was lost.
        newest: How many items to restore at most; older ones are lost.
        audio_of: Returns the PCM of a user's turn by its item id, where it was kept.
    """
    known = [item for item in history.items if not item.lost]  # what was lost before has been told
    kept = known[len(known) - min(newest, len(known)) :]
    older = len(known) - len(kept) + history.left_behind
    lost = [f"{older} older items"] if older else []
    calls = {item.call_id for item in kept if item.type == "function_call" and item.complete}
    items = []
    for item in kept:
        made = _restored(item, calls, audio_of)
        if isinstance(made, str):
            lost.append(f"{made} ({item.id})")
        elif made is not None:
            items.append({"id": item.id, "type": item.type, **made})
    return Replay(_configuration(history.settings), items, lost)


def _configuration(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if not settings:
        return None
    sent = {key: value for key, value in settings.items() if key not in _READ_ONLY}
    sent.setdefault("type", "realtime")
    return sent


_Made = dict[str, Any] | str | None  # the item's own fields; or why it is lost; or None for nothing to restore


def _restored(item: Item, calls: set[str | None], audio_of: Callable[[str], bytes | None]) -> _Made:
    if item.type == "message":
        return _message(item, audio_of)
    maker = _MAKERS.get(item.type)
    return maker(item, calls) if maker else f"an item of the type {item.type}"


def _message(item: Item, audio_of: Callable[[str], bytes | None]) -> _Made:
    if item.role == "assistant":
        told = [part.said for _, part in sorted(item.parts.items()) if part.said]
        if told:
            return {"role": "assistant", "content": [{"type": "output_text", "text": text} for text in told]}
        return None if not any(part.audio_bytes for part in item.parts.values()) else "a reply without transcript"
    role = item.role or "user"
    content = [made for _, part in sorted(item.parts.items()) if (made := _input_part(part, audio_of(item.id)))]
    if content and len(content) == len(item.parts):
        return {"role": role, "content": content}
    if any(part.type == "input_image" and part.image_url is None for part in item.parts.values()):
        return f"a turn of the {role} with an image that was not kept"
    return f"a turn of the {role} without transcript or kept audio"


def _input_part(part: Part, audio: bytes | None) -> dict[str, Any] | None:
    if part.type == "input_image":
        if part.image_url is None:
            return None
        return {"type": "input_image", "image_url": part.image_url, "detail": part.detail or "auto"}
    if part.text:
        return {"type": "input_text", "text": part.text}
    if part.type == "input_audio" and audio:
        return {"type": "input_audio", "audio": base64.b64encode(audio).decode()}
    return None


def _call(item: Item, calls: set[str | None]) -> _Made:
    if item.call_id not in calls:
        return "a tool call that was not finished"
    return {"call_id": item.call_id, "name": item.name or "", "arguments": item.arguments}


def _output(item: Item, calls: set[str | None]) -> _Made:
    if item.call_id not in calls:
        return "a tool's output without its call"
    return {"call_id": item.call_id, "output": item.output or ""}


_MAKERS: dict[str, Callable[[Item, set[str | None]], _Made]] = {
    "function_call": _call,
    "function_call_output": _output,
}
