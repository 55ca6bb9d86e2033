"""A stopwatch for upper bounds, which stands still while the machine does.

A virtual machine gets no processor for some tenths of a second now and then, whole or one of its processors. What
takes longer because of that is not slow.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time

from typing_extensions import Self

__all__ = ["Stopwatch"]

BEAT = 0.005  # seconds
LATE = 0.02  # seconds; some timers tick in 16 ms, and a busy thread hands over after 5 ms

Pause = tuple[float, float, float]  # when a beat was due, when it came, and the processor time since the one before


class Stopwatch:
    """Measures how long a block takes.

    ```python
    with Stopwatch() as watch:
        session.close()
    assert watch.took < 0.5
    ```

    On each processor a thread, the metronome, sleeps a beat at a time: one alone does not see that another processor
    stands still. Where it wakes late, and the process has not worked since the beat before, the machine did not let it
    run. What the code under test does counts in full: waiting leaves the metronomes alone, also when it hangs, and work
    is processor time. What waits and holds the interpreter's lock meanwhile would be missed. A pause that the machine
    charges to whoever ran, as some do, counts.

    Threads:
        The metronomes (daemons) end with the block, whatever ends it. Any thread may call :meth:`start`.
    """

    def __init__(self) -> None:
        self._began, self._ended = math.nan, math.inf
        self._pauses: list[list[Pause]] = []  # of each metronome, which alone adds to it
        self._metronomes: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for processor in _processors():
            pauses: list[Pause] = []
            metronome = threading.Thread(target=self._beat, args=(pauses,), name="metronome", daemon=True)
            metronome.start()
            _bind(metronome, processor)
            self._pauses.append(pauses)
            self._metronomes.append(metronome)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        for metronome in self._metronomes:
            metronome.join()  # within a beat; only it knows of a pause that just ended

    def start(self) -> None:
        """Measure from now on, where what matters begins in the midst of the block."""
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds that passed: for lower bounds, and for what goes by the clock itself."""
        return self._ended - self._began

    @property
    def stood_still(self) -> float:
        """Seconds of these in which the processor that was worst off let nobody run."""
        return max(sum(map(self._length, pauses)) for pauses in self._pauses)

    @property
    def took(self) -> float:
        """Seconds that passed while the machine ran: for upper bounds."""
        return self.elapsed - self.stood_still

    def _length(self, pause: Pause) -> float:
        due, woke, worked = pause
        return max(0.0, min(woke, self._ended) - max(due, self._began) - worked)

    def _beat(self, pauses: list[Pause]) -> None:
        while self._ended == math.inf:
            worked, due = time.process_time(), time.monotonic() + BEAT
            time.sleep(BEAT)
            woke = time.monotonic()
            if woke - due > LATE:
                pauses.append((due, woke, time.process_time() - worked))


def _processors() -> list[int]:
    """Return the numbers of those that a thread can be bound to, or some number where it cannot."""
    if sys.platform != "linux":
        return [0]
    return sorted(os.sched_getaffinity(0))


def _bind(thread: threading.Thread, processor: int) -> None:
    if sys.platform == "linux":
        assert thread.native_id
        os.sched_setaffinity(thread.native_id, {processor})
