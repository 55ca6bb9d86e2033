"""The matrix of ``close()``: every kind of peer, every moment, always in time and with nothing left."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from meshapi_rt import ConnectionLost, EventStream, MeshAPIError, RealtimeSession, SessionClosed

from .clock import Stopwatch
from .conftest import client_of, ours
from .peers import LIMIT, Line, Script, deaf, flooding, gone, orderly, peer, silent

PEERS = [orderly, silent, deaf, flooding, gone]


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def drain(session: RealtimeSession) -> None:
    while True:
        session.receive()


def arrived(stream: EventStream, count: int) -> None:
    """Wait until *count* messages are there, unread."""
    end = time.monotonic() + LIMIT
    while stream.messages.qsize() < count:
        assert time.monotonic() < end
        time.sleep(0.002)


def sockets_to(port: int) -> int:
    """Count this process's sockets to *port* that somebody holds a descriptor of."""
    return sum(1 for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port)


@pytest.mark.parametrize("script", PEERS)
def test_close_beside_a_blocked_receive(script: Script) -> None:
    """Both return within 1 s, whatever the peer does, and neither thread nor socket is left."""
    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m")
        receiver, raised = in_thread(lambda: drain(session))

        with Stopwatch() as watch:
            session.close()
            receiver.join(LIMIT)

        assert not receiver.is_alive()
        assert watch.took < 1.2
        assert isinstance(raised[0], (SessionClosed, ConnectionLost))
        assert session.closed
        assert not ours()
        assert not sockets_to(running.port)


@pytest.mark.parametrize("script", PEERS)
def test_close_beside_a_blocked_send(script: Script) -> None:
    """A send that a slow peer holds up ends when another thread closes."""
    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m")
        sender, raised = in_thread(lambda: [session.send({"type": "x", "pad": "x" * 10**7}) for _ in range(20)])
        sender.join(0.2)

        with Stopwatch() as watch:
            session.close()
            sender.join(LIMIT)

        assert not sender.is_alive()
        assert watch.took < 1.5
        assert not raised or isinstance(raised[0], MeshAPIError)
        assert not ours()
        assert not sockets_to(running.port)


def test_close_tells_the_server_code_and_reason() -> None:
    """The closing handshake carries what the caller gave."""
    seen: list[object] = []

    def listening(line: Line) -> None:
        line.greet()
        seen.append(line.serve_until_close())

    with peer(listening) as running:
        session = client_of(running).realtime.connect(model="m")
        session.close(3001, "enough")
    assert seen == [3001]
    assert (session.close_code, session.close_reason) == (3001, "enough")


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e12])
def test_close_without_a_limit(timeout: float | None) -> None:
    """An orderly server answers; nothing overflows."""
    with peer(orderly) as running:
        client = client_of(running)
        session = client.realtime.connect(model="m", close_timeout=1e12)
        session.receive(timeout=1e10)
        session.close(timeout=timeout)
        client.close(timeout=1e12 if timeout is None else timeout)
        assert not ours()


def test_close_twice_and_from_many_threads() -> None:
    """Any number of closes is one close; each returns in time."""
    with peer(silent) as running:
        session = client_of(running).realtime.connect(model="m")
        closers = [in_thread(session.close) for _ in range(8)]
        for closer, raised in closers:
            closer.join(LIMIT)
            assert not closer.is_alive()
            assert not raised
        with Stopwatch() as watch:
            session.close()
        assert watch.took < 0.1


def test_what_was_received_can_still_be_read() -> None:
    """Messages that arrived before close() are delivered before the end is told."""

    def talkative(line: Line) -> None:
        line.greet()
        line.send(*({"type": "x.n", "n": n} for n in range(50)), {"type": "x.last"})
        line.serve_until_close()

    with peer(talkative) as running:
        session = client_of(running).realtime.connect(model="m")
        stream = session.events()
        arrived(stream, 52)
        session.close()

        got = [message.type for message in session]

        assert got == ["session.created", *["x.n"] * 50, "x.last"]
        with pytest.raises(SessionClosed):
            session.receive()


def test_close_after_the_server_closed_keeps_the_servers_code() -> None:
    """The first ending counts."""

    def closing(line: Line) -> None:
        line.greet()
        line.send_close(1000, "bye")
        line.serve_until_close()

    with peer(closing) as running:
        session = client_of(running).realtime.connect(model="m")
        session.wait_for("session.created", timeout=LIMIT)
        with pytest.raises(SessionClosed, match="bye"):
            session.receive(timeout=LIMIT)
        session.close(3000)
        assert session.close_code == 1000


def test_send_after_close_raises_the_end() -> None:
    """A closed session takes nothing, and says that it is closed."""
    with peer(orderly) as running:
        session = client_of(running).realtime.connect(model="m")
        session.close()
        with pytest.raises(SessionClosed):
            session.send({"type": "response.create"})
        with pytest.raises(EOFError):
            session.send_audio(b"\0\0")


@pytest.mark.parametrize(("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (5000, ""), (1000, "ä" * 62)])
def test_close_refuses_what_may_not_go_on_the_wire(code: int, reason: str) -> None:
    """RFC 6455 7.4: a wrong code or reason is told before anything happens."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        with pytest.raises(ValueError, match="close"):
            session.close(code, reason)
        assert not session.closed


def test_with_closes_also_after_an_exception() -> None:
    """Leaving the block closes, whatever happened in it."""
    with peer(orderly) as running:
        with pytest.raises(ZeroDivisionError), client_of(running).realtime.connect(model="m") as session:
            _ = 1 / 0
        assert session.closed


def test_garbage_warns_and_closes() -> None:
    """A session that nobody holds is told and closed: the reader does not keep it alive."""
    with peer(silent) as running:
        session = client_of(running).realtime.connect(model="m")
        with pytest.warns(ResourceWarning, match="left open"):
            del session
            gc.collect()


def test_a_stream_keeps_its_session_alive() -> None:
    """A loop over the events of a session that nothing else names goes on."""

    def late(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send({"type": "x.late"})
        line.send_close(1000)
        line.serve_until_close()

    with peer(late) as running:
        session = client_of(running).realtime.connect(model="m")
        stream = session.events()
        session.send({"type": "x"})
        del session
        gc.collect()
        assert [message.type for message in stream] == ["session.created", "x.late"]


def test_client_close_closes_every_session_at_once() -> None:
    """Ten silent servers cost one timeout, not ten."""
    with peer(silent) as running:
        client = client_of(running)
        sessions = [client.realtime.connect(model="m") for _ in range(10)]
        assert set(client.sessions) == set(sessions)

        with Stopwatch() as watch:
            client.close()

        assert watch.took < 1.5
        assert all(session.closed for session in sessions)
        assert client.sessions == ()
        with pytest.raises(ValueError, match="closed"):
            client.realtime.connect(model="m")
