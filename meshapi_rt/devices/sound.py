"""Microphone and speaker of this machine, through PortAudio."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError, TimedOut
from ..waiting import Wait
from .capture import Capture, Chunk
from .cards import DeviceId, choose, open_stream, remedy_for_silence
from .microphone import BaseMicrophone
from .playback import Playback
from .speaker import BaseSpeaker, checked_gain, checked_prebuffer

__all__ = ["Microphone", "Speaker"]

log = logging.getLogger("meshapi_rt")

_STALLED = 3.0  # seconds without a call: some systems say nothing when a device is unplugged
_MICROPHONE_BLOCK = 0.01  # seconds per call
_MICROPHONE_LATENCY = 0.1  # seconds that the device may hold when nobody comes for them; no delay otherwise
_LOOK = 0.25  # seconds between two looks at whether the device is still there
_DIGITAL_SILENCE = 3.0  # seconds of zeros, which no room gives
_CLOCKS = 64  # calls over which the clocks are compared; the quickest one is right
_BELIEVABLE = 5.0  # seconds between now and the sound; some systems tell nonsense, or nothing


class _Watch:
    """What the two callbacks have in common: they never raise, and somebody hears about it.

    Attributes:
        problem: What went wrong in a callback, or ``None``.
        ended: The device has stopped.
        called: When the device called last, on the monotonic clock; 0 before that.
        troubles: How often the device says that it was served too late.
    """

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.ended = False
        self.called = 0.0
        self.troubles = 0
        self._offsets: deque[float] = deque(maxlen=_CLOCKS)

    def end(self) -> None:
        """Take note of the end of the stream."""
        self.ended = True

    def moment(self, now: float, then: float, otherwise: float) -> float:
        """Translate a moment of the device's clock to the monotonic one.

        *now* is when the device says that it called. That call may have waited for the interpreter, so the
        smallest difference between the clocks is the true one.

        Args:
            now: The device's time of the call.
            then: The device's time of the moment.
            otherwise: Seconds between the two where the device does not tell.
        """
        self.called = time.monotonic()
        self._offsets.append(self.called - now)
        ahead = then - now
        if not (now and then and abs(ahead) < _BELIEVABLE):
            return self.called + otherwise
        return then + min(self._offsets)

    def check(self, name: str) -> None:
        """Raise a ``DeviceError`` if the device is broken."""
        if self.problem is not None:
            raise DeviceError(f"{name} failed in its callback: {self.problem!r}; close it") from self.problem
        if self.ended:
            raise DeviceError(f"{name} has stopped: it was unplugged or taken away; close it and open another")
        if self.called and time.monotonic() - self.called > _STALLED:
            raise DeviceError(f"{name} has been silent for {_STALLED:g} s: was it unplugged? Close it and open another")


class _Feed(_Watch):
    """The callback of a speaker."""

    def __init__(self, playback: Playback) -> None:
        super().__init__()
        self.playback = playback
        self.latency = 0.0

    def call(self, out: NDArray[np.int16], frames: int, times: Any, status: Any) -> None:
        """Fill a block."""
        try:
            if status:
                self.troubles += 1
            at = self.moment(times.currentTime, times.outputBufferDacTime, self.latency)
            sound = self.playback.render(frames, at, frames / self.playback.rate)
            out[: sound.size] = sound[:, None]
            out[sound.size :] = 0
        except Exception as exc:  # noqa: BLE001 - told to the owner's next call
            out.fill(0)
            self.problem = exc


class Speaker(BaseSpeaker):
    """A sound device that plays.

    ```python
    with Speaker() as speaker:
        for msg in session.events():
            if msg.audio:
                speaker.write(msg.audio, msg.get("item_id"))
            elif msg.type == "input_audio_buffer.speech_started":
                cut = speaker.clear()  # what was heard of each item
    ```

    Args:
        device: Its number, a part of its name, or ``None`` for the system's default.
        rate: Frames per second to open it with; ``None`` takes what it prefers.
        latency: Seconds of sound that it should hold. More survives a busier machine, and falls silent later.
        prebuffer_ms: Audio that playing waits for, so that gaps between pieces are not heard.
        gain: Factor for every sample.

    Raises:
        DeviceError: It cannot be found or opened; the message says what to do. While in use every call raises it
            once the device is gone, or was silent for three seconds; the session lives on.
        MissingExtraError: The ``[audio]`` extra is not installed.

    Attributes:
        dropouts: How often the device was served too late by this process; a gap was heard.
    """

    def __init__(
        self,
        device: DeviceId = None,
        *,
        rate: int | None = None,
        latency: float = 0.03,
        prebuffer_ms: float = 150,
        gain: float = 1.0,
    ) -> None:
        prebuffer, gain = checked_prebuffer(prebuffer_ms), checked_gain(gain)
        chosen = choose(device, "output")
        playback = Playback(rate or chosen.rate, prebuffer, gain)
        self._feed = feed = _Feed(playback)
        self._stream = open_stream(
            "output", chosen, playback.rate, block=0, latency=latency, callback=feed.call, finished=feed.end
        )
        feed.latency = self._stream.latency
        super().__init__(playback)

    def __repr__(self) -> str:
        return f"<Speaker {self._stream.device.name!r} at {self._playback.rate} Hz>"

    @property
    def latency(self) -> float:
        """Seconds between handing samples to the device and hearing them, as it says."""
        return self._stream.latency

    @property
    def dropouts(self) -> int:
        """How often the device was served too late by this process; a gap was heard."""
        return self._feed.troubles

    def _start(self) -> None:
        self._feed.called = time.monotonic()
        self._stream.start()

    def _stop(self) -> None:
        self._stream.close()

    def _check(self) -> None:
        self._feed.check(repr(self))


class _Ear(_Watch):
    """The callback of a microphone."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self.capture = capture
        self.latency = 0.0

    def call(self, sound: NDArray[np.int16], _frames: int, times: Any, status: Any) -> None:
        """Keep a block."""
        try:
            if status:
                self.troubles += 1
            began = self.moment(times.currentTime, times.inputBufferAdcTime, -self.latency)
            self.capture.put(sound.copy(), began)
        except Exception as exc:  # noqa: BLE001 - told to the owner's next call
            self.problem = exc
            self.capture.wake()

    def end(self) -> None:
        """Take note of the end of the stream, and let a waiting reader see it."""
        super().end()
        self.capture.wake()


