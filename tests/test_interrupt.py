"""Ctrl-C: within 0.2 s everywhere, and an existing session stays usable."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest

from meshapi_rt import MeshAPIError, RealtimeSession

from .clock import Stopwatch
from .conftest import client_of
from .peers import LIMIT, Line, deaf, peer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one thread")


def echoing(line: Line) -> None:
    line.greet()
    line.send({"type": "x.echo", "got": line.read_event()})
    line.serve_until_close()


def interrupted(work: Callable[[], object], done: Callable[[], int] = lambda: 0) -> float:
    """Press Ctrl-C when *work* waits, as what it has *done* stays the same; return how long it went on after that."""
    watch = Stopwatch()

    def press() -> None:
        seen, end = -1, time.monotonic() + LIMIT
        while seen != (seen := done()) and time.monotonic() < end:
            threading.Event().wait(0.2)
        watch.start()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    timer = threading.Timer(0.2, press)
    with watch, pytest.raises(KeyboardInterrupt):
        timer.start()
        work()
    timer.join()
    return watch.took


CALLS: list[Callable[[RealtimeSession], object]] = [
    lambda session: session.receive(),
    lambda session: session.receive(timeout=LIMIT, cancel=threading.Event()),
    lambda session: list(session.events()),
    lambda session: session.events().messages.get(),
    lambda session: session.events().errors.get(),
    lambda session: session.wait_for("x.never"),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_wait_is_interrupted_and_the_session_goes_on(call: Callable[[RealtimeSession], object]) -> None:
    """The reader thread notices nothing."""
    with peer(echoing) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        assert interrupted(lambda: call(session)) < 0.2
        session.send({"type": "x.after"})
        assert session.wait_for("x.echo", timeout=LIMIT)


def test_connect_is_interrupted() -> None:
    """And leaves nothing open."""
    with peer(lambda line: line.stopping.wait(LIMIT)) as running:
        assert interrupted(lambda: client_of(running).realtime.connect(model="m")) < 0.2
        # The peer sees the end of the stream at once.
        running.lines[0].sock.settimeout(LIMIT)
        while running.lines[0].sock.recv(65536):
            pass


def test_send_is_interrupted() -> None:
    """In mid-frame the connection is over, and says so; nothing hangs."""
    with peer(deaf) as running:
        session = client_of(running).realtime.connect(model="m")
        event = {"type": "x", "pad": "x" * 1_000_000}
        assert interrupted(lambda: [session.send(event) for _ in range(100)], lambda: session.stats.frames_sent) < 0.5
        with pytest.raises(MeshAPIError):
            for _ in range(100):
                session.send({"type": "y"}, timeout=0.2)
        session.close()
