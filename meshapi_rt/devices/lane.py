"""Audio on its way to a device: a lane from the writer to the card, and the reel that unwinds it.

A lane is filled by the owner and emptied by the card, without a lock: its deques may be used from both ends at
once, and every attribute has one side that writes it. To drop what is queued, the owner puts another lane in place.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from .. import pcm
from ..resampling import Resampler
from .heard import Entry

__all__ = ["Lane", "Reel"]

_NOTHING = np.empty(0, np.int16)


class Lane:
    """What was written since the last ``clear()``.

    Attributes:
        start: Where on the line it begins.
        written: Where the line of audio ends; owner's.
        finished: Nothing more is expected for now; owner's.
        last: What was written last; owner's.
        entries: What may not be heard to its end yet, in order; owner's.
        pieces: Samples and their rate.
        openings: Entries whose first sample has not been played.
        dry: Where playing ran out of audio last, or ``None``; card's.
        cut_at: Where playing ended for good, or ``None``; card's.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.written = start
        self.finished = False
        self.last: Entry | None = None
        self.entries: list[Entry] = []
        self.pieces: deque[tuple[NDArray[np.int16], int]] = deque()
        self.openings: deque[Entry] = deque()
        self.dry: int | None = None
        self.cut_at: int | None = None


class Reel:
    """Turns the pieces of a lane into frames of the device's rate, and knows where on the line each frame lies.

    Used by the card's thread alone.

    Args:
        lane: What is played.
        rate: The device's frames per second.
    """

    def __init__(self, lane: Lane, rate: int) -> None:
        self.lane = lane
        self._rate = rate
        self._ready = _NOTHING
        self._read = 0  # frames taken
        self._made = 0  # frames ever ready
        self._piece = _NOTHING  # what is left of the piece at hand
        self._resampler: Resampler | None = None  # None between two runs
        self._source_rate = 0
        self.pulled = lane.start  # where on the line conversion has come to
        # Runs of unbroken conversion, the current one last: first frame, and where on the line it and the run lie.
        self._runs: deque[tuple[int, int]] = deque()
        self._run_ends: deque[int] = deque()

    @property
    def ready(self) -> int:
        """Frames that can be taken."""
        return self._ready.size

    @property
    def left(self) -> int | None:
        """Frames until the audio written so far ends, or ``None`` where that is not in sight."""
        if self._piece.size or self.lane.pieces:
            return None
        return self._ready.size + (self._resampler.pending if self._resampler else 0)

    @property
    def position(self) -> int:
        """Where on the line the frames taken so far end."""
        while len(self._runs) > 1 and self._runs[1][0] <= self._read:
            self._runs.popleft()
            self._run_ends.popleft()
        if not self._runs:
            return self.pulled
        frame, start = self._runs[0]
        end = self._run_ends[0] if self._run_ends else self.pulled
        return min(end, start + (self._read - frame) * pcm.SAMPLE_RATE // self._rate)

    def fill(self, frames: int) -> None:
        """Convert until so many frames are ready, or nothing is left to convert."""
        while (missing := frames - self._ready.size) > 0:
            if not self._piece.size and not self._next_piece():
                return
            resampler = self._running()
            count = max(1, resampler.needed(missing))
            part, self._piece = self._piece[:count], self._piece[count:]
            self.pulled += part.size * pcm.SAMPLE_RATE // self._source_rate
            self._add(resampler.push(part))

    def complete(self, frames: int) -> None:
        """Make so many frames ready without waiting for what follows them, fewer if the sound ends before."""
        missing = frames - self._ready.size
        if missing <= 0 or self._resampler is None:
            return
        if self._resampler.pending > missing:
            self._add(self._resampler.rush(missing))
        else:
            self.finish()

    def finish(self) -> None:
        """Make ready what the filter holds back: the sound ends here, or goes on later from silence."""
        if self._resampler is not None:
            self._add(self._resampler.flush())
            self._resampler = None
            self._run_ends.append(self.pulled)

    def take(self, frames: int) -> NDArray[np.int16]:
        """Return the next frames, as many as are ready at most."""
        taken, self._ready = self._ready[:frames], self._ready[frames:]
        self._read += taken.size
        return taken

    def _next_piece(self) -> bool:
        try:
            self._piece, rate = self.lane.pieces.popleft()
        except IndexError:
            return False
        if rate != self._source_rate:
            self.finish()
            self._source_rate = rate
        return True

    def _running(self) -> Resampler:
        if self._resampler is None:
            self._resampler = Resampler(self._source_rate, self._rate)
            self._runs.append((self._made, self.pulled))
        return self._resampler

    def _add(self, frames: NDArray[np.int16]) -> None:
        self._made += frames.size
        self._ready = np.concatenate((self._ready, frames)) if self._ready.size else frames
