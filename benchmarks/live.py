"""Many sessions in one process: what they cost at real time, and what they hold while nothing happens."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np

from . import wire
from .clients import Talk, connect
from .wire import Scenario

__all__ = ["duplex", "idle"]

_UP = 960  # bytes: 20 ms of audio go up at a time,
_DOWN = 4800  # and 100 ms come down
_BEAT = 0.02  # seconds between the chunks of a session
_GROUPS = 10  # sessions send in so many groups, one after the other within a beat
_ENOUGH = 0.97  # of the messages that real time asks for; a process that manages less has no figure


class FellBehind(Exception):
    """The process did not keep up with real time, so its figures mean nothing."""


class _Ear:
    """Hears the deltas of one session on a thread of its own, as a user would."""

    def __init__(self, talk: Talk, size: int) -> None:
        self._size = size
        self.late: list[int] = []  # nanoseconds from the server's send to here
        self.counting = False
        self.wrong = 0
        threading.Thread(target=talk.listen, args=(self._heard,), daemon=True).start()

    def _heard(self, event_id: str, size: int) -> None:
        now = time.monotonic_ns()
        self.wrong += size != self._size
        if self.counting:
            self.late.append(now - wire.sent_at(event_id))


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


def duplex(
    client: str, url: str, *, sessions: int, settle: float, window: float, busy: bool = False
) -> dict[str, float]:
    """CPU, lateness and memory of sessions that send and receive at real time, all open before the window.

    Beside a *busy* thread nobody has to keep up with what is to be sent: how much of it went out is a figure, too.
    """
    _warm_up(client, url)
    before = _memory()
    talks = [connect(client, url, Scenario("duplex", _DOWN)) for _ in range(sessions)]
    ears = [_Ear(talk, _DOWN) for talk in talks]
    # Where another thread computes, one sender could not keep up: each time it gives up the GIL it waits for 5 ms.
    mouths = [_Mouth([talk], at * _BEAT / sessions) for at, talk in enumerate(talks)] if busy else [_Mouth(talks)]
    for mouth in mouths:
        mouth.start()
    computing = _Busy() if busy else None
    time.sleep(settle)
    sent, began, cpu = _sent(mouths), time.monotonic(), time.process_time()
    for ear in ears:
        ear.counting = True
    time.sleep(window)
    cpu, took, sent = time.process_time() - cpu, time.monotonic() - began, _sent(mouths) - sent
    for ear in ears:
        ear.counting = False
    late = np.concatenate([np.array(ear.late) for ear in ears]) / 1e6
    share = sent / (sessions * took / _BEAT)
    _check(ears, len(late), sessions * took)
    if share < _ENOUGH and not busy:
        raise FellBehind(f"{share:.0%} of the chunks were sent in time")
    if computing is not None:
        computing.stop()
    held = _memory() - before
    for mouth in mouths:
        mouth.stop()
    for talk in talks:
        talk.close()
    name = f"busy_{sessions}" if busy else f"live_{sessions}"
    return {
        f"{name}_cpu": 100 * cpu / took,
        f"{name}_p50": float(np.percentile(late, 50)),
        f"{name}_p99": float(np.percentile(late, 99)),
        f"{name}_memory": held / sessions / 1024,
        f"{name}_sent": 100 * share,
    }


def _sent(mouths: list[_Mouth]) -> int:
    return sum(mouth.sent for mouth in mouths)


def _check(ears: list[_Ear], heard: int, session_seconds: float) -> None:
    wanted = session_seconds * 10 - len(ears)  # each may be short of one that falls on the edge of the window
    if any(ear.wrong for ear in ears):
        raise FellBehind("deltas had other sizes than they were sent with")
    if heard < _ENOUGH * wanted:
        raise FellBehind(f"{heard} of {wanted:.0f} deltas were heard in time")


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
