"""The server's own life: arguments, start and stop, limits, faults it can play, and many clients at once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

import meshapi_rt.local
from meshapi_rt.errors import ConfigurationError
from meshapi_rt.local import Audio, LocalServer, Turn, run

from ..clock import Stopwatch
from .conftest import ServerFactory
from .plain import PATIENCE, Plain, audio_of, last, silence, speech, types_of


@pytest.mark.parametrize(
    "options",
    [
        {"host": ""},
        {"port": 70000},
        {"port": True},
        {"responder": "parrot"},
        {"token": ""},
        {"token": " x"},
        {"models": "openai/gpt-realtime"},
        {"models": [5]},
        {"idle_timeout": 0},
        {"idle_timeout": "60"},
        {"session_limit": -1},
        {"ping_interval": float("nan")},
        {"ping_timeout": float("inf")},
        {"ssl_context": "cert.pem"},
        {"binary_audio": 1},
        {"auth_failure": "close"},
        {"max_sessions": -1},
        {"record": None},
    ],
    ids=str,
)
def test_bad_arguments(options: dict[str, Any]) -> None:
    """Every argument is checked before anything is opened, and the error names it."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LocalServer(**options)


def test_token_shows_nowhere() -> None:
    """The token is in no repr and no error."""
    server = LocalServer(token="rsk_secret")
    assert "rsk_secret" not in repr(server) + repr(server._options)
    with pytest.raises(ConfigurationError) as caught:
        LocalServer(token=" rsk_secret")
    assert "rsk_secret" not in str(caught.value)


def test_without_the_extra() -> None:
    """Without websockets the door still opens; making a server says what to install."""
    program = """
import sys
sys.modules["websockets"] = None
from meshapi_rt.errors import MissingExtraError
from meshapi_rt.local import LocalServer
try:
    LocalServer()
except MissingExtraError as exc:
    print(exc)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert "pip install 'meshapi-rt[local]'" in shown.stdout


def test_exports() -> None:
    """Everything in ``__all__`` is there."""
    assert all(hasattr(meshapi_rt.local, name) for name in meshapi_rt.local.__all__)


def test_start_and_stop() -> None:
    """A server can be used without ``with``, stopped twice, and started again."""
    server = LocalServer()
    with pytest.raises(ConfigurationError, match="not running"):
        _ = server.url
    for _ in range(2):
        server.start()
        with pytest.raises(ConfigurationError, match="running already"):
            server.start()
        with Plain(server) as client:
            client.expect("session.created")
        server.stop()
        server.stop()
    assert server.connections_total == 2
    assert server.sessions == ()
    assert repr(server) == "<LocalServer, stopped>"


def test_address_in_use(server: LocalServer) -> None:
    """A port that is taken is a clear error, and the server can be started later."""
    other = LocalServer(port=server.port)
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        other.start()
    with pytest.raises(ConfigurationError, match="not running"):
        _ = other.port


def test_urls() -> None:
    """The URL is one that a client can use, also where the server listens on every address."""
    with LocalServer(host="0.0.0.0") as server:  # noqa: S104
        assert server.url == f"http://127.0.0.1:{server.port}"
    try:
        with LocalServer(host="::1") as server:
            assert server.url == f"http://[::1]:{server.port}"
    except ConfigurationError:
        pytest.skip("no IPv6 here")


def test_own_client(make_server: ServerFactory) -> None:
    """``server.client()`` has the URL and the token."""
    server = make_server(token="rsk_right")
    with server.client().realtime.connect(model="openai/gpt-realtime-mini") as session:
        assert session.receive(timeout=PATIENCE).type == "session.created"


def test_sessions(server: LocalServer) -> None:
    """Open sessions can be looked at from outside; closed ones are gone."""
    assert server.wait_idle(0)
    with Plain(server) as client:
        session = client.expect("session.created")["session"]
        client.say("Hello")
        (info,) = server.sessions
        assert (info.id, info.model) == (session["id"], "openai/gpt-realtime-mini")
        assert info.settings == session
        assert [(item.role, item.text) for item in info.items] == [("user", "Hello")]
        assert not server.wait_idle(0.01)
    assert server.wait_idle(PATIENCE)
    assert server.sessions == ()
    assert server.connections_total == 1


def test_transcript(server: LocalServer) -> None:
    """A recorded server shows what both sides sent, in order."""
    with Plain(server) as client:
        client.expect("session.created")
        client.ws.send("{")
        client.expect("error")
        client.ws.send(b"123")
        client.quiet()
    shown = [(record.sender, record.event and record.event["type"], record.size > 0) for record in server.transcript]
    assert shown == [
        ("server", "session.created", True),
        ("client", None, True),
        ("server", "error", True),
        ("client", None, True),
        ("client", "input_audio_buffer.clear", True),
        ("server", "input_audio_buffer.cleared", True),
    ]


def test_run_until_stopped() -> None:
    """``run`` serves until its server is stopped, or Ctrl-C."""
    started: list[LocalServer] = []

    def stop_soon(server: LocalServer) -> None:
        started.append(server)
        threading.Thread(target=server.stop).start()

    run(port=0, on_start=stop_soon)
    assert repr(started[0]) == "<LocalServer, stopped>"

    def interrupt(_: LocalServer) -> None:
        raise KeyboardInterrupt

    run(port=0, on_start=interrupt)


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "close_code"),
    [
        ({"idle_timeout": 0.1}, "idle_timeout", 1008),
        ({"session_limit": 0.1}, "session_duration_exceeded", 1008),
    ],
)
def test_limits(make_server: ServerFactory, options: dict[str, Any], code: str, close_code: int) -> None:
    """At its limit a session ends with a terminal error and a close."""
    with Plain(make_server(**options)) as client:
        events, seen = client.rest()

    assert types_of(events) == ["session.created", "error"]
    assert (events[-1]["error"]["code"], seen) == (code, close_code)


def test_frames_keep_a_session(make_server: ServerFactory) -> None:
    """The idle time counts from the client's last frame."""
    with Plain(make_server(idle_timeout=0.2)) as client:
        client.expect("session.created")
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            client.quiet()
            time.sleep(0.02)
        assert client.rest()[0][-1]["error"]["code"] == "idle_timeout"


