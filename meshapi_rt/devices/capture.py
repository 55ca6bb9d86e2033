"""Audio on its way from a microphone: a bounded buffer between the card's thread and a reader."""

from __future__ import annotations

import queue

import attrs
import numpy as np
from numpy.typing import NDArray

from ..waiting import taken

__all__ = ["Capture", "Chunk"]


@attrs.frozen
class Chunk:
    """What a device gave in one go.

    Attributes:
        sound: Frames, ``int16``, shape ``(frames, channels)``.
        began: When its first frame was heard, on the monotonic clock.
        start: The number of its first frame in its run.
        run: Changes where the sound was interrupted on purpose.
        muted: Nobody may hear it.
    """

    sound: NDArray[np.int16]
    began: float
    start: int
    run: int
    muted: bool


class Capture:
    """Holds what was heard until it is read. When it is full, the oldest goes: a conversation is about the newest.

    The queue is one that a signal handler could use: putting something in never waits.

    Args:
        most: Frames that may wait.

    Attributes:
        paused: Nothing is kept; owner's.
        muted: What comes is marked as muted; owner's.
        overruns: How often the buffer was too full; card's.
        dropped: Frames that were lost by that; card's.
    """

    def __init__(self, most: int) -> None:
        self.paused = False
        self.muted = False
        self.overruns = 0
        self.dropped = 0
        self._most = most
        self._queue: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._put = 0  # frames; card's
        self._got = 0  # frames; reader's
        self._run = 0
        self._was_paused = False
        self._full = False

    @property
    def waiting(self) -> int:
        """Frames that wait to be read."""
        return max(0, self._put - self._got - self.dropped)

    def put(self, sound: NDArray[np.int16], began: float) -> None:
        """Keep what was heard; the card's thread. *sound* belongs to the buffer from now on."""
        if self.paused:
            self._was_paused = True
            return
        if self._was_paused:
            self._was_paused = False
            self._run += 1
        full = False
        while self.waiting + len(sound) > self._most:
            try:
                oldest = self._queue.get_nowait()
            except queue.Empty:
                break
            if oldest is not None:
                full = True
                self.dropped += len(oldest.sound)
        self.overruns += full and not self._full
        self._full = full
        self._queue.put(Chunk(sound, began, self._put, self._run, self.muted))
        self._put += len(sound)

    def wake(self) -> None:
        """Let a waiting reader look around; any thread."""
        self._queue.put(None)

    def get(self, timeout: float) -> Chunk | None:
        """Return the oldest chunk; ``None`` when woken, or when none came in time."""
        try:
            chunk = taken(self._queue, timeout)
        except queue.Empty:
            return None
        if chunk is not None:
            self._got += len(chunk.sound)
        return chunk
