"""One item of the mirrored conversation: what its events told of it, and what that amounts to.

Threads:
    One thread at a time, the one that reads, writes. Others read at any time and without a lock, because nothing is
    changed in place: an attribute is given a new string, number or dict. What an item says is written before the status
    that calls it whole, so whoever reads an item in the middle of an event sees it a moment too old, never finished
    too early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

__all__ = ["Item", "Part", "fill", "fill_part", "text_of"]

BYTES_PER_MS = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}  # protocol.md 5
_FINAL = ("completed", "incomplete")


@attrs.define(eq=False)
class Part:
    """One content part of a message item.

    Attributes:
        type: ``input_text``, ``input_audio``, ``input_image``, ``output_text`` or ``output_audio``.
        text: The text, or the transcript of the audio, as far as it was told; ``None`` where none was.
        final: The text is whole: later deltas of it are echoes.
        audio_bytes: Audio of this part that was received, in the output format.
        bytes_per_ms: Of that format.
        told_ms: The length of the audio where the server told it; ``None`` elsewhere.
        heard_ms: Where the audio was truncated, in milliseconds; ``None`` where it was not.
        image_url: Of an image, while it is kept.
        detail: Of an image: ``low``, ``high`` or ``auto``.
    """

    type: str
    text: str | None = None
    final: bool = False
    audio_bytes: int = 0
    bytes_per_ms: int = 48
    told_ms: int | None = None
    heard_ms: int | None = None
    image_url: str | None = None
    detail: str | None = None

    @property
    def audio_ms(self) -> int | None:
        """The length of the audio, what was not heard of it included; ``None`` where it is not known."""
        if self.told_ms is not None:
            return self.told_ms
        return self.audio_bytes // self.bytes_per_ms if self.type == "output_audio" else None

    @property
    def said(self) -> str | None:
        """The text as far as it was heard, perhaps by an estimate."""
        return self.estimate()[0]

    def estimate(self) -> tuple[str | None, bool]:
        """Return the text as far as it was heard, and whether that is an estimate.

        Text and audio cannot be aligned (protocol.md 4.8): the estimate is by length, in whole words.
        """
        text, heard, whole = self.text, self.heard_ms, self.audio_ms
        if not text or heard is None or not whole or heard >= whole:
            return text, False
        return f"{text} "[: round(len(text) * heard / whole) + 1].rpartition(" ")[0], True


@attrs.define(eq=False)
class Item:
    """One item, as far as its events told.

    Attributes:
        made_by: ``speech`` (a committed input buffer), ``response``, or ``client``.
        response_id: Of the response that made it.
        audio_format: Of the assistant's audio, as the session object names it.
        output: Of a tool: in its output item, and in the call that it answers.
        closed: The server said that it is final.
        joined: It is in the conversation; else that is still to be told.
        placed: The server said where.
        lost: It could not be restored on a new connection: the server does not have it any more.
        as_text: It was restored as text: what the server says of its parts is not of these.
    """

    id: str
    type: str = "message"
    role: str | None = None
    status: str | None = None
    parts: dict[int, Part] = attrs.field(factory=dict)
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""
    output: str | None = None
    made_by: Literal["speech", "response", "client"] = "client"
    response_id: str | None = None
    audio_format: str = "audio/pcm"
    closed: bool = False
    joined: bool = False
    placed: bool = False
    lost: bool = False
    as_text: bool = False

    @property
    def complete(self) -> bool:
        """Whether it was finished, and not cut short."""
        return self.status == "completed"

    def sounds_in(self, audio_format: str | None) -> None:
        """Note the format of its audio, if it is told."""
        if audio_format is not None and audio_format != self.audio_format:
            self.audio_format = audio_format
            for part in self.parts.values():
                part.bytes_per_ms = BYTES_PER_MS.get(audio_format, 48)

    def part(self, index: object, kind: str) -> Part:
        """Return the part at *index*, made if it is new."""
        at = index if isinstance(index, int) else 0
        part = self.parts.get(at)
        if part is None:
            part = Part(kind, bytes_per_ms=BYTES_PER_MS.get(self.audio_format, 48))
            self.parts = {**self.parts, at: part}  # others may be looking through the old one
        return part


def text_of(source: Mapping[str, Any], key: str) -> str | None:
    """Return a field if it is a string."""
    value = source.get(key)
    return value if isinstance(value, str) else None


def fill(item: Item, told: Mapping[str, Any]) -> None:
    """Take over what an item object says; what it leaves out stays."""
    item.type = text_of(told, "type") or item.type
    for key in ("role", "call_id", "name", "output"):
        value = text_of(told, key)
        if value is not None:
            setattr(item, key, value)
    item.arguments = text_of(told, "arguments") or item.arguments
    content = told.get("content")
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if isinstance(part, dict):
            fill_part(item.part(index, _part_type(item, part)), part)
    status = text_of(told, "status")
    if status is not None and (status in _FINAL or item.status not in _FINAL):  # an echo of its beginning
        item.status = status


def _part_type(item: Item, told: Mapping[str, Any]) -> str:
    """Return a part's GA type; beta servers and ``retrieved`` use short ones."""
    kind = text_of(told, "type") or "text"
    if kind in ("audio", "text"):
        return f"{'output' if item.role == 'assistant' else 'input'}_{kind}"
    return kind


def fill_part(part: Part, told: Mapping[str, Any]) -> None:
    """Take over what a content part says; audio is told by ``conversation.item.retrieved`` only."""
    for key in ("transcript", "text"):
        part.text = text_of(told, key) or part.text
    part.image_url = text_of(told, "image_url") or part.image_url
    part.detail = text_of(told, "detail") or part.detail
