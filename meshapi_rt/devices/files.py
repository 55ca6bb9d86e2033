"""Recordings as microphone and speaker, so that everything runs without hardware: in real time or faster."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import audio_files, pcm
from ..errors import DeviceError, TimedOut
from ..waiting import Wait
from .capture import Chunk
from .microphone import BaseMicrophone
from .playback import Playback
from .speaker import BaseSpeaker, checked_gain, checked_prebuffer

__all__ = ["FileMicrophone", "FileSpeaker"]

Recording: TypeAlias = "str | os.PathLike[str] | BinaryIO | pcm.AudioLike"

_SPEAKER_BLOCK = 240  # frames, 10 ms
_numbers = itertools.count(1)


def _checked_speed(speed: float) -> float:
    if not isinstance(speed, (int, float)) or not speed > 0:
        raise ValueError(
            f"speed must be a factor above 0 (1 is real time, math.inf as fast as possible), not {speed!r}"
        )
    return float(speed)


def _load(recording: Recording) -> NDArray[np.int16]:
    if isinstance(recording, (str, os.PathLike)) or hasattr(recording, "read"):
        return audio_files.read(recording)  # type: ignore[arg-type]
    return np.array(pcm.as_int16(recording))


class FileMicrophone(BaseMicrophone):
    """A recording that is listened to as if it were spoken now.

    ```python
    with FileMicrophone("question.wav", tail=math.inf) as microphone:
        for block in microphone:
            session.send_audio(block)
    ```

    Args:
        recording: A file as :func:`.audio_files.read` takes it, or audio as :func:`.pcm.as_int16` takes it; ``None``
            for silence.
        speed: 2 is twice as fast as real time, ``math.inf`` gives blocks as fast as they are read.
        tail: Seconds of silence after the last sound: voice detection hears the end of a turn by them.
            ``math.inf`` goes on until :meth:`close`, as a microphone does.
        block_ms: Length of a block; the last one is filled up with silence.
        format: ``audio/pcmu`` or ``audio/pcma`` for blocks of G.711, 8 kHz.

    Raises:
        AudioFileError: The file cannot be read.
        AudioFormatError: The audio is none.
    """

    def __init__(
        self,
        recording: Recording | None = None,
        *,
        speed: float = 1.0,
        tail: float = 0.0,
        block_ms: float = 20,
        format: str = "audio/pcm",  # noqa: A002 - the protocol's own word
    ) -> None:
        super().__init__(pcm.SAMPLE_RATE, block_ms, format)
        if not isinstance(tail, (int, float)) or not tail >= 0:
            raise ValueError(f"tail must be a number of seconds, 0 or more, not {tail!r}")
        self._speed = _checked_speed(speed)
        self._tail = tail
        self._size = round(self._seconds * pcm.SAMPLE_RATE)
        # Guards what follows; waited on for the time of a block, and notified by everything that changes it.
        self._change = threading.Condition(threading.Lock())
        self._sounds: deque[NDArray[np.int16]] = deque()
        self._silence = tail  # seconds left of it
        self._given = 0  # samples
        self._due = 0.0  # when the next block is complete, on the monotonic clock
        if recording is not None:
            self.say(recording)
        self._opened()

    def __repr__(self) -> str:
        return "<FileMicrophone>"

    def say(self, recording: Recording) -> None:
        """Say something more, behind what is still to be said; the *tail* follows it. Any thread.

        Raises:
            AudioFileError: The file cannot be read.
            AudioFormatError: The audio is none.
        """
        samples = _load(recording)
        with self._change:
            if samples.size:
                self._sounds.append(samples)
            self._silence = self._tail

    @property
    def saying(self) -> float:
        """Seconds of sound that are still to be said, without the silence after it."""
        with self._change:
            return sum(sound.size for sound in self._sounds) / pcm.SAMPLE_RATE

    @property
    def overruns(self) -> int:
        """Always 0: a recording waits for its reader."""
        return 0

    def _start(self) -> None:
        self._due = time.monotonic() + self._seconds / self._speed

    def _stop(self) -> None:
        self._notify()

    def _pause(self, paused: bool) -> None:
        if not paused:
            with self._change:
                self._due = max(self._due, time.monotonic())
        self._notify()

    def _mute(self, muted: bool) -> None:
        pass  # the blocks themselves are silenced

    def _notify(self) -> None:
        with self._change:
            self._change.notify_all()

    def _hear(self, wait: Wait) -> Chunk | None:
        with self._change:
            while not self._closed:
                nap, now = wait.slice(), time.monotonic()
                early = math.inf if self._paused else self._due - now
                if early <= 0:
                    return self._next(now)
                if nap == 0:
                    raise TimedOut(f"the recording gave nothing within {wait.timeout:g} s")
                longest = early if nap is None else min(nap, early)
                self._change.wait(None if longest == math.inf else longest)
        return None

    def _next(self, now: float) -> Chunk | None:
        parts: list[NDArray[np.int16]] = []
        missing = self._size
        while missing and self._sounds:
            sound = self._sounds.popleft()
            parts.append(sound[:missing])
            if sound.size > missing:
                self._sounds.appendleft(sound[missing:])
            missing -= parts[-1].size
        if missing == self._size and self._silence <= 0:
            return None
        self._silence -= missing / pcm.SAMPLE_RATE
        parts.append(np.zeros(missing, np.int16))
        began = min(self._due, now) - self._seconds / self._speed
        self._due = self._due + self._seconds / self._speed if self._speed < math.inf else now
        start, self._given = self._given, self._given + self._size
        return Chunk(np.concatenate(parts), began, start, 0, self._muted)


class _Player:
    """The device of a :class:`FileSpeaker`: a thread that takes blocks at its own pace and records them.

    It knows nothing of the speaker, so that one that is forgotten can be collected.
    """

    def __init__(self, playback: Playback, speed: float, file: audio_files.WavWriter | None) -> None:
        self.playback = playback
        self.wake = threading.Event()
        self.problem: Exception | None = None
        self.recorded: list[NDArray[np.int16]] = []  # without a file; replaced or appended to, never changed
        self._span = _SPEAKER_BLOCK / playback.rate / speed
        self._file = file
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=f"meshapi-rt-speaker-{next(_numbers)}", daemon=True)

    def start(self) -> None:
        """Let time begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and complete the file."""
        self._ending = True
        self.wake.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        try:
            if self._span:
                self._in_time()
            else:
                self._at_once()
        except Exception as exc:  # noqa: BLE001 - told to the owner's next call
            self.problem = exc

    def _in_time(self) -> None:
        at = time.monotonic()
        while not self._ending:
            early = at - time.monotonic()
            if early > 0:
                self.wake.wait(early)
                self.wake.clear()
            else:
                sound = self.playback.render(_SPEAKER_BLOCK, at, self._span)
                self._record(np.concatenate((sound, np.zeros(_SPEAKER_BLOCK - sound.size, np.int16))))
                at += self._span

    def _at_once(self) -> None:
        while True:
            ending = self._ending  # what is queued takes no time: it is played before the end
            if ending:
                self.playback.lane.finished = True
            while self.playback.due(_SPEAKER_BLOCK):
                self._record(self.playback.render(_SPEAKER_BLOCK, time.monotonic(), 0.0))
            if ending:
                return
            self.wake.wait()
            self.wake.clear()

    def _record(self, sound: NDArray[np.int16]) -> None:
        if self._file is None:
            self.recorded.append(sound)
        else:
            self._file.write(sound)


class FileSpeaker(BaseSpeaker):
    """A speaker that is recorded instead of heard, with a clock of its own.

    What it records is what a listener would hear: silence while there is nothing to play, fades, gaps. As fast as
    possible there is no such silence, and the last 15 ms wait until more comes or :meth:`finish`, :meth:`drain` or
    :meth:`close` are called.

    Args:
        path: The WAV file to write; ``None`` keeps everything in memory, see :attr:`audio`.
        speed: 2 is twice as fast as real time, ``math.inf`` plays everything at once.
        prebuffer_ms: Audio that playing waits for; none as fast as possible.
        gain: Factor for every sample.

    Raises:
        AudioFileError: The file cannot be written.

    Threads:
        ``meshapi-rt-speaker-N`` is the device: from the first :meth:`write` or ``with`` until :meth:`close`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        speed: float = 1.0,
        prebuffer_ms: float = 150,
        gain: float = 1.0,
    ) -> None:
        speed = _checked_speed(speed)
        prebuffer = checked_prebuffer(prebuffer_ms) if speed < math.inf else 0.0
        playback = Playback(pcm.SAMPLE_RATE, prebuffer, checked_gain(gain))
        self._path = None if path is None else Path(path)
        self._player = _Player(playback, speed, None if path is None else audio_files.WavWriter(path))
        super().__init__(playback)

    def __repr__(self) -> str:
        return "<FileSpeaker>" if self._path is None else f"<FileSpeaker {str(self._path)!r}>"

    @property
    def audio(self) -> NDArray[np.int16]:
        """Everything recorded so far: 24 kHz mono, ``int16``, a copy; empty where a file is written."""
        parts = self._player.recorded[:]
        return np.concatenate(parts) if parts else np.empty(0, np.int16)

    @property
    def latency(self) -> float:
        """0: a block is heard when it is made."""
        return 0.0

    def _start(self) -> None:
        self._player.start()

    def _stop(self) -> None:
        self._player.stop()

    def _check(self) -> None:
        if self._player.problem is not None:
            raise DeviceError(f"{self!r} has failed: {self._player.problem}; close it") from self._player.problem

    def _wake(self) -> None:
        self._player.wake.set()
