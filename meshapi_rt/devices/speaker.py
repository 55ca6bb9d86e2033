"""Speakers: what is written sounds in order, can be cut off, and is accounted for, item by item."""

from __future__ import annotations

import abc
import threading
import time

import numpy as np
from numpy.typing import NDArray

from .. import pcm
from ..errors import AudioFormatError, DeviceError, TimedOut
from ..waiting import Wait
from ..wire_format import FORMATS, WireFormat, format_named
from .closing import Closable
from .heard import Entry, Heard, Ledger
from .lane import Lane
from .playback import Playback

__all__ = ["BaseSpeaker"]

_POLL = 0.001  # seconds between two looks for the card's answer: it may not be made to take a lock
_ANSWER = 0.25  # seconds that the card has to answer; one that takes longer is dead
_DRAIN_POLL = 0.01  # seconds at most between two looks at how far the sound has come
_PCM = FORMATS["audio/pcm"]


class BaseSpeaker(Closable):
    """What all speakers have in common; :class:`.Speaker` is a sound device, :class:`.FileSpeaker` a recording.

    Threads:
        Any thread may call anything. Only :meth:`drain` waits for sound; :meth:`clear` waits for the device to take
        note of it, 250 ms at most, usually one block.

    Attributes:
        underruns: How often the audio of an item came too late, so that there was a gap in it.
        late: Seconds of audio that came for items which :meth:`clear` had cut off, and were not played.
    """

    def __init__(self, playback: Playback) -> None:
        self._playback = playback
        self._ledger = Ledger()
        # Guards _ledger, the owner's side of the lane and every attribute below but _clearing. Held for bookkeeping
        # only; the device's thread never takes it.
        self._lock = threading.Lock()
        # Lets one clear() at a time wait for the device.
        self._clearing = threading.Lock()
        self._cutting: Lane | None = None
        self._began = False
        self._closed = False
        self._stopped = False
        self._furthest = 0
        self.underruns = 0
        self.late = 0.0

    # -- what a kind of speaker does in its own way ---

    @abc.abstractmethod
    def _start(self) -> None:
        """Let the device run; called once, under the lock."""

    @abc.abstractmethod
    def _stop(self) -> None:
        """Let go of the device; called once."""

    @abc.abstractmethod
    def _check(self) -> None:
        """Raise a ``DeviceError`` if the device is broken."""

    def _wake(self) -> None:
        """Note that there is something new to play; for those that sleep while there is nothing to do."""

    @property
    @abc.abstractmethod
    def latency(self) -> float:
        """Seconds between handing samples to the device and hearing them."""

    # -- playing ---

    def start(self) -> None:
        """Let the device run now, rather than with the first :meth:`write`; it plays silence meanwhile.

        Raises:
            DeviceError: The device is closed or broken.
        """
        with self._lock:
            self._run()

    def write(
        self,
        audio: pcm.AudioLike,
        item_id: str | None = None,
        content_index: int = 0,
        *,
        format: str = "audio/pcm",  # noqa: A002 - the protocol's own word
    ) -> None:
        """Queue audio behind what is there already; never waits.

        Playing starts when the pre-buffer is full, when a short piece has waited as long as filling it takes, or
        when :meth:`finish` or :meth:`drain` say that nothing more is coming. Audio for an item that :meth:`clear`
        has cut off is dropped, and counted in ``late``. The queue has no bound: answers come faster than they sound.

        Args:
            audio: 24 kHz mono: PCM16 bytes, cut anywhere, as they come off the wire; or what
                :func:`.pcm.as_int16` takes.
            item_id: The conversation item that it belongs to, for :meth:`heard`.
            content_index: The part of that item.
            format: ``audio/pcmu`` or ``audio/pcma`` where *audio* is bytes of G.711, 8 kHz.

        Raises:
            DeviceError: The device is closed or broken. Nothing was queued.
            AudioFormatError: As :func:`.pcm.as_int16`. Nothing was queued.
            ConfigurationError: No such *format*.
        """
        wire = format_named(format)
        with self._lock:
            self._run()
            entry = self._ledger.entry(item_id, content_index)
            samples = _samples(audio, wire, entry)
            ticks = samples.size * (pcm.SAMPLE_RATE // wire.rate)
            if entry.closed:
                self.late += ticks / pcm.SAMPLE_RATE
            elif ticks:
                self._queue(entry, samples, wire.rate, ticks)
        self._wake()

    def _queue(self, entry: Entry, samples: NDArray[np.int16], rate: int, ticks: int) -> None:
        lane = self._playback.lane
        if lane.dry == lane.written and lane.last is entry and not lane.finished:
            self.underruns += 1
        lane.finished = False
        if not entry.total:
            entry.first = lane.written
            lane.openings.append(entry)
        entry.add(lane.written, lane.written + ticks)
        if lane.last is not entry:
            lane.last = entry
            position = self._position()
            lane.entries = [other for other in lane.entries if other.end > position and other is not entry] + [entry]
        lane.pieces.append((samples, rate))
        lane.written += ticks  # last: the device's thread takes it for what is queued

    def finish(self) -> None:
        """Say that nothing more comes for now: what is queued plays at once, and its end is no underrun.

        Raises:
            DeviceError: The device is closed or broken.
        """
        with self._lock:
            self._verify()
            self._playback.lane.finished = True
        self._wake()

    def clear(self) -> tuple[Heard, ...]:
        """Fall silent with a fade of 5 ms, drop what is queued, and tell what was heard.

        What the device holds already still sounds, and counts as heard; :attr:`latency` says how long that is.
        More audio for the items that were cut off is dropped from now on (items of id ``None`` go on).

        Returns:
            Every item that had not been heard to its end, or that more could have been written for (see
            :meth:`finish`), in the order of playing. A broken or closed device does not matter here.
        """
        with self._clearing:
            with self._lock:
                lane = self._playback.lane
                position = self._position()
                cut = [entry for entry in lane.entries if entry.end > position]
                if lane.last is not None and not lane.finished and lane.last not in cut:
                    cut.append(lane.last)
                for entry in cut:
                    entry.closed = entry.item_id is not None
                self._cutting = lane
                self._playback.lane = Lane(lane.written)
                running = self._began and not self._closed
            self._wake()
            deadline = time.monotonic() + (_ANSWER if running else 0)
            while lane.cut_at is None and time.monotonic() < deadline:
                time.sleep(_POLL)
            with self._lock:
                self._cutting = None
                at = self._playback.reached() if lane.cut_at is None else lane.cut_at
                for entry in cut:
                    entry.cut(at)
                return tuple(entry.heard(at) for entry in cut)

    def drain(self, timeout: float | None = None, cancel: threading.Event | None = None) -> None:
        """Wait until everything written so far was heard, or cut off; :meth:`finish` is done first.

        Args:
            timeout: Seconds to wait at most; ``None`` waits as long as it takes.
            cancel: An event that ends the wait.

        Raises:
            TimedOut: *timeout* passed; the audio goes on playing.
            Cancelled: *cancel* was set; likewise.
            DeviceError: The device is closed or broken.
        """
        wait = Wait(timeout, cancel)
        self.finish()
        lane = self._playback.lane
        end = lane.written
        while self._playback.lane is lane and self.position < end:
            nap = wait.slice()
            if nap == 0:
                left = (end - self.position) / pcm.SAMPLE_RATE
                raise TimedOut(f"{left:.2f} s of audio were still to be heard after {wait.timeout:g} s")
            time.sleep(min(_DRAIN_POLL, nap or _DRAIN_POLL))
            with self._lock:
                self._verify()

    # -- what is heard ---

    def heard(self, item_id: str | None, content_index: int = 0) -> Heard:
        """Tell how much of an item has been heard by now; nothing of an unknown one. Also after the end.

        The ten thousand items written last are remembered.
        """
        with self._lock:
            return self._ledger.heard(item_id, content_index, self._position())

    @property
    def position(self) -> int:
        """How far playing has come, in samples at 24 kHz, on the line of everything that was ever written."""
        with self._lock:
            return self._position()

    @property
    def queued(self) -> float:
        """Seconds of audio that were written and have not been heard."""
        with self._lock:
            return max(0, self._playback.lane.written - self._position()) / pcm.SAMPLE_RATE

    @property
    def playing(self) -> bool:
        """Whether something written is still to be heard."""
        return self.queued > 0

    @property
    def level(self) -> float:
        """The level of what is heard now, in dBFS; ``-inf`` is silence."""
        now = time.monotonic()
        return self._playback.loudest(now, now)

    def loudest(self, since: float, until: float | None = None) -> float:
        """Return the level of the loudest block heard between two moments, in dBFS: what an echo may consist of.

        Args:
            since: On the clock of ``time.monotonic()``; some seconds are remembered.
            until: Likewise; ``None`` is now.
        """
        return self._playback.loudest(since, time.monotonic() if until is None else until)

    @property
    def gain(self) -> float:
        """Factor for every sample, 1 at first; what gets too loud is clipped. A change is gradual."""
        return self._playback.gain

    @gain.setter
    def gain(self, factor: float) -> None:
        self._playback.gain = checked_gain(factor)

    # -- the end ---

    def close(self) -> None:
        """Let go of the device, at once; safe to call twice, and from any thread. See :meth:`drain`."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._stop()
            with self._lock:
                self._position()
                self._stopped = True

    # -- below ---

    def _position(self) -> int:
        assert self._lock.locked()
        if self._stopped:
            return self._furthest  # what the device still held was dropped
        position = self._playback.position(time.monotonic())
        # The line behind a cut was not heard; a clear() that still waits will note that.
        if self._cutting is not None and self._cutting.cut_at is not None:
            position = min(position, self._cutting.cut_at)
        self._furthest = max(self._furthest, position)  # the clocks of devices jitter
        return self._furthest

    def _run(self) -> None:
        assert self._lock.locked()
        self._verify()
        if not self._began:
            self._start()
            self._began = True

    def _verify(self) -> None:
        assert self._lock.locked()
        if self._closed:
            raise DeviceError(f"{self!r} is closed")
        self._check()


def checked_gain(factor: float) -> float:
    """Return a gain that can be used."""
    if not isinstance(factor, (int, float)) or not 0 <= factor <= 100:
        raise ValueError(f"gain must be a factor from 0 to 100, not {factor!r}")
    return float(factor)


def checked_prebuffer(ms: float) -> float:
    """Return a pre-buffer in seconds."""
    if not isinstance(ms, (int, float)) or not 0 <= ms <= 10_000:
        raise ValueError(f"prebuffer_ms must be from 0 to 10000, not {ms!r}")
    return ms / 1000


def _samples(audio: pcm.AudioLike, wire: WireFormat, entry: Entry) -> NDArray[np.int16]:
    """Return samples of our own: the caller may use the buffer again."""
    raw = isinstance(audio, (bytes, bytearray, memoryview))
    if wire is _PCM:
        return pcm.as_int16(entry.joiner.push(audio)) if raw else np.array(pcm.as_int16(audio))  # type: ignore[arg-type]
    if not raw:
        raise AudioFormatError(f"{wire.name} is bytes, and audio is of type {type(audio).__name__}")
    return wire.decode(audio)  # type: ignore[arg-type]
