"""Consumers on threads of their own read in the reader's place: nobody notices, but by what is not waked in vain.

What else such consumers rely on, the files show that the Makefile names beside ``--aside``.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trustme

from meshapi_rt import ConnectionLost, MeshAPIError, RealtimeSession
from meshapi_rt.transport import WATCHES

from .clock import Stopwatch
from .conftest import client_of
from .peers import CLOSE, LIMIT, PING, PONG, TEXT, Line, frame, peer, plain
from .test_tls import serving, trusting

pytestmark = pytest.mark.skipif(not WATCHES, reason="nothing here can take the reader's place")


def echoing(line: Line, end: Callable[[Line], object] = Line.reset) -> None:
    """Answer each event with one, and pings with pongs; to a certain event, *end* it."""
    line.greet()
    while True:
        got = line.read_frame()
        if got.opcode == TEXT and got.event["type"] == "x.end":
            end(line)
        elif got.opcode == TEXT:
            line.send({"type": "x.echo"})
        elif got.opcode == PING:
            line.send_frame(PONG, got.payload)
        elif got.opcode == CLOSE:
            line.send_frame(CLOSE, got.payload)
            return


class Consumer:
    """Takes messages on a thread of its own, into a queue; how that ended comes last."""

    def __init__(self, session: RealtimeSession) -> None:
        self.stream = session.events()
        self.got: queue.Queue[object] = queue.Queue()
        self.thread = threading.Thread(target=self._consume, daemon=True)
        self.thread.start()
        assert self.next() == "session.created"
        for _ in range(3):  # the reader had the first of them: it was not asked before to give its place away
            session.send({"type": "x"})
            assert self.next() == "x.echo"

    def _consume(self) -> None:
        try:
            for message in self.stream:
                self.got.put(message.type)
            self.got.put(None)
        except BaseException as exc:
            self.got.put(exc)

    def next(self) -> object:
        return self.got.get(timeout=LIMIT)


def wakes_of_reader() -> int:
    """Return how often the only reader there is has been woken."""
    (reader,) = (thread for thread in threading.enumerate() if thread.name.startswith("meshapi-rt-reader-"))
    status = Path(f"/proc/self/task/{reader.native_id}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_the_reader_sleeps_while_a_consumer_waits() -> None:
    """A message wakes one thread."""

    def slowly(line: Line) -> None:
        for _ in range(50):
            line.send({"type": "x.n"})
            line.stopping.wait(0.02)  # in which the consumer comes back, mostly

    with peer(partial(echoing, end=slowly)) as running, client_of(running).realtime.connect(model="m") as session:
        consumer = Consumer(session)
        before = wakes_of_reader()
        session.send({"type": "x.end"})
        assert [consumer.next() for _ in range(50)] == ["x.n"] * 50
        assert wakes_of_reader() - before < 25


def test_the_reader_reads_on_while_the_consumer_is_away() -> None:
    """What comes then is taken in, pings are answered, and the consumer finds everything in order."""
    pong = threading.Event()

    def script(line: Line) -> None:
        line.greet()
        for _ in range(3):
            line.read_event()
            line.send({"type": "x.echo"})
        line.send(*({"type": "x.n", "n": n} for n in range(100)))
        line.send_frame(PING, b"there?")
        while line.read_frame().opcode != PONG:
            pass
        pong.set()
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        numbers: list[int] = []

        def consume() -> None:
            for message in session.events(timeout=LIMIT):
                if message.type == "x.echo":
                    session.send({"type": "x"})
                elif message.type == "x.n":
                    assert pong.wait(LIMIT)
                    numbers.append(plain(message)["n"])
                    if len(numbers) == 100:
                        return

        thread = threading.Thread(target=consume)
        thread.start()
        session.send({"type": "x"})
        thread.join(LIMIT)
        assert numbers == list(range(100))


def asks_for_it(session: RealtimeSession, _consumer: Consumer) -> None:
    session.send({"type": "x.end"})


def hang_up(line: Line) -> None:
    line.sock.shutdown(socket.SHUT_RDWR)


def bursting(*frames: bytes) -> Callable[[Line], None]:
    """Send frames and the end of the stream at once."""

    def burst(line: Line) -> None:
        line.sock.sendall(b"".join(frames))
        hang_up(line)

    return burst


LAST, GOODBYE = frame(TEXT, b'{"type":"x.last"}'), frame(CLOSE, b"\x03\xe8")
# Who ends it, how the server does, and the close code of what the loop raises; without one it ends quietly.
ENDS: dict[str, tuple[Callable[[RealtimeSession, Consumer], object], Callable[[Line], object], int | None]] = {
    "its stream is closed": (lambda _session, consumer: consumer.stream.close(), hang_up, None),
    "this side closes": (lambda session, _consumer: session.close(), hang_up, None),
    "the server closes": (asks_for_it, lambda line: line.send_close(1000), None),
    "the server goes away": (asks_for_it, lambda line: line.send_close(1001), 1001),
    "the line is reset": (asks_for_it, Line.reset, 1006),
    "the server hangs up": (asks_for_it, hang_up, 1006),
    "half a frame, then the end": (asks_for_it, bursting(frame(TEXT, b"x" * 99)[:50]), 1006),
    "a frame that is none": (asks_for_it, lambda line: line.send_frame(3), 1002),
    "no text, and never one": (asks_for_it, lambda line: line.sock.sendall(frame(TEXT, b"\xff" * 99)[:50]), 1007),
    "a message and a close": (asks_for_it, lambda line: line.sock.sendall(LAST + GOODBYE), None),
    "a message, a close and the end": (asks_for_it, bursting(LAST, GOODBYE), None),
    "a message behind the close": (asks_for_it, bursting(LAST, GOODBYE, LAST), None),
    "a violation, then the end": (asks_for_it, bursting(LAST, frame(3, b"")), 1002),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("busy", [False, True], ids=["waiting", "between two waits"])
def test_whatever_ends_the_wait_ends_it_at_once(name: str, busy: bool) -> None:
    """As it does where the reader has read, and with the same reason."""
    begin, end, code = ENDS[name]
    with peer(partial(echoing, end=end)) as running:
        session = client_of(running).realtime.connect(model="m", ping_interval=None)
        consumer = Consumer(session)
        if busy:
            session.send({"type": "x"})
        with Stopwatch() as watch:
            begin(session, consumer)
            while isinstance(last := consumer.next(), str):
                pass
        assert watch.took < 0.5
        assert getattr(last, "close_code", last) == code
        session.close()


def test_a_stream_that_is_closed_takes_no_more() -> None:
    """Not even of what waits already: that is for others."""
    with peer(partial(echoing, end=bursting(LAST * 10, GOODBYE))) as running:
        session = client_of(running).realtime.connect(model="m")
        Consumer(session).stream.close()
        taken: list[str | None] = []

        def consume() -> None:
            session.send({"type": "x.end"})
            with session.events() as stream:
                for message in stream:
                    taken.append(message.type)
                    until = time.monotonic() + LIMIT
                    while session.stats.unread_messages < 9 and time.monotonic() < until:
                        pass
                    stream.close()

        thread = threading.Thread(target=consume)
        thread.start()
        thread.join(LIMIT)
        assert taken == ["x.last"]
        assert [message.type for message in session.events(timeout=LIMIT)] == ["x.last"] * 9


def test_a_log_handler_may_close_the_session() -> None:
    """Wherever the line is logged, on the reader's thread or on a consumer's: nobody waits for himself."""
    with peer(echoing) as running:
        session = client_of(running).realtime.connect(model="m")
        consumer, took, once = Consumer(session), queue.Queue[float](), threading.Lock()

        class Closing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "x.echo" in record.getMessage() and once.acquire(False):
                    with Stopwatch() as watch:
                        session.close()
                    took.put(watch.took)

        handler = Closing(logging.DEBUG)
        logging.getLogger("meshapi_rt").addHandler(handler)
        try:
            session.send({"type": "x"})
            while isinstance(last := consumer.next(), str):
                pass
            assert last is None
            assert took.get(timeout=LIMIT) < 0.5
        finally:
            logging.getLogger("meshapi_rt").removeHandler(handler)
        session.close()


def test_a_wait_ends_with_its_time_and_its_cancel_event() -> None:
    """On a thread as on the main one, and messages that come later are there."""
    with peer(echoing) as running, client_of(running).realtime.connect(model="m") as session:
        Consumer(session).stream.close()
        cancel, raised = threading.Event(), []

        def wait() -> None:
            for limits in ({"timeout": 0.1}, {"timeout": 0}, {"timeout": LIMIT, "cancel": cancel}):
                try:
                    session.receive(**limits)
                except MeshAPIError as exc:
                    raised.append(type(exc).__name__)
            session.send({"type": "x"})
            raised.append(session.receive(timeout=LIMIT).type or "")

        thread = threading.Thread(target=wait)
        thread.start()
        threading.Timer(0.3, cancel.set).start()
        thread.join(LIMIT)
        assert raised == ["TimedOut", "TimedOut", "Cancelled", "x.echo"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_message_that_comes_in_pieces(secure: bool) -> None:
    """A consumer waits for the rest of it, too; control frames between fragments are no rest."""
    text = b'{"type":"x.long","pad":"' + bytes([0xC3, 0xA4]) * 4000 + b'"}'

    def script(line: Line) -> None:
        line.greet()
        for _ in range(3):
            line.read_event()
            line.send({"type": "x.echo"})
        fragments = frame(TEXT, text[:3000], first=TEXT) + frame(PING, b"") + frame(0, text[3000:])
        for whole in (frame(TEXT, text), fragments):
            for at in range(0, len(whole), 777):
                line.sock.sendall(whole[at : at + 777])
                line.stopping.wait(0.002)
        line.serve_until_close()

    authority = trustme.CA()
    settings = {"ssl_context": trusting(authority)} if secure else {}
    with peer(script, serving(authority.issue_cert("127.0.0.1")) if secure else None) as running:
        with client_of(running, **settings).realtime.connect(model="m") as session:
            consumer = Consumer(session)
            assert [consumer.next(), consumer.next()] == ["x.long", "x.long"]


def test_a_dead_line_is_found_while_a_consumer_reads() -> None:
    """The pings of the reader go on beside it."""
    quiet = threading.Event()

    def script(line: Line) -> None:
        line.greet()
        for _ in range(3):
            line.read_event()
            line.send({"type": "x.echo"})
        while not quiet.is_set():
            got = line.read_frame()
            if got.opcode == PING:
                line.send_frame(PONG, got.payload)
        line.stopping.wait(LIMIT)

    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m", ping_interval=0.05, ping_timeout=0.2)
        consumer = Consumer(session)
        while session.stats.frames_received < 10:  # pongs, so it lives
            assert consumer.got.empty()
            threading.Event().wait(0.05)
        quiet.set()
        end = consumer.next()
        assert isinstance(end, ConnectionLost)
        assert "ping" in str(end)


@pytest.mark.parametrize("away", [False, True], ids=["in the wait", "between waits"])
def test_a_thread_that_is_interrupted_takes_no_session_with_it_unsaid(away: bool) -> None:
    """An exception from outside comes at any step: the session goes on, or everybody is told that it does not."""
    with peer(echoing) as running:
        session = client_of(running).realtime.connect(model="m")
        consumer = Consumer(session)
        if away:
            session.send({"type": "x"})
        ident = ctypes.c_ulong(consumer.thread.ident or 0)
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit)) == 1
        session.send({"type": "x"})  # wakes it
        while isinstance(end := consumer.next(), str):
            pass
        assert isinstance(end, SystemExit)
        try:
            session.send({"type": "x"})
            while session.receive(timeout=LIMIT).type != "x.echo":
                pass
        except ConnectionLost as lost:
            assert "interrupted" in str(lost)
        session.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_the_parents_wait_alone() -> None:
    """The child closes what it inherits; the parent's consumer gets what comes."""
    with peer(echoing) as running, client_of(running).realtime.connect(model="m") as session:
        consumer = Consumer(session)
        child = os.fork()
        if not child:
            ended = session.closed
            consumer.stream.close()
            os._exit(0 if ended else 1)
        assert os.waitpid(child, 0)[1] == 0
        for _ in range(5):
            session.send({"type": "x"})
            assert consumer.next() == "x.echo"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of descriptors")
def test_nothing_is_left_open() -> None:
    """What the waits take is given back."""

    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    with peer(echoing) as running:
        with client_of(running).realtime.connect(model="m") as session:
            Consumer(session)
        before = descriptors()
        for _ in range(5):
            with client_of(running).realtime.connect(model="m") as session:
                Consumer(session)
        assert descriptors() <= before + 1  # a side of the peer that is not closed yet