def test_missing_heartbeats(make_server: ServerFactory) -> None:
    """A client that answers no pings ends with ``connection_timeout``."""
    from .raw import Raw

    with Raw(make_server(ping_interval=0.05, ping_timeout=0.1), "Authorization: Bearer k") as raw:
        assert raw.event()["type"] == "session.created"
        opcode, payload = raw.frame()
        while opcode == 9:
            opcode, payload = raw.frame()
        assert json.loads(payload)["error"]["code"] == "connection_timeout"
        assert raw.close_code() == 1011


def test_answered_pings_keep_a_session(make_server: ServerFactory) -> None:
    """Pings that are answered change nothing."""
    with Plain(make_server(ping_interval=0.01, ping_timeout=5)) as client:
        client.expect("session.created")
        for _ in range(20):
            client.quiet()
            time.sleep(0.005)


def test_drain(server: LocalServer) -> None:
    """Draining ends every session with ``service_draining``; new ones are taken."""
    with Plain(server) as first, Plain(server) as second:
        for client in (first, second):
            client.expect("session.created")
        server.drain()
        for client in (first, second):
            events, code = client.rest()
            assert (events[-1]["error"]["code"], code) == ("service_draining", 1011)
    with Plain(server) as third:
        third.expect("session.created")


def test_drop(server: LocalServer) -> None:
    """Dropping cuts the connection without a close frame."""
    with Plain(server) as client:
        client.expect("session.created")
        server.drop()
        assert client.rest() == ([], None)
    assert server.wait_idle(PATIENCE)


# -- stopping, and slow clients --------------------------------------------------------------------------


def flood(turn: Turn) -> Iterator[Audio]:
    """Speak for ever."""
    piece = Audio(speech(1.0), "la")
    while not turn.cancelled.is_set():
        yield piece


class Deaf:
    """A client that asks for an endless answer and reads nothing."""

    def __init__(self, server: LocalServer) -> None:
        from .raw import Raw

        self.raw = Raw(server, "Authorization: Bearer k")
        assert self.raw.event()["type"] == "session.created"
        payload = b'{"type": "response.create"}'
        self.raw.sock.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    def close(self) -> None:
        """Let go of the socket."""
        self.raw.__exit__(None, None, None)


def test_stop_whatever_clients_do() -> None:
    """``stop`` returns within 2 s beside clients that are orderly, silent, deaf or half connected."""
    server = LocalServer(responder=flood).start()
    deaf = Deaf(server)
    silent = socket.create_connection(("127.0.0.1", server.port))
    halting = threading.Event()
    with Plain(server) as client:
        client.expect("session.created")
        with Stopwatch() as watch:
            server.stop()
        assert client.rest()[1] == 1001
    halting.set()
    silent.close()
    deaf.close()
    assert watch.took < 2.0


