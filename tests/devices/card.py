"""A virtual sound card for tests: `.ci/sound` runs it, and each test gets sinks of its own on it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

__all__ = ["Card", "Recorder", "Sink", "environment"]

LIMIT = 15.0
_SCRIPT = Path(__file__).parents[2] / ".ci" / "sound"
_numbers = itertools.count(1)


def environment() -> dict[str, str]:
    """Return the variables that lead to the virtual sound card; skip the test where there is none."""
    pytest.importorskip("soxr", reason="needs the [audio] extra")
    if os.name != "posix" or shutil.which("pactl") is None:
        pytest.skip("no virtual sound card: PulseAudio is not installed")
    told = subprocess.run([_SCRIPT, "env"], capture_output=True, text=True, check=False, timeout=LIMIT)
    if told.returncode:
        pytest.skip(told.stderr.strip())
    return dict(pair.replace("'", "").split("=", 1) for pair in told.stdout.split()[1:])


class Recorder:
    """Records what is played into a sink, from the moment on when it is made."""

    def __init__(self, sink: str, rate: int) -> None:
        arguments = ["--raw", "--format=s16le", f"--rate={rate}", "--channels=1", "--latency-msec=10"]
        self._process = subprocess.Popen(["parec", "-d", f"{sink}.monitor", *arguments], stdout=subprocess.PIPE)
        self._rate = rate
        self._pieces: list[tuple[float, bytes]] = []
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()
        assert self._running.wait(LIMIT), "the sink gives no sound, not even silence"

    def _record(self) -> None:
        assert self._process.stdout
        while piece := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
            self._pieces.append((time.monotonic(), piece))
            self._running.set()

    @property
    def samples(self) -> NDArray[np.int16]:
        """What was recorded so far."""
        data = b"".join(piece for _, piece in self._pieces)
        return np.frombuffer(data, "<i2", len(data) // 2)

    def time_of(self, sample: int) -> float:
        """Return when a sample came, on the monotonic clock: not before that, and some milliseconds later at most."""
        count = 0
        for at, piece in self._pieces:
            count += len(piece) // 2
            if count > sample:
                return at - (count - sample) / self._rate
        raise IndexError(f"{sample} of {count} samples")

    def silent_since(self, floor: int = 20) -> float:
        """Return when the last sound came, on the monotonic clock."""
        return max((at for at, piece in self._pieces if np.abs(_samples(piece)).max(initial=0) > floor), default=0.0)

    def settle(self, begin: int = 0, pause: float = 0.15) -> NDArray[np.int16]:
        """Wait until there was sound and then a pause; return what was recorded from sample *begin* on."""
        end = time.monotonic() + LIMIT
        while True:
            assert time.monotonic() < end, "the sound did not come, or did not end"
            samples = self.samples[begin:]
            tail = samples[-round(pause * self._rate) :]
            if np.abs(samples.astype(np.int32)).max(initial=0) > 20 and np.abs(tail.astype(np.int32)).max() <= 20:
                return samples
            time.sleep(0.01)

    def stop(self) -> NDArray[np.int16]:
        """End the recording and return it."""
        self._process.terminate()
        self._thread.join(LIMIT)
        self._process.wait(LIMIT)
        if self._process.stdout:
            self._process.stdout.close()
        return self.samples


def _samples(piece: bytes) -> NDArray[np.int32]:
    return np.frombuffer(piece[: len(piece) // 2 * 2], "<i2").astype(np.int32)


class Sink:
    """A sink that leads nowhere; its monitor is a microphone."""

    def __init__(self, name: str, rate: int, channels: int) -> None:
        self.name = name
        self.rate = rate
        # norewinds: without it an idle sink swallows up to two seconds before it sounds.
        arguments = [f"sink_name={name}", f"rate={rate}", f"channels={channels}", "norewinds=1"]
        self._players: list[subprocess.Popen[bytes]] = []
        self._module: str | None = pactl("load-module", "module-null-sink", *arguments)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[Recorder]:
        """Record what is played into it."""
        recorder = Recorder(self.name, self.rate)
        try:
            yield recorder
        finally:
            recorder.stop()

    def play(self, samples: NDArray[np.int16]) -> subprocess.Popen[bytes]:
        """Begin to play into it, at its rate."""
        arguments = ["--raw", "--format=s16le", f"--rate={self.rate}", "--channels=1", "--latency-msec=100"]
        with tempfile.TemporaryFile() as source:
            source.write(samples.tobytes())
            source.seek(0)
            player = subprocess.Popen(["pacat", "-d", self.name, *arguments], stdin=source)
        self._players = [one for one in self._players if one.poll() is None] + [player]
        return player

    def unplug(self) -> None:
        """Take it away."""
        for player in self._players:
            player.kill()
            player.wait(LIMIT)
        self._players.clear()
        if self._module is not None:
            module, self._module = self._module, None
            pactl("unload-module", module)


class Card:
    """The virtual sound card of one test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._sinks: list[Sink] = []
        self._door: str | None = None
        self._home = os.environ["PULSE_SERVER"]

    def sink(self, rate: int = 48_000, channels: int = 2) -> Sink:
        """Make a sink."""
        sink = Sink(f"test{os.getpid()}n{next(_numbers)}", rate, channels)
        self._sinks.append(sink)
        return sink

    def speaker(self, rate: int = 48_000, channels: int = 2) -> Sink:
        """Make a sink, and let speakers opened from now on play into it."""
        sink = self.sink(rate, channels)
        self._monkeypatch.setenv("PULSE_SINK", sink.name)
        return sink

    def microphone(self, rate: int = 48_000, channels: int = 2) -> Sink:
        """Make a sink, and let microphones opened from now on hear what is played into it."""
        sink = self.sink(rate, channels)
        self._monkeypatch.setenv("PULSE_SOURCE", f"{sink.name}.monitor")
        return sink

    @contextlib.contextmanager
    def door(self) -> Iterator[None]:
        """Let devices opened within reach the sound server through a door of their own, which can be shut."""
        with tempfile.TemporaryDirectory() as place:
            socket = f"{place}/door"
            self._door = pactl("load-module", "module-native-protocol-unix", "auth-anonymous=1", f"socket={socket}")
            self._monkeypatch.setenv("PULSE_SERVER", f"unix:{socket}")
            try:
                yield
            finally:
                self.shut()
                self._monkeypatch.setenv("PULSE_SERVER", self._home)

    def shut(self) -> None:
        """Shut the door: to who came through it, the device is gone."""
        if self._door is not None:
            door, self._door = self._door, None
            pactl(f"--server={self._home}", "unload-module", door)

    def unplug(self) -> None:
        """Take everything away."""
        for sink in self._sinks:
            sink.unplug()


def pactl(*arguments: str) -> str:
    """Tell the sound server something, and return its answer."""
    run = subprocess.run(["pactl", *arguments], capture_output=True, text=True, check=True, timeout=LIMIT)
    return run.stdout.strip()
