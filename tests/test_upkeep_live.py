"""Keepalive, stats, forks and the interpreter's exit, over real sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from meshapi_rt import ConnectionLost, RealtimeError

from .clock import Stopwatch
from .conftest import client_of
from .peers import CLOSE, LIMIT, TEXT, Line, orderly, peer, plain, silent


class KeepaliveServer:
    """Say hello, answer every session.update, and count them."""

    def __init__(self, session_type: str = "realtime") -> None:
        self.updates: list[dict[str, object]] = []
        self.seen = threading.Semaphore(0)
        self.session_type = session_type

    def __call__(self, line: Line) -> None:
        line.upgrade()
        line.send({"type": "session.created", "session": {"id": "s", "type": self.session_type}})
        while True:
            got = line.read_frame()
            if got.opcode == CLOSE:
                line.send_frame(CLOSE, got.payload)
                return
            if got.opcode == TEXT and got.event["type"] == "session.update":
                self.updates.append(got.event)
                session = {"id": "s", **got.event["session"]}
                line.send({"type": "session.updated", "session": session}, {"type": "x.after"})
                self.seen.release()


@pytest.mark.parametrize("session_type", ["realtime", "transcription"])
def test_keepalive_keeps_the_session_and_is_not_shown(session_type: str) -> None:
    """A minimal session.update of the session's own type; its answer is kept back, what follows is not."""
    server = KeepaliveServer(session_type)
    with peer(server) as running:
        with client_of(running).realtime.connect(model="m", keepalive=0.1) as session:
            session.receive(timeout=LIMIT)
            for _ in range(3):
                assert server.seen.acquire(timeout=LIMIT)
            got = [session.receive(timeout=LIMIT).type for _ in range(3)]
        assert got == ["x.after"] * 3
    assert all(update["session"] == {"type": session_type} for update in server.updates)
    assert len({update["event_id"] for update in server.updates}) == len(server.updates)


def test_the_callers_own_update_is_shown() -> None:
    """Beside the keepalive's."""
    server = KeepaliveServer()
    with peer(server) as running:
        with client_of(running).realtime.connect(model="m", keepalive=0.1) as session:
            assert server.seen.acquire(timeout=LIMIT)
            session.send({"type": "session.update", "session": {"type": "realtime", "instructions": "mine"}})
            updated = session.wait_for("session.updated", timeout=LIMIT)
            assert plain(updated)["session"]["instructions"] == "mine"