class Microphone(BaseMicrophone):
    """A sound device that listens: an iterator of blocks of 24 kHz mono PCM16.

    ```python
    with Microphone() as microphone:
        for block in microphone:
            session.send_audio(block)
    ```

    Blocks are bytes, as they go over the wire: they don't change, can be kept and joined, and G.711 is the same.
    The device is opened at once, and listens from the first :meth:`read` or ``with`` on. It has a buffer of its own:
    a reader that is late gets all of it; one that is later than *buffer* seconds loses the oldest, see ``overruns``.

    Args:
        device: Its number, a part of its name, or ``None`` for the system's default.
        rate: Frames per second to open it with; ``None`` takes what it prefers. Blocks have 24 kHz in any case.
        block_ms: Length of a block.
        buffer: Seconds of audio that wait for a late reader.
        format: ``audio/pcmu`` or ``audio/pcma`` for blocks of G.711, 8 kHz.

    Raises:
        DeviceError: It cannot be found or opened; the message says what to do. While in use :meth:`read` raises it
            once the device is gone, or was silent for three seconds; the session lives on.
        MissingExtraError: The ``[audio]`` extra is not installed.
    """

    def __init__(
        self,
        device: DeviceId = None,
        rate: int | None = None,
        block_ms: float = 20,
        *,
        buffer: float = 10.0,
        format: str = "audio/pcm",  # noqa: A002 - the protocol's own word
    ) -> None:
        if not isinstance(buffer, (int, float)) or not 0 < buffer < math.inf:
            raise ValueError(f"buffer must be a number of seconds above 0, not {buffer!r}")
        chosen = choose(device, "input")
        rate = rate or chosen.rate
        super().__init__(rate, block_ms, format)
        self._name = f"<Microphone {chosen.name!r} at {rate} Hz>"
        self._zeros: int | None = 0  # frames of digital silence since the beginning; None once there was a sound
        self._ear = ear = _Ear(Capture(round(buffer * rate)))
        self._stream = open_stream(
            "input",
            chosen,
            rate,
            block=_MICROPHONE_BLOCK,
            latency=_MICROPHONE_LATENCY,
            callback=ear.call,
            finished=ear.end,
        )
        ear.latency = self._stream.latency
        self._opened()

    def __repr__(self) -> str:
        return self._name

    @property
    def overruns(self) -> int:
        """How often audio was lost: the reader was later than the buffer is long, or the device was not served."""
        return self._ear.capture.overruns + self._ear.troubles

    @property
    def lost(self) -> float:
        """Seconds of audio that were lost because the reader came too late."""
        return self._ear.capture.dropped / self._rate

    @property
    def waiting(self) -> float:
        """Seconds of audio that wait to be read."""
        return self._ear.capture.waiting / self._rate

    def _start(self) -> None:
        self._ear.called = time.monotonic()
        self._stream.start()

    def _stop(self) -> None:
        self._stream.close()
        self._ear.capture.wake()

    def _pause(self, paused: bool) -> None:
        self._ear.capture.paused = paused

    def _mute(self, muted: bool) -> None:
        self._ear.capture.muted = muted

    def _hear(self, wait: Wait) -> Chunk | None:
        while not self.closed:
            self._ear.check(self._name)
            nap = wait.slice()
            chunk = self._ear.capture.get(_LOOK if nap is None else min(nap, _LOOK))
            if chunk is not None:
                self._listen_for_silence(chunk)
                return chunk
            if nap == 0:
                raise TimedOut(f"{self._name} gave nothing within {wait.timeout:g} s")
        return None

    def _listen_for_silence(self, chunk: Chunk) -> None:
        """Say once in the log that a microphone is as good as absent: that is how some systems refuse it."""
        if self._zeros is None:
            return
        self._zeros = None if chunk.sound.any() else self._zeros + len(chunk.sound)
        if self._zeros is not None and self._zeros > _DIGITAL_SILENCE * self._rate:
            self._zeros = None
            log.warning(
                "%s gave nothing but zeros for %g s; if it should hear something: %s",
                self._name,
                _DIGITAL_SILENCE,
                remedy_for_silence(),
            )
