"""What the agent says: audio of responses on its way to the speaker, and the truth about it when it is cut off.

Which items are still to be heard is known here, and nothing of the session: what has to be told to the server after an
interruption is returned (protocol.md 4.8).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

import attrs
import numpy as np
from numpy.typing import NDArray

from .. import pcm
from ..devices.heard import Heard
from ..devices.protocols import AudioSink
from ..devices.speaker import BaseSpeaker
from ..resampling import Resampler
from ..wire_format import WireFormat

__all__ = ["Cut", "Mouth", "Spoken"]

_RESPONSES = 256  # that were cut off and are remembered: late audio comes within seconds
_LOOK = 0.25  # seconds between two looks at whether the speaker is still there


@attrs.frozen
class Cut:
    """What is to be told to the server of an item that was cut off.

    Attributes:
        item_id: The item.
        content_index: The part.
        audio_end_ms: How much of the part was heard; ``None``: nothing of the item was, it is to be deleted.
    """

    item_id: str
    content_index: int
    audio_end_ms: int | None


class _Part:
    """One audio part of an item."""

    def __init__(self) -> None:
        self.received = 0  # bytes as on the wire
        self.format: WireFormat | None = None
        self.first_came: float | None = None
        self.resampler: Resampler | None = None  # for speakers that take 24 kHz only
        self.joiner = pcm.Joiner()

    @property
    def received_ms(self) -> int:
        return self.received // self.format.bytes_per_ms if self.format is not None else 0

    def converted(self, audio: bytes, wire: WireFormat) -> NDArray[np.int16]:
        """Return audio of a G.711 stream as the next samples at 24 kHz."""
        if self.resampler is None:
            self.resampler = Resampler(wire.rate, pcm.SAMPLE_RATE)
        return self.resampler.push(wire.decode(audio))


class Spoken:
    """An item that is spoken, from its announcement until it was heard or cut off.

    Attributes:
        done: Nothing more comes for it.
        began: When its first sample was heard, on the monotonic clock.
    """

    def __init__(self, item_id: str, response_id: str | None) -> None:
        self.item_id = item_id
        self.response_id = response_id
        self.parts: dict[int, _Part] = {}
        self.done = False
        self.written = False  # its content is text
        self.began: float | None = None

    def part(self, content_index: int) -> _Part:
        """Return a part, a new one where there is none."""
        return self.parts.setdefault(content_index, _Part())

    @property
    def first_came(self) -> float | None:
        """When its first audio came."""
        return min((part.first_came for part in self.parts.values() if part.first_came is not None), default=None)


class Mouth:
    """Speaks, and can be interrupted.

    Args:
        sink: The speaker.

    Threads:
        One, the conductor's.

    Attributes:
        late: Bytes of audio that came for responses which were cut off.
    """

    def __init__(self, sink: AudioSink) -> None:
        self._sink: AudioSink | None = sink
        self._items: OrderedDict[str, Spoken] = OrderedDict()  # in the order of speaking
        self._unwanted: OrderedDict[str, None] = OrderedDict()  # responses
        self._next_look = 0.0
        self.late = 0

    # -- what comes ---

    def announce(self, item_id: str, response_id: str | None) -> Spoken | None:
        """Take note of an item of a response; ``None`` where nobody wants it."""
        if response_id in self._unwanted:
            return None
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = Spoken(item_id, response_id)
        return item

    def write(
        self, audio: bytes, wire: WireFormat, *, item_id: str | None, content_index: int, response_id: str | None
    ) -> None:
        """Say audio, unless it is of a response that was cut off.

        Raises:
            DeviceError: The speaker is gone.
        """
        if response_id in self._unwanted:
            self.late += len(audio)
            return
        item = self.announce(item_id, response_id) if item_id is not None else None
        part = item.part(content_index) if item is not None else _Part()
        part.format = wire
        part.received += len(audio)
        if part.first_came is None:
            part.first_came = time.monotonic()
        sink = self._sink
        if isinstance(sink, BaseSpeaker):
            sink.write(audio, item_id, content_index, format=wire.name)
        elif sink is not None and wire.rate == pcm.SAMPLE_RATE:
            whole = part.joiner.push(audio)  # deltas may end inside a sample
            if whole:
                sink.write(whole, item_id, content_index)
        elif sink is not None:
            sink.write(part.converted(audio, wire), item_id, content_index)

    def text_comes(self, item_id: str) -> None:
        """Take note that an item is written, not spoken."""
        if item_id in self._items:
            self._items[item_id].written = True

    def item_done(self, item_id: str) -> None:
        """Take note that an item is complete."""
        item = self._items.get(item_id)
        if item is None or item.done:
            return
        item.done = True
        for content_index, part in item.parts.items():
            if part.resampler is not None and self._sink is not None:
                self._sink.write(part.resampler.flush(), item_id, content_index)

    def response_done(self, response_id: str | None) -> None:
        """Take note that nothing more comes of a response; what is short plays at once."""
        for item in list(self._items.values()):
            if item.response_id == response_id:
                self.item_done(item.item_id)
        self._finish()

    def all_done(self) -> None:
        """Take note that nothing more comes at all: the connection is gone."""
        for item_id in list(self._items):
            self.item_done(item_id)
        self._finish()

    def _finish(self) -> None:
        if isinstance(self._sink, BaseSpeaker):
            self._sink.finish()

    def wants(self, response_id: str | None) -> bool:
        """Tell whether a response is to be heard."""
        return response_id not in self._unwanted

    # -- what is heard ---

    def look(self, now: float) -> tuple[list[Spoken], list[str]]:
        """Return the items that began to sound since the last look, and the ids of those that were heard whole.

        Raises:
            DeviceError: The speaker is gone.
        """
        if self._items and now >= self._next_look and isinstance(self._sink, BaseSpeaker):
            self._next_look = now + _LOOK
            self._sink.start()  # it raises if it is broken
        begun, over = [], []
        for item in list(self._items.values()):
            heard = [self._heard(item, content_index) for content_index in item.parts]
            if item.began is None and any(one.samples for one in heard):
                item.began = min((one.began for one in heard if one.began is not None), default=now)
                begun.append(item)
            if item.done and all(one.complete for one in heard):
                del self._items[item.item_id]
                over.append(item.item_id)
        return begun, over

    @property
    def sounding(self) -> bool:
        """Whether an answer is heard: from its first sample to its last, pauses included."""
        return any(item.began is not None for item in self._items.values())

    @property
    def busy(self) -> bool:
        """Whether something is, or may be, still to be heard."""
        return bool(self._items)

    def _heard(self, item: Spoken, content_index: int) -> Heard:
        if self._sink is not None:
            return self._sink.heard(item.item_id, content_index)
        return Heard(item_id=item.item_id, content_index=content_index, samples=0, total=0, began=None)

    # -- interruption ---

    def drop(self, response_ids: Iterable[str | None]) -> None:
        """Say nothing of responses from now on."""
        for response_id in response_ids:
            if response_id is not None:
                self._unwanted[response_id] = None
        while len(self._unwanted) > _RESPONSES:
            self._unwanted.popitem(last=False)

    def interrupt(self) -> dict[str, list[Cut]]:
        """Fall silent, and tell by item what the server is to know: it believes that everything was heard.

        Where an item is complete and was heard to its end, there is nothing to tell. One that was not begun goes as
        a whole. Everything else ends at the sample that was heard, not beyond what has come.
        """
        told: dict[tuple[str | None, int], Heard] = {}
        if self._sink is not None:
            told = {(heard.item_id, heard.content_index): heard for heard in self._sink.clear()}
        items = list(self._items.values())
        self._items.clear()
        self.drop(item.response_id for item in items)
        return {item.item_id: self._cuts(item, told) for item in items}

    def _cuts(self, item: Spoken, told: dict[tuple[str | None, int], Heard]) -> list[Cut]:
        if item.written:
            return []
        ends = {
            index: (told.get((item.item_id, index)) or self._heard(item, index), part)
            for index, part in sorted(item.parts.items())
        }
        if item.done and all(heard.complete for heard, _ in ends.values()):
            return []
        if not any(heard.ms for heard, _ in ends.values()):
            return [Cut(item.item_id, 0, None)]
        return [
            Cut(item.item_id, index, min(heard.ms, part.received_ms))
            for index, (heard, part) in ends.items()
            if part.received_ms and not (item.done and heard.complete)
        ]

    # -- the speaker itself ---

    def use(self, sink: AudioSink) -> None:
        """Speak through another speaker from now on; call :meth:`interrupt` before."""
        self._sink = sink

    def fail(self) -> dict[str, list[Cut]]:
        """Go on without a speaker that broke; return what was not heard of it, as :meth:`interrupt` does."""
        cuts = self.interrupt()
        self._sink = None
        return cuts
