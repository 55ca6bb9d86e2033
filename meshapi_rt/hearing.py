"""The user's speech as the server hears it: whether they speak, and how long what they said was. Bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .items import Item, text_of
from .order import remember

__all__ = ["Hearing"]

_SPANS = 100  # turns that were announced, and neither committed nor cleared


class Hearing:
    """What the events of the input buffer tell.

    Attributes:
        speaking: The item that the user is saying; ``None`` while they are silent.
    """

    def __init__(self) -> None:
        self.speaking: str | None = None
        self._spans: dict[str, tuple[int, int | None]] = {}  # where such items begin and end, in ms
        self._over: dict[str, None] = {}  # those that were committed or cleared

    def started(self, event: Mapping[str, Any]) -> None:
        """Take in that the user began to speak."""
        item_id, start = text_of(event, "item_id"), event.get("audio_start_ms")
        if item_id in self._over:
            return  # an echo
        self.speaking = item_id or "?"
        if item_id is not None and isinstance(start, int):
            remember(self._spans, item_id, (start, None), limit=_SPANS)

    def stopped(self, event: Mapping[str, Any]) -> None:
        """Take in that they stopped; the commit is still to come."""
        item_id, end = text_of(event, "item_id"), event.get("audio_end_ms")
        if item_id in self._spans and isinstance(end, int):
            self._spans[item_id] = (self._spans[item_id][0], end)

    def joined(self, item: Item) -> None:
        """Take in that an item of the user has joined the conversation, which may be what they were saying."""
        if item.id == self.speaking:
            self.speaking = None
        if item.id in self._spans:
            remember(self._over, item.id)
        start, end = self._spans.pop(item.id, (0, None))
        if end is not None:
            item.part(0, "input_audio").told_ms = end - start

    def clear(self) -> None:
        """Forget what was not committed."""
        self.speaking = None
        for item_id in self._spans:
            remember(self._over, item_id)
        self._spans.clear()