def test_a_refusal_without_an_id_does_not_mix_the_answers_up() -> None:
    """protocol.md 1.9: some refusals echo no event id; the keepalive's answer stays hidden after one."""
    kept = threading.Event()

    def script(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send({"type": "error", "error": {"code": "invalid_value", "message": "no", "param": "session.reasoning"}})
        update = line.read_event()
        line.send({"type": "session.updated", "session": {"type": "realtime", "n": 1}}, {"type": "x.after"})
        assert update["session"] == {"type": "realtime"}
        kept.set()
        line.read_event()
        line.send({"type": "session.updated", "session": {"type": "realtime", "n": 2}})
        line.serve_until_close()

    with peer(script) as running:
        with client_of(running).realtime.connect(model="m", keepalive=0.3) as session:
            session.receive(timeout=LIMIT)
            session.send({"type": "session.update", "session": {"type": "realtime", "reasoning": {}}})
            with pytest.raises(RealtimeError):
                session.receive(timeout=LIMIT)
            assert session.receive(timeout=LIMIT).type == "x.after"
            assert kept.wait(LIMIT)
            session.send({"type": "session.update", "session": {"type": "realtime", "instructions": "x"}})
            updated = session.wait_for("session.updated", timeout=LIMIT)
            assert plain(updated)["session"]["n"] == 2


def test_events_of_the_caller_put_the_keepalive_off() -> None:
    """It is sent only after silence."""
    server = KeepaliveServer()
    with peer(server) as running:
        with client_of(running).realtime.connect(model="m", keepalive=0.5) as session:
            for _ in range(20):
                session.send({"type": "x"})
                threading.Event().wait(0.05)
            assert not server.updates


def test_keepalive_stops_for_a_forgotten_session_and_comes_back() -> None:
    """keepalive_for after the last use; a consumer that waits is use."""
    server = KeepaliveServer()
    with peer(server) as running:
        with client_of(running).realtime.connect(model="m", keepalive=0.1, keepalive_for=0.35) as session:
            session.receive(timeout=LIMIT)
            while server.seen.acquire(timeout=0.6):
                pass
            assert 1 <= len(server.updates) <= 6
            session.send({"type": "x.used"})
            assert server.seen.acquire(timeout=LIMIT)


def test_no_keepalive_where_none_is_wanted() -> None:
    """keepalive=None."""
    server = KeepaliveServer()
    with peer(server) as running:
        with client_of(running).realtime.connect(model="m", keepalive=None):
            assert not server.seen.acquire(timeout=0.3)


def test_stats_count() -> None:
    """Frames and bytes both ways, what is unread, times and the ping's round trip."""
    with peer(orderly) as running:
        began = time.time()
        with client_of(running).realtime.connect(model="m", ping_interval=0.05) as session:
            before = session.stats
            assert (before.unread_messages, before.unread_peak, before.stalls, before.reconnects) == (1, 1, 0, 0)
            assert before.unread_bytes > 100
            session.receive()
            session.send({"type": "x", "pad": "x" * 1000})
            end = time.monotonic() + LIMIT
            while session.stats.ping_round_trip is None and time.monotonic() < end:
                threading.Event().wait(0.01)
            after = session.stats
        assert after.frames_sent >= before.frames_sent + 2
        assert after.bytes_sent > before.bytes_sent + 1000
        assert after.frames_received > 1
        assert after.bytes_received > 100
        assert (after.unread_messages, after.unread_bytes, after.dropped_sends) == (0, 0, 0)
        assert 0 < (after.ping_round_trip or 0) < LIMIT
        for moment in (after.last_sent, after.last_received):
            assert moment is not None
            assert began - 1 < moment < time.time() + 1
        with pytest.raises(AttributeError):
            after.stalls = 5  # type: ignore[misc]


def forking(program: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run a program that forks; later Pythons warn of forks beside threads, which is the point here."""
    arguments = [sys.executable, "-W", "ignore", "-c", program, url]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_harms_nothing() -> None:
    """In the child calls raise and no byte goes out; the parent's session goes on."""
    program = """
import os, sys
from meshapi_rt import MeshAPI, ConnectionLost
session = MeshAPI("rsk_x", sys.argv[1]).realtime.connect(model="m")
session.receive()
stream = session.events()
child = os.fork()
if child == 0:
    failures = 0
    for call in (
        lambda: session.send({"type": "x.child"}), lambda: session.receive(timeout=5), lambda: list(session),
        lambda: (_ for _ in ()).throw(stream.errors.get(timeout=5)),
    ):
        try:
            call()
        except ConnectionLost as exc:
            failures += "another process" in str(exc)
    session.close()
    os._exit(0 if failures == 4 else 1)
assert os.waitpid(child, 0)[1] == 0
session.send({"type": "x.parent"})
print(session.receive(timeout=5).type, flush=True)
session.close()
"""
    got: list[str] = []

    def script(line: Line) -> None:
        line.greet()
        got.append(line.read_event()["type"])
        line.send({"type": "x.answer"})
        line.serve_until_close()

    with peer(script) as running:
        done = forking(program, running.url)
    assert done.stdout == "x.answer\n", done.stderr
    assert got == ["x.parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_fork_while_other_threads_use_the_session() -> None:
    """Locks that other threads held at the fork hold nobody up in the child."""
    program = """
import os, sys, threading
from meshapi_rt import MeshAPI, MeshAPIError
session = MeshAPI("rsk_x", sys.argv[1]).realtime.connect(model="m")
stop = threading.Event()
def busy():
    while not stop.is_set():
        session.send({"type": "x", "pad": "x" * 10000})
threads = [threading.Thread(target=busy, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        try:
            session.send({"type": "x"}, timeout=2)
        except MeshAPIError:
            session.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
session.close()
print("fine")
"""
    with peer(silent) as running:
        done = forking(program, running.url)
    assert done.stdout == "fine\n", done.stderr


def test_a_process_with_200_open_sessions_exits_at_once() -> None:
    """Whatever their threads are doing."""
    program = """
import sys
from meshapi_rt import MeshAPI
client = MeshAPI("rsk_x", sys.argv[1])
sessions = [client.realtime.connect(model="m") for _ in range(200)]
print("open", flush=True)
"""
    with peer(silent) as running:
        with subprocess.Popen([sys.executable, "-c", program, running.url], stdout=subprocess.PIPE, text=True) as done:
            assert done.stdout is not None
            assert done.stdout.readline() == "open\n"
            with Stopwatch() as watch:
                done.wait(timeout=LIMIT)
            assert watch.took < 2
            assert done.returncode == 0


def test_the_end_says_that_reconnect_exists() -> None:
    """Where it would have helped."""
    with peer(lambda line: line.greet()) as running:
        with client_of(running).realtime.connect(model="m") as session:
            with pytest.raises(ConnectionLost, match="reconnect=True"):
                list(session)
