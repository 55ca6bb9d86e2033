"""What a microphone and a speaker have to be able to do: any object with these methods serves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from .. import pcm
from .heard import Heard

__all__ = ["AudioSink", "AudioSource"]


@runtime_checkable
class AudioSource(Protocol):
    """Something that is listened to."""

    def read(self, timeout: float | None = None, cancel: threading.Event | None = None) -> bytes:
        """Return the next block of 24 kHz mono PCM16, of any length; ``b""`` when there is no more.

        Raises:
            TimedOut: Nothing came within *timeout* seconds.
            Cancelled: The *cancel* event was set.
            DeviceError: It broke.
        """
        ...

    def close(self) -> None:
        """End it; a :meth:`read` that waits in another thread returns ``b""``."""
        ...


@runtime_checkable
class AudioSink(Protocol):
    """Something that speaks."""

    def write(self, audio: pcm.AudioLike, item_id: str | None = None, content_index: int = 0) -> None:
        """Queue 24 kHz mono PCM16 behind what is there already, without waiting for it to sound."""
        ...

    def clear(self) -> Sequence[Heard]:
        """Fall silent, drop what is queued, and tell what was heard of the items that were cut off."""
        ...

    def heard(self, item_id: str | None, content_index: int = 0) -> Heard:
        """Tell how much of an item was heard; at any time, also long after."""
        ...