def test_stop_beside_a_blocked_responder() -> None:
    """A responder that looks nowhere does not hold ``stop``; its thread ends when it does."""
    blocked, release = threading.Event(), threading.Event()

    def responder(_: Turn) -> str:
        blocked.set()
        release.wait(PATIENCE)
        return "too late"

    server = LocalServer(responder=responder).start()
    with Plain(server) as client:
        client.expect("session.created")
        client.send("response.create")
        assert blocked.wait(PATIENCE)
        with Stopwatch() as watch:
            server.stop()
        assert watch.took < 2.0
    release.set()


def test_deaf_client_holds_nobody(make_server: ServerFactory) -> None:
    """While one client reads nothing, its responder waits, and others are served."""
    yielded = [0]

    def responder(turn: Turn) -> Iterator[Any]:
        if turn.items:
            yield "Hello"
            return
        for piece in flood(turn):
            yielded[0] += 1
            yield piece

    server = make_server(responder=responder, record=False)
    deaf = Deaf(server)
    with Plain(server) as client:
        client.expect("session.created")
        client.say("Hi")
        for _ in range(20):
            assert (
                last(client.respond(output_modalities=["text"]), "response.done")["response"]["status"] == "completed"
            )
    # One second of audio is 64 kB of base64: 1 MiB in the outbox, the rest in the system's socket buffers.
    assert yielded[0] < 400
    deaf.close()
    assert server.wait_idle(PATIENCE)


def test_slow_reader_loses_nothing(make_server: ServerFactory) -> None:
    """A client that pauses in mid-answer, pinged meanwhile, gets every byte."""
    spoken = Audio(speech(60.0), "long")
    server = make_server(responder=lambda _: spoken, ping_interval=0.05, ping_timeout=10)
    with Plain(server, max_queue=1) as client:
        client.expect("session.created")
        client.send("response.create")
        client.expect("response.created")
        time.sleep(0.5)  # the pause is what is tested
        assert audio_of(client.until("rate_limits.updated")) == spoken.pcm.tobytes()


def test_a_hundred_sessions(make_server: ServerFactory) -> None:
    """A hundred clients hold a spoken turn each, at once, and each hears itself."""
    server = make_server(record=False)
    together = threading.Barrier(100, timeout=30)

    def talk(number: int) -> None:
        spoken = np.roll(speech(0.4), number)
        with Plain(server) as client:
            client.expect("session.created")
            together.wait()
            client.append(np.concatenate((spoken, silence(0.4))))
            events = client.until("rate_limits.updated")
            together.wait()
        assert spoken[2400:].tobytes() in audio_of(events)

    with ThreadPoolExecutor(100) as pool:
        for done in [pool.submit(talk, number) for number in range(100)]:
            done.result(PATIENCE * 4)
    assert server.connections_total == 100


def test_sessions_end_while_they_speak(server: LocalServer) -> None:
    """A client that leaves in mid-answer leaves no responder behind."""
    for _ in range(5):
        with Plain(server) as client:
            client.expect("session.created")
            client.say("one two three four five six seven eight nine ten")
            client.send("response.create")
            client.until("response.output_audio.delta")
    assert server.wait_idle(PATIENCE)


def test_failure_of_the_server_itself(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours ends the session with ``internal_error``, and is logged; others go on."""
    caplog.set_level("CRITICAL", "meshapi_rt")
    with Plain(server) as client, Plain(server) as other:
        client.expect("session.created")
        other.expect("session.created")
        with monkeypatch.context() as patch:
            patch.setattr("meshapi_rt.local.session.decode_base64", lambda *_: 1 / 0)
            client.send("input_audio_buffer.append", audio="AAAA")
            events, code = client.rest()
        other.quiet()

    assert (events[-1]["error"]["code"], code) == ("internal_error", 1011)


def test_exit_without_stop() -> None:
    """A program that forgets to stop its server ends at once."""
    program = "from meshapi_rt.local import LocalServer\nprint(LocalServer().start().url)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert shown.stdout.startswith("http://127.0.0.1:")
    assert not shown.stderr


def test_garbage_on_the_wire(server: LocalServer) -> None:
    """Bytes that are no HTTP, and frames that are no WebSocket, harm nobody."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        sock.recv(4096)
    with Plain(server) as client:
        client.expect("session.created")
        client.ws.socket.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ConnectionClosed):
            client.recv()
    with Plain(server) as client:
        client.expect("session.created")
