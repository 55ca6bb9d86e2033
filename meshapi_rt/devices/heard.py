"""The books of a speaker: what was written for each item, and how much of it was heard.

All audio that a speaker gets lies on one line, in the order in which it came, measured in ticks of 1/24000 s. The
books know which stretches of that line belong to an item; how far the sound has come is one number on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

import attrs

from .. import pcm

__all__ = ["Entry", "Heard", "Ledger"]

_MOST = 10_000  # items remembered; a day of answers, and some megabytes


@attrs.frozen(kw_only=True)
class Heard:
    """How much of an item's audio was heard.

    Attributes:
        item_id: As given to ``write()``.
        content_index: Likewise.
        samples: Heard so far, at 24 kHz: handed to the device, and out of it by now.
        total: Written so far, at 24 kHz.
        began: When its first sample was heard, on the clock of ``time.monotonic()``; ``None`` before that.
    """

    item_id: str | None
    content_index: int
    samples: int
    total: int
    began: float | None

    @property
    def ms(self) -> int:
        """Whole milliseconds heard: the ``audio_end_ms`` of a truncation (protocol.md 4.8)."""
        return self.samples * 1000 // pcm.SAMPLE_RATE

    @property
    def complete(self) -> bool:
        """Whether everything that was written was heard."""
        return self.samples >= self.total


class Entry:
    """One item's page: its stretches on the line.

    Attributes:
        total: Ticks written.
        began: Set by the side that plays.
        closed: The item was cut off: what comes late for it is not played.
    """

    __slots__ = ("_stretches", "began", "closed", "content_index", "first", "item_id", "joiner", "total")

    def __init__(self, item_id: str | None, content_index: int) -> None:
        self.item_id = item_id
        self.content_index = content_index
        self.total = 0
        self.first = 0  # where its first stretch begins
        self.began: float | None = None
        self.closed = False
        self.joiner = pcm.Joiner()  # pieces off the wire may end inside a sample
        self._stretches: list[tuple[int, int]] = []

    @property
    def end(self) -> int:
        """Where its last stretch ends; what was cut off does not count."""
        return self._stretches[-1][1] if self._stretches else 0

    def add(self, start: int, end: int) -> None:
        """Note a stretch behind all others."""
        self.total += end - start
        if self._stretches and self._stretches[-1][1] == start:
            start = self._stretches.pop()[0]
        elif not self._stretches:
            self.first = start
        self._stretches.append((start, end))

    def cut(self, at: int) -> None:
        """Take out what lies behind *at*: it will not be heard."""
        self._stretches = [(start, min(end, at)) for start, end in self._stretches if start < at]

    def heard(self, position: int) -> Heard:
        """Tell how much was heard when the sound has come to *position*."""
        samples = sum(min(end, position) - start for start, end in self._stretches if start < position)
        return Heard(
            item_id=self.item_id,
            content_index=self.content_index,
            samples=samples,
            total=self.total,
            began=self.began if samples else None,
        )


class Ledger:
    """The pages of all items. The caller sees to it that one thread at a time uses it."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def entry(self, item_id: str | None, content_index: int) -> Entry:
        """Return an item's page, a new one where there is none."""
        key = (item_id, content_index)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(item_id, content_index)
            if len(self._entries) > _MOST:
                self._entries.popitem(last=False)
        return entry

    def heard(self, item_id: str | None, content_index: int, position: int) -> Heard:
        """Tell how much of an item was heard; nothing of an unknown one."""
        entry = self._entries.get((item_id, content_index)) or Entry(item_id, content_index)
        return entry.heard(position)
