"""Microphones: blocks of audio, ready to be sent, one after the other."""

from __future__ import annotations

import abc
import math
import threading
import time
from collections.abc import Iterator

from .. import pcm
from ..waiting import Wait
from ..wire_format import format_named
from .blocks import Block, Blocks
from .capture import Chunk
from .closing import Closable

__all__ = ["BaseMicrophone"]


class BaseMicrophone(Closable):
    """What all microphones have in common; :class:`.Microphone` is a device, :class:`.FileMicrophone` a recording.

    Threads:
        One thread at a time reads. Any thread may call the others.
    """

    def __init__(self, rate: int, block_ms: float, format: str) -> None:  # noqa: A002 - the protocol's own word
        if not isinstance(block_ms, (int, float)) or not 1 <= block_ms <= 1000:
            raise ValueError(f"block_ms must be from 1 to 1000, not {block_ms!r}")
        self._rate = rate
        self._seconds = block_ms / 1000
        self._wire = format_named(format)
        # Guards _began, _closed, _muted and _paused; held while the device starts, never while reading.
        self._lock = threading.Lock()
        self._began = False
        self._closed = True  # until the device is open
        self._muted = False
        self._paused = False
        # The reader's:
        self._blocks = Blocks(rate, self._seconds, self._wire)
        self._expected: tuple[int, int] | None = None  # run and number of the frame that comes next
        self._block = Block(b"", -math.inf, -math.inf)  # read last

    def _opened(self) -> None:
        """Note that there is a device now that must be closed."""
        self._closed = False

    # -- what a kind of microphone does in its own way ---

    @abc.abstractmethod
    def _start(self) -> None:
        """Begin to listen; called once, under the lock."""

    @abc.abstractmethod
    def _stop(self) -> None:
        """Let go of the device and wake a waiting reader; called once."""

    @abc.abstractmethod
    def _hear(self, wait: Wait) -> Chunk | None:
        """Wait for the next chunk; ``None`` at the end."""

    @abc.abstractmethod
    def _pause(self, paused: bool) -> None:
        """Stop keeping what is heard, or go on."""

    @abc.abstractmethod
    def _mute(self, muted: bool) -> None:
        """Mark what is heard from now on."""

    @property
    @abc.abstractmethod
    def overruns(self) -> int:
        """How often audio was lost."""

    # -- listening ---

    def start(self) -> None:
        """Begin to listen now, rather than with the first :meth:`read`.

        Raises:
            DeviceError: The device does not start.
        """
        with self._lock:
            if not self._began and not self._closed:
                self._start()
                self._began = True

    def read(self, timeout: float | None = None, cancel: threading.Event | None = None) -> bytes:
        """Return the next block: 20 ms of 24 kHz mono PCM16 if nothing else was asked for.

        Args:
            timeout: Seconds to wait at most; ``None`` waits as long as it takes, 0 only looks.
            cancel: An event that ends the wait.

        Returns:
            The block; ``b""`` when the microphone is closed, in this thread or another, or the recording is over.

        Raises:
            TimedOut: Nothing came within *timeout*; for a paused microphone too.
            Cancelled: *cancel* was set.
            DeviceError: The device is gone. A session lives on; close this and open another.
        """
        wait = Wait(timeout, cancel)
        self.start()
        over = False
        while not self._closed:
            block = self._blocks.pop(self._muted)
            if block is not None:
                self._block = block
                return block.data
            if over:
                break
            chunk = self._hear(wait)
            over = chunk is None
            if chunk is None:
                self._blocks.flush(time.monotonic())
            else:
                self._take(chunk)
        return b""

    def _take(self, chunk: Chunk) -> None:
        if self._expected is not None and self._expected != (chunk.run, chunk.start):
            # Something is missing in between: what was begun before it ends there.
            self._blocks = Blocks(self._rate, self._seconds, self._wire)
        frames = len(chunk.sound)
        self._expected = chunk.run, chunk.start + frames
        self._blocks.add(pcm.to_mono(chunk.sound), chunk.began + frames / self._rate, chunk.muted)

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks until the microphone is closed or the recording is over."""
        while block := self.read():
            yield block

    # -- what it hears ---

    @property
    def level(self) -> float:
        """The level of what was heard in the block read last, in dBFS, also while muted; ``-inf`` is silence."""
        return self._block.level

    @property
    def captured_at(self) -> float:
        """When the end of the block read last was heard, on the clock of ``time.monotonic()``."""
        return self._block.ended

    @property
    def format(self) -> str:
        """What blocks are: ``audio/pcm`` (24 kHz PCM16), or G.711 of 8 kHz, ``audio/pcmu`` or ``audio/pcma``.

        Set it before the first :meth:`read`, or between two in the thread that reads; an unfinished block is lost.
        """
        return self._wire.name

    @format.setter  # noqa: A003 - the property above
    def format(self, name: str) -> None:
        wire = format_named(name)
        if wire is not self._wire:
            self._wire = wire
            self._blocks = Blocks(self._rate, self._seconds, wire)

    # -- mute and pause ---

    @property
    def mute(self) -> bool:
        """Whether blocks are silence, of the same length and at the same pace. What is said meanwhile is lost."""
        return self._muted

    @mute.setter
    def mute(self, muted: bool) -> None:
        with self._lock:
            self._muted = bool(muted)
            self._mute(self._muted)

    @property
    def paused(self) -> bool:
        """Whether there are no blocks at all."""
        return self._paused

    def pause(self) -> None:
        """Give no more blocks, until :meth:`resume`; what was heard before can still be read.

        A device stays open, and what is said meanwhile is lost; a recording waits.
        """
        with self._lock:
            self._paused = True
            self._pause(True)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        with self._lock:
            self._paused = False
            self._pause(False)

    # -- the end ---

    def close(self) -> None:
        """Let go of the device; a :meth:`read` that waits returns ``b""``. Safe to call twice, from any thread."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._stop()
