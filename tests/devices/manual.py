"""A speaker whose device is the test itself: blocks are made when it says so."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from meshapi_rt.devices import BaseSpeaker
from meshapi_rt.devices.playback import Playback

__all__ = ["ManualSpeaker"]


class ManualSpeaker(BaseSpeaker):
    """Plays blocks on demand; what was played counts as heard at once, or *delay* seconds later."""

    def __init__(self, rate: int = 24_000, *, prebuffer_ms: float = 0, delay: float = -1.0, block: int = 240) -> None:
        self.delay = delay
        self.block = block
        self.recorded: list[NDArray[np.int16]] = []
        super().__init__(Playback(rate, prebuffer_ms / 1000))

    @property
    def latency(self) -> float:
        """What was asked for."""
        return self.delay

    def play(self, blocks: int = 1, frames: int | None = None) -> NDArray[np.int16]:
        """Make some blocks and return what they hold, silence included."""
        made = []
        for _ in range(blocks):
            count = frames or self.block
            sound = self._playback.render(count, time.monotonic() + self.delay, count / self._playback.rate)
            made.append(np.concatenate((sound, np.zeros(count - sound.size, np.int16))))
        self.recorded += made
        return np.concatenate(made) if made else np.empty(0, np.int16)

    @property
    def audio(self) -> NDArray[np.int16]:
        """Everything played."""
        return np.concatenate(self.recorded)

    def _start(self) -> None:
        pass

    def _stop(self) -> None:
        pass

    def _check(self) -> None:
        pass

    def _wake(self) -> None:
        if self._cutting is not None:  # clear() waits for the device
            self.play()
