"""What sounds, block by block: the part of a speaker that the sound card's thread runs.

It starts when enough is there, fades in and out at every edge, and notes for each block when it sounds and where on
the line of audio it lies. It takes no lock and waits for nobody: what the owner wants is put into attributes, each
written whole, and what it found is put into a ring of notes that any thread may read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from .. import pcm
from .lane import Lane, Reel

__all__ = ["FADE", "Playback"]

FADE = 0.005  # seconds of every fade: no click, and no word lost
_NOTES = 1024  # blocks remembered: some seconds, longer than any device's latency
_FULL_SCALE = 32_768


@attrs.frozen
class _Note:
    """One block: when its sound begins and ends (monotonic clock), from where to where on the line, how loud."""

    number: int
    began: float
    ended: float  # of the block, silence at its end included
    sound_ended: float
    start: int
    end: int
    level: float


class Playback:
    """Makes the blocks that a device asks for.

    Args:
        rate: The device's frames per second.
        prebuffer: Seconds of audio that playing waits for, so that gaps between pieces are not heard.

    Threads:
        :meth:`render` belongs to the card's thread. Any thread may call the others. ``lane`` and ``gain`` are
        written by the owner.

    Attributes:
        lane: What is played; putting another in its place fades out what sounds and drops the rest.
        gain: Factor for every sample; a change takes effect over a block.
        sounding: Whether there is sound in the block made last; the card's.
    """

    def __init__(self, rate: int, prebuffer: float, gain: float = 1.0) -> None:
        self.rate = rate
        self.gain = gain
        self.lane = Lane(0)
        self.sounding = False
        self._fade = max(1, round(FADE * rate))
        self._prebuffer = round(prebuffer * rate)
        self._reel = Reel(self.lane, rate)
        self._envelope = 0.0  # of the frame made last
        self._gain = gain  # likewise
        self._waited = 0  # frames that audio has waited for more of it
        # The newest note has the number _noted - 1. A slot is replaced whole, after that the number goes up.
        self._notes: list[_Note | None] = [None] * _NOTES
        self._noted = 0

    # -- the card's thread ---

    def render(self, frames: int, at: float, span: float) -> NDArray[np.int16]:
        """Return the next frames, as many as there is sound for; silence follows.

        Args:
            frames: How many the device takes.
            at: When the first of them will be heard, on the monotonic clock.
            span: Seconds that all of them last; 0 where time stands still.
        """
        reel, lane = self._reel, self.lane
        start = reel.position
        if reel.lane is not lane:
            sound = self._end(reel, frames)
        elif self.sounding or self._may_start(reel, frames):
            sound = self._play(reel, frames)
        else:
            sound = reel.take(0)
        self._note(sound, frames, at, span, start)
        if reel.lane is not lane:
            reel.lane.cut_at = reel.position  # after the note: whoever sees it finds the truth
            self._reel = Reel(lane, self.rate)
            self._waited = 0
        return sound

    def _may_start(self, reel: Reel, frames: int) -> bool:
        queued = (reel.lane.written - reel.pulled) * self.rate // pcm.SAMPLE_RATE
        if not queued:
            self._waited = 0
            return False
        if reel.lane.finished or queued >= self._prebuffer or self._waited >= self._prebuffer:
            self._waited = 0
            return True
        self._waited += frames  # a short piece does not wait for ever
        return False

    def _play(self, reel: Reel, frames: int) -> NDArray[np.int16]:
        reel.fill(frames + self._fade)
        reel.complete(frames)
        left = reel.left
        sound = self._shape(reel.take(frames), left)
        self.sounding = sound.size == frames
        if not self.sounding:
            self._envelope = 0.0
            reel.lane.dry = reel.pulled
        return sound

    def _end(self, reel: Reel, frames: int) -> NDArray[np.int16]:
        """Fade out what sounds; another lane comes next."""
        length = min(self._fade, frames) if self.sounding else 0
        reel.fill(length)
        reel.complete(length)
        sound = reel.take(length)
        sound = self._shape(sound, sound.size)
        self.sounding = False
        self._envelope = 0.0
        return sound

    def _shape(self, sound: NDArray[np.int16], left: int | None) -> NDArray[np.int16]:
        """Apply the gain and the fades: in from where the envelope stands, out towards an end in sight."""
        size, step = sound.size, 1 / self._fade
        gain, self._gain = self._gain, self.gain
        whole = self._envelope >= 1 and (left is None or left - size >= self._fade)
        if not size or (whole and gain == self._gain == 1):
            return sound
        shape = np.minimum(1.0, self._envelope + step * np.arange(1, size + 1))
        if left is not None:
            steepest = max(step, self._envelope / left)  # an end nearer than a fade
            shape = np.minimum(shape, steepest * np.arange(left - 1, left - 1 - size, -1))
        self._envelope = float(shape[-1])
        shape *= np.linspace(gain, self._gain, size)
        shaped: NDArray[np.int16] = np.clip(np.rint(sound * shape), -32_768, 32_767).astype(np.int16)
        return shaped

    def _note(self, sound: NDArray[np.int16], frames: int, at: float, span: float, start: int) -> None:
        reel = self._reel
        number, end = self._noted, reel.position
        energy = float(np.dot(wide := sound.astype(np.float32), wide))
        level = 10 * math.log10(energy / frames / _FULL_SCALE**2) if energy else -math.inf
        sound_ended = at + span * sound.size / frames
        self._notes[number % _NOTES] = _Note(number, at, at + span, sound_ended, start, end, level)
        self._noted = number + 1
        openings = reel.lane.openings
        while openings and openings[0].first < end:
            entry = openings.popleft()
            entry.began = at + span * max(0, entry.first - start) * self.rate / pcm.SAMPLE_RATE / frames

    # -- any thread ---

    def position(self, now: float) -> int:
        """Return how far on the line the sound that is heard has come at a moment not long ago."""
        position = 0
        for note in self._newest():
            position = note.start
            if now >= note.sound_ended:
                return note.end
            if now >= note.began:
                done = (now - note.began) / (note.sound_ended - note.began)
                return note.start + int(done * (note.end - note.start))
        return position

    def due(self, frames: int) -> bool:
        """Tell whether a block would be all sound, the last one before an end, or the end itself.

        For a device whose time stands still while there is nothing to play; its own thread.
        """
        reel, lane = self._reel, self.lane
        if reel.lane is not lane:
            return True
        left = (lane.written - reel.position) * self.rate
        return left > 0 if lane.finished else left >= (frames + self._fade) * pcm.SAMPLE_RATE

    def reached(self) -> int:
        """Return how far on the line the device was given audio."""
        return next((note.end for note in self._newest()), 0)

    def loudest(self, since: float, until: float) -> float:
        """Return the level of the loudest block that was heard between two moments, in dBFS."""
        level = -math.inf
        for note in self._newest():
            if note.ended < since:
                break
            if note.began <= until:
                level = max(level, note.level)
        return level

    def _newest(self) -> Iterator[_Note]:
        """Yield the notes that are left, newest first."""
        noted = self._noted
        for number in range(noted - 1, max(-1, noted - 1 - _NOTES), -1):
            note = self._notes[number % _NOTES]
            if note is not None and note.number == number:  # else it was overwritten meanwhile
                yield note
