"""Half duplex without headphones: what the microphone hears of the speaker does not reach the server.

How loud an echo is depends on the room and on two volume controls, so the gate learns it. A block is taken for an
echo as long as it is no louder than what is played would make it. Until the gate has heard a first half second of
what is played, all of it is an echo: nothing is known of the room, and nobody interrupts the first word of all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs
import numpy as np

from .. import pcm

__all__ = ["EchoGate", "Gate", "Loudest"]

Loudest: TypeAlias = Callable[[float, float], float]
"""The level of the loudest block that a speaker played between two moments (monotonic clock), in dBFS."""

_UNKNOWN_ECHO = 0.0  # dB: an echo as loud as what is played, where there was none to measure
_FIRST = 25  # blocks with which the gate makes itself familiar with a room: half a second, twice an echo's delay
_LEARNED_FROM = 100  # blocks: about two seconds of echo
_LOUDEST_SHARE = 0.9  # of them is not louder than an echo is taken for; a voice that sets in would shift the maximum
_STEP = 1.0  # dB that one block may lie above what is known: a voice that swells is not learned like a louder echo
_QUIET = -55.0  # dBFS; what is played below that makes no echo worth learning from
_CLOCKS = 0.03  # seconds that the clocks of two devices may disagree about


@attrs.frozen(kw_only=True)
class EchoGate:
    """How the gate judges.

    Attributes:
        margin: Decibels above the loudest echo of late that the user must reach to get through.
        floor: dBFS below which nothing gets through while something is played.
        onset: Blocks in a row, of 20 ms mostly, that must be so loud; they are held back for that long, not lost.
        tail: Seconds for which a room still sounds of what was played.
        hold: Seconds for which the gate stays open after the last loud block.
    """

    margin: float = 8.0
    floor: float = -50.0
    onset: int = 3
    tail: float = 0.25
    hold: float = 0.6


@attrs.frozen
class _Held:
    block: bytes
    level: float
    echo_of: float  # the level of what was played


class Gate:
    """Passes blocks on, silenced where they are an echo. Nothing is lost and the pace stays: a server counts samples.

    Args:
        rules: How it judges.
        loudest: What was played.

    Threads:
        One, the microphone's.

    Attributes:
        silenced: Blocks that were taken for an echo.
    """

    def __init__(self, rules: EchoGate, loudest: Loudest) -> None:
        self._rules = rules
        self._loudest = loudest
        self._learned: deque[float] = deque(maxlen=_LEARNED_FROM)
        self._unfamiliar = _FIRST  # blocks left
        self._held: deque[_Held] = deque()
        self._open_until = -math.inf
        self.silenced = 0

    @property
    def echo(self) -> float:
        """What an echo loses on its way, in dB, as far as it is known."""
        ranked = sorted(self._learned)
        return ranked[round((len(ranked) - 1) * _LOUDEST_SHARE)] if ranked else _UNKNOWN_ECHO

    def pass_on(self, block: bytes, ended: float) -> Iterator[bytes]:
        """Take a block of PCM16 that ended at a moment, and yield what is to be sent now.

        While something is played blocks come *onset* blocks later than otherwise.
        """
        seconds = len(block) / 2 / pcm.SAMPLE_RATE
        played = self._loudest(ended - seconds - self._rules.tail, ended + _CLOCKS)
        if played == -math.inf or ended < self._open_until:
            if played != -math.inf and self._is_loud(pcm.level(block), played):
                self._open_until = ended + self._rules.hold
            yield from self._release_echo()
            yield block
            return
        self._held.append(_Held(block, pcm.level(block), played))
        if len(self._held) >= self._rules.onset:
            if all(self._is_loud(held.level, held.echo_of) for held in self._held):
                self._open_until = ended + self._rules.hold
                while self._held:
                    yield self._held.popleft().block
            else:
                yield self._silence(self._held.popleft())

    def _is_loud(self, level: float, played: float) -> bool:
        if self._unfamiliar or level <= self._rules.floor:
            return False
        return level > played + self.echo + self._rules.margin

    def _release_echo(self) -> Iterator[bytes]:
        while self._held:
            yield self._silence(self._held.popleft())

    def _silence(self, held: _Held) -> bytes:
        if held.echo_of > _QUIET and not self._is_loud(held.level, held.echo_of):
            if held.level > -math.inf:  # else the microphone is muted
                self._learn(held.level - held.echo_of)
            self._unfamiliar = max(0, self._unfamiliar - 1)
        self.silenced += 1
        return np.zeros(len(held.block) // 2, np.int16).tobytes()

    def _learn(self, echo: float) -> None:
        self._learned.append(echo if self._unfamiliar else min(echo, self.echo + _STEP))
