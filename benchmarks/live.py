"""Many sessions in one process: what they cost at real time, and what they hold while nothing happens."""

from __future__ import annotations

import gc
import math
import threading
import time

import numpy as np
from numpy.typing import NDArray

from . import wire
from .clients import Talk, connect
from .wire import Scenario

__all__ = ["Duplex", "idle"]

_UP = 960  # bytes: 20 ms of audio go up at a time,
_DOWN = 4800  # and 100 ms come down
_BEAT = 0.02  # seconds between the chunks of a session
_GROUPS = 10  # sessions send in so many groups, one after the other within a beat
_PATIENCE = 10  # seconds for the rest of a turn
_ENOUGH = 0.97  # of the messages that real time asks for; a process that manages less has no figure


class FellBehind(Exception):
    """The process did not keep up with real time, so its figures mean nothing."""


class _Ear:
    """Hears the deltas of one session on a thread of its own, as a user would.

    Attributes:
        late: Nanoseconds from the server's send to here, of each delta while *counting*.
        counting: Whether they are noted.
        missing: Deltas that are still to come.
        complete: All have come.
    """

    def __init__(self, talk: Talk, size: int) -> None:
        self._size = size
        self.late: list[int] = []
        self.counting = False
        self.missing = 0
        self.complete = threading.Event()
        self.wrong = 0
        threading.Thread(target=talk.listen, args=(self._heard,), daemon=True).start()

    def expect(self, number: int) -> None:
        self.late = []
        self.missing = number
        self.complete.clear()

    def _heard(self, event_id: str, size: int) -> None:
        now = time.monotonic_ns()
        self.wrong += size != self._size
        if self.counting:
            self.late.append(now - wire.sent_at(event_id))
        self.missing -= 1
        if not self.missing:
            self.complete.set()


class _Mouth:
    """Sends for some sessions from one thread, at real time."""

    def __init__(self, talks: list[Talk], delay: float = 0.0) -> None:
        self._delay = delay
        self._groups = [talks[at::_GROUPS] for at in range(min(_GROUPS, len(talks)))]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due, number, groups = time.monotonic() + self._delay, 0, len(self._groups)
        while not self._stop.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            audio = wire.chunk(_UP, number)
            for talk in self._groups[number % groups]:
                talk.send_audio(audio)
                self.sent += 1
            number += 1
            due += _BEAT / groups


class _Busy:
    """A thread that computes in pure Python."""

    def __init__(self) -> None:
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._thread.join()

    def _run(self) -> None:
        value = 1
        while not self._stop:
            value = value * 1_103_515_245 + 12_345 & 0x7FFFFFFF


def _memory() -> int:
    import psutil  # noqa: PLC0415 - the other tasks do without it

    gc.collect()
    return int(psutil.Process().memory_info().rss)


def _warm_up(client: str, url: str) -> None:
    """Pay once for what the first session of a process costs."""
    talk = connect(client, url, Scenario("flood", _DOWN, 20))
    talk.start()
    talk.drain([])
    talk.close()


