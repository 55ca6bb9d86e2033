"""The stopwatch of the other tests: what it counts, and what it leaves out."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from .clock import Stopwatch
from .faces import environment, finish, start


def test_waiting_counts_in_full() -> None:
    """Code that hangs cannot hide behind the machine."""
    for _ in range(20):
        with Stopwatch() as watch:
            time.sleep(0.2)
        assert watch.elapsed >= 0.2
        if watch.took >= 0.2:
            break  # else the machine did stand still

    assert watch.took >= 0.2


def test_working_counts_in_full() -> None:
    """Code that is slow cannot either."""
    with Stopwatch() as watch:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass

    assert watch.took > 0.15


def test_a_moment_in_another_thread() -> None:
    """Start() sets the watch back, wherever it is called."""
    with Stopwatch() as watch:
        time.sleep(0.3)
        starter = threading.Thread(target=watch.start)
        starter.start()
        starter.join()

    assert watch.took < 0.2


def test_no_metronome_outlives_its_block() -> None:
    """Nor does it where the block fails."""
    with pytest.raises(ZeroDivisionError), Stopwatch():
        raise ZeroDivisionError

    assert "metronome" not in [thread.name for thread in threading.enumerate()]


PROGRAM = """
import time
from tests.clock import Stopwatch

with Stopwatch() as watch:
    print("begins", flush=True)
    time.sleep(0.3)
print(watch.elapsed, watch.took)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be stopped there")
def test_a_pause_of_the_machine_is_left_out(tmp_path: Path) -> None:
    """Also where the wait would have ended in its midst."""
    program = start([sys.executable, "-c", PROGRAM], environment(), tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "begins\n"
    program.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    program.send_signal(signal.SIGCONT)
    code, out, err = finish(program)

    assert (code, err) == (0, "")
    elapsed, took = map(float, out.split())
    assert elapsed >= 1.0
    assert took < 0.5
