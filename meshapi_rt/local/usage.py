"""Token accounting, by the rules of thumb of protocol.md 4.13."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import attrs

from .items import Item, Part

__all__ = ["CHARACTERS_PER_TOKEN", "SPOKEN_MS_PER_TOKEN", "ContextTokens", "count_context", "response_usage"]

CHARACTERS_PER_TOKEN = 4
HEARD_MS_PER_TOKEN = 100  # audio of the user
SPOKEN_MS_PER_TOKEN = 50  # audio of the assistant
_IMAGE_TOKENS = {"low": 85}  # an assumption of this server's; protocol.md names no figure
_IMAGE_TOKENS_ELSE = 765


@attrs.frozen
class ContextTokens:
    """What a response reads."""

    text: int
    audio: int
    image: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.text + self.audio + self.image


def count_text(text: str) -> int:
    """Count one token for four characters, begun ones included."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def count_context(items: Iterable[Item], instructions: str, tools: Iterable[dict[str, Any]]) -> ContextTokens:
    """Count what a response reads: the instructions, the tools and every item."""
    text = count_text(instructions) + sum(count_text(json.dumps(tool)) for tool in tools)
    audio = image = 0
    for item in items:
        for name in ("name", "arguments", "output"):
            text += count_text(item.fields.get(name) or "")
        for part in item.parts:
            text += count_text(part.fields.get("text") or "")
            audio += _count_sound(item, part)
            if part.type == "input_image":
                image += _IMAGE_TOKENS.get(part.fields.get("detail", "auto"), _IMAGE_TOKENS_ELSE)
    return ContextTokens(text, audio, image)


def _count_sound(item: Item, part: Part) -> int:
    if part.sound is None:
        return 0
    return math.ceil(part.sound.ms / (HEARD_MS_PER_TOKEN if item.role == "user" else SPOKEN_MS_PER_TOKEN))


def response_usage(context: ContextTokens, text: int, audio: int) -> dict[str, Any]:
    """Build ``response.usage``. Nothing is ever cached here."""
    return {
        "total_tokens": context.total + text + audio,
        "input_tokens": context.total,
        "output_tokens": text + audio,
        "input_token_details": {
            "text_tokens": context.text,
            "audio_tokens": context.audio,
            "image_tokens": context.image,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text, "audio_tokens": audio},
    }