class Duplex:
    """Sessions of one client that send and receive at real time while it is their turn, and are quiet between turns.

    Beside a *busy* thread nobody has to keep up with what is to be sent: how much of it went out is a figure, too.

    Args:
        client: Whose.
        url: Of the server.
        sessions: How many; all are open before the first turn.
        settle: Seconds at the beginning of a turn that are not counted.
        window: Seconds that are.
        busy: Compute on another thread meanwhile.
    """

    def __init__(
        self, client: str, url: str, *, sessions: int, settle: float, window: float, busy: bool = False
    ) -> None:
        _warm_up(client, url)
        _late_by(np.zeros(1))  # here, for numpy loads 2 MB for the first percentile, which are no session's
        self._name = f"busy_{sessions}" if busy else f"live_{sessions}"
        self._settle, self._window, self._busy = settle, window, busy
        self._deltas = math.ceil((settle + window) * 10) + 3  # some more: a turn begins and ends with all of them
        self._before = _memory()
        self._talks = [connect(client, url, Scenario("duplex", _DOWN, self._deltas)) for _ in range(sessions)]
        self._ears = [_Ear(talk, _DOWN) for talk in self._talks]

    def __call__(self) -> dict[str, float]:
        """Take a turn: CPU, lateness and memory; once more where it fell behind, for machines stall for a moment."""
        try:
            return self._turn()
        except FellBehind:
            return self._turn()

    def _turn(self) -> dict[str, float]:
        for talk, ear in zip(self._talks, self._ears, strict=True):
            ear.expect(self._deltas)
            talk.start()
        mouths = self._mouths()
        for mouth in mouths:
            mouth.start()
        computing = _Busy() if self._busy else None
        time.sleep(self._settle)
        cpu, took, sent = self._watch(mouths)
        if computing is not None:
            computing.stop()
        for mouth in mouths:
            mouth.stop()
        share = sent / (len(self._talks) * took / _BEAT)
        median, most = _late_by(self._late(took))
        if share < _ENOUGH and not self._busy:
            raise FellBehind(f"{share:.0%} of the chunks were sent in time")
        return {
            f"{self._name}_cpu": 100 * cpu / took,
            f"{self._name}_p50": median,
            f"{self._name}_p99": most,
            f"{self._name}_memory": (_memory() - self._before) / len(self._talks) / 1024,
            f"{self._name}_sent": 100 * share,
        }

    def _mouths(self) -> list[_Mouth]:
        """Return who sends. Where another thread computes, one could not keep up: for each send it waits 5 ms."""
        if not self._busy:
            return [_Mouth(self._talks)]
        return [_Mouth([talk], at * _BEAT / len(self._talks)) for at, talk in enumerate(self._talks)]

    def _watch(self, mouths: list[_Mouth]) -> tuple[float, float, int]:
        """Open the window; return seconds of CPU, seconds, and chunks that were sent."""
        sent, began, cpu = _sent(mouths), time.monotonic(), time.process_time()
        self._count(True)
        time.sleep(self._window)
        cpu, took, sent = time.process_time() - cpu, time.monotonic() - began, _sent(mouths) - sent
        self._count(False)
        return cpu, took, sent

    def _count(self, counting: bool) -> None:
        for ear in self._ears:
            ear.counting = counting

    def _late(self, took: float) -> NDArray[np.float64]:
        """Wait for the rest of what is to come, and check it; return how late each delta of the window was, in ms."""
        until = time.monotonic() + _PATIENCE
        missing = sum(ear.missing for ear in self._ears if not ear.complete.wait(max(0.0, until - time.monotonic())))
        if missing:
            raise FellBehind(f"{missing} deltas did not come")
        if any(ear.wrong for ear in self._ears):
            raise FellBehind("deltas had other sizes than they were sent with")
        late = np.concatenate([np.array(ear.late, np.int64) for ear in self._ears]) / 1e6
        wanted = len(self._ears) * (took * 10 - 1)  # each may be short of one that falls on the edge of the window
        if len(late) < _ENOUGH * wanted:
            raise FellBehind(f"{len(late)} of {wanted:.0f} deltas were heard in time")
        return late


def _late_by(late: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    return float(np.percentile(late, 50)), float(np.percentile(late, 99))


def _sent(mouths: list[_Mouth]) -> int:
    return sum(mouth.sent for mouth in mouths)


def idle(client: str, url: str, sessions: int, settle: float) -> dict[str, float]:
    """Memory and threads per open session in which nothing happens."""
    _warm_up(client, url)
    threads, before = threading.active_count(), _memory()
    talks = [connect(client, url, Scenario("idle")) for _ in range(sessions)]
    time.sleep(settle)
    held, more = _memory() - before, threading.active_count() - threads
    for talk in talks:
        talk.close()
    return {"idle_memory": held / sessions / 1024, "idle_threads": more / sessions}
