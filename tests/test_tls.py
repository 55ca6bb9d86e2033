"""TLS: one thread at a time inside OpenSSL, nothing corrupted or starved, and certificates that are told clearly."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from meshapi_rt import ConnectError, ConnectionLost, MeshAPI, RealtimeSession, SessionClosed
from meshapi_rt.transport.channel import TLSChannel
from meshapi_rt.transport.opening import default_context
from meshapi_rt.waiting import Deadline

from .conftest import TOKEN, client_of
from .flooder import VERSIONS, chunk_of, expected
from .peers import LIMIT, Line, gone, orderly, peer, plain
from .test_close import in_thread

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# -- one thread at a time ---


class Spy:
    """Stands before a socket's SSL object and counts calls that find another thread inside."""

    overlaps = 0
    calls = 0

    def __init__(self, inner: Any) -> None:
        vars(self).update(inner=inner, inside=0, guard=threading.Lock())

    def __setattr__(self, name: str, value: object) -> None:
        setattr(vars(self)["inner"], name, value)

    def __getattr__(self, name: str) -> Any:
        found = getattr(vars(self)["inner"], name)
        if not callable(found):
            return found

        def watched(*args: Any) -> Any:
            mine = vars(self)
            with mine["guard"]:
                Spy.calls += 1
                Spy.overlaps += mine["inside"] > 0
                mine["inside"] += 1
            try:
                return found(*args)
            finally:
                with mine["guard"]:
                    mine["inside"] -= 1

        return watched


class SpiedSocket(ssl.SSLSocket):
    """An SSLSocket whose SSL object is behind a spy."""

    @property
    def _sslobj(self) -> Any:
        return self.__dict__.get("spied")

    @_sslobj.setter
    def _sslobj(self, inner: Any) -> None:
        self.__dict__["spied"] = Spy(inner) if inner is not None and not isinstance(inner, Spy) else inner


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> type[Spy]:
    monkeypatch.setattr(Spy, "overlaps", 0)
    monkeypatch.setattr(Spy, "calls", 0)
    return Spy


def spied(context: ssl.SSLContext) -> ssl.SSLContext:
    context.sslsocket_class = SpiedSocket
    return context


def test_the_spy_catches_the_usual_use(authority: trustme.CA, spy: type[Spy]) -> None:
    """A blocking recv in one thread beside a send in another: the spy counts it."""

    def script(line: Line) -> None:
        line.sock.sendall(b"1")
        time.sleep(1.0)
        line.sock.sendall(b"2")  # lets the reader out; some versions of Python lock the writer out until then
        line.sock.recv(100)

    with peer(script, serving(authority.issue_cert("127.0.0.1"))) as running:
        plain = socket.create_connection(("127.0.0.1", running.port), timeout=LIMIT)
        with spied(trusting(authority)).wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.settimeout(None)
            assert sock.recv(1) == b"1"
            assert spy.overlaps == 0
            before = spy.calls
            reader, raised = in_thread(lambda: sock.recv(1))
            while spy.calls == before and reader.is_alive():
                reader.join(0.01)
            sock.send(b"x")
            reader.join(LIMIT)
            assert not raised
    assert spy.overlaps > 0


# -- both directions at full speed ---


class FloodingServer:
    """``flooder.py`` as a process."""

    def __init__(self, certificate: Path, version: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flooder", str(certificate), version],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"https://127.0.0.1:{int(self._process.stdout.readline())}"

    def report(self) -> Any:
        told, _ = self._process.communicate(timeout=2 * LIMIT)
        return json.loads(told)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def talk_at_full_speed(session: RealtimeSession, seconds: float) -> tuple[list[int], int, list[float]]:
    """Send from four threads while receiving; return what each sent, what came, and how long each send took."""
    stop = threading.Event()
    sent, took = [0] * 4, list[float]()

    def work(me: int) -> None:
        while not stop.is_set():
            chunk = chunk_of(me, sent[me])
            began = time.perf_counter()
            session.send_audio(chunk, timeout=LIMIT)
            took.append(time.perf_counter() - began)
            sent[me] += 1

    senders = [in_thread(lambda me=me: work(me)) for me in range(4)]  # type: ignore[misc]
    received, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        assert session.receive(timeout=LIMIT).audio == expected(received)
        received += 1
    stop.set()
    for thread, raised in senders:
        thread.join(LIMIT)
        assert not thread.is_alive()
        assert not raised
    return sent, received, sorted(took)


def flood(authority: trustme.CA, folder: Path, version: str, seconds: float) -> list[float]:
    """Run it, check every byte at both ends, and return the sorted durations of the sends."""
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    server = FloodingServer(certificate, version)
    try:
        client = MeshAPI(TOKEN, server.url, ssl_context=spied(trusting(authority)))
        with client.realtime.connect(model="m", close_timeout=LIMIT) as session:
            assert session.receive(timeout=LIMIT).type == "session.created"
            sent, received, took = talk_at_full_speed(session, seconds)
        report = server.report()
    finally:
        server.kill()
    assert report["got"] == sent
    assert report["sent"] >= received
    print(
        f"TLS {version}, {seconds:g} s: {received} messages received, {sum(sent)} chunks sent; send "
        f"p50 {took[len(took) // 2] * 1e3:.2f} p99 {took[len(took) * 99 // 100] * 1e3:.2f} max {took[-1] * 1e3:.1f} ms"
    )
    return took


@pytest.mark.parametrize("version", list(VERSIONS))
def test_both_directions_at_once(authority: trustme.CA, tmp_path: Path, spy: type[Spy], version: str) -> None:
    """Four senders and a flooding server: never two threads inside OpenSSL, every byte right, nobody starves."""
    took = flood(authority, tmp_path, version, 1.5)
    assert spy.calls > 100
    assert spy.overlaps == 0
    assert took[len(took) * 99 // 100] < 0.5  # on a busy machine; the soak holds it to 50 ms


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", list(VERSIONS))
def test_both_directions_for_long(authority: trustme.CA, tmp_path: Path, spy: type[Spy], version: str) -> None:
    """The same for 30 s, and 99 of 100 sends of 100 ms of audio return within 50 ms."""
    took = flood(authority, tmp_path, version, 30)
    assert spy.overlaps == 0
    assert took[len(took) * 99 // 100] < 0.05


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_that_found_no_room_are_not_forgotten(authority: trustme.CA, version: str) -> None:
    """OpenSSL holds them where no poll sees them, so a read that filled its view has not taken everything."""
    ours_end, theirs = socket.socketpair()
    server, client = serving(authority.issue_cert("localhost")), trusting(authority)
    server.minimum_version = server.maximum_version = VERSIONS[version]
    lines: list[ssl.SSLSocket] = []
    accepting, raised = in_thread(lambda: lines.append(server.wrap_socket(theirs, server_side=True)))
    channel = TLSChannel(client.wrap_socket(ours_end, server_hostname="localhost"))
    accepting.join(LIMIT)
    assert not raised

    def read(room: int) -> int:
        view, deadline = memoryview(bytearray(room)), Deadline(LIMIT)
        while (got := channel.read_into(view)) is None and deadline.left():
            channel.reading.wait(deadline.left())
        assert got is not None
        return got

    with lines[0] as line:
        line.sendall(b"x" * 10)
        assert (read(100), channel.drained) == (10, True)
        line.sendall(b"y" * 1000)
        assert (read(400), channel.drained) == (400, False)
        assert (read(1000), channel.drained) == (600, True)
        channel.close()


# -- certificates ---


def refusal(server: ssl.SSLContext, context: ssl.SSLContext | None) -> str:
    """Connect to a server with *server*'s certificate; return the one sentence."""
    with peer(orderly, server) as running, pytest.raises(ConnectError) as caught:
        client_of(running, ssl_context=context).realtime.connect(model="m")
    told = str(caught.value)
    assert "\n" not in told
    assert "127.0.0.1" in told
    return told


def test_a_certificate_of_another_host(authority: trustme.CA) -> None:
    assert "check the host" in refusal(serving(authority.issue_cert("other.example")), trusting(authority))


def test_a_certificate_of_an_unknown_authority(authority: trustme.CA) -> None:
    told = refusal(serving(trustme.CA().issue_cert("127.0.0.1")), trusting(authority))
    assert "SSL_CERT_FILE" in told
    assert "ssl_context" in told


def test_an_expired_certificate(authority: trustme.CA) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    expired = authority.issue_cert("127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=90))
    told = refusal(serving(expired), trusting(authority))
    assert "expired" in told
    assert "clock" in told


def test_a_self_signed_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    own = trustme.CA()
    own.cert_pem.write_to_path(str(tmp_path / "own.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "own.key"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")
    told = refusal(server, trusting(authority))
    assert "self" in told
    assert "SSL_CERT_FILE" in told


@pytest.fixture
def no_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let OpenSSL look for the system's authorities where nothing is."""
    if sys.platform == "win32":
        pytest.skip("authorities come from the system's store there")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))


@pytest.mark.usefixtures("no_authorities")
def test_without_authorities_certifis_are_used(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is installed."""
    authority.cert_pem.write_to_path(str(tmp_path / "cacert.pem"))
    certifi = types.ModuleType("certifi")
    vars(certifi)["where"] = lambda: str(tmp_path / "cacert.pem")
    monkeypatch.setitem(sys.modules, "certifi", certifi)
    with peer(orderly, serving(authority.issue_cert("127.0.0.1"))) as running:
        client_of(running).realtime.connect(model="m").close()


@pytest.mark.usefixtures("no_authorities")
def test_without_authorities_and_certifi_the_error_says_so(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both remedies."""
    monkeypatch.setitem(sys.modules, "certifi", None)
    told = refusal(serving(authority.issue_cert("127.0.0.1")), None)
    assert "found no certificate authorities" in told
    assert "pip install certifi" in told
    assert "SSL_CERT_FILE" in told


def test_the_systems_authorities_are_not_added_to(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names an authority trusts that one, not certifi's too."""
    if sys.platform == "win32":
        pytest.skip("authorities come from the system's store there")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nothing"))
    assert default_context().cert_store_stats()["x509_ca"] == 1


@pytest.mark.usefixtures("no_authorities")
def test_folders_of_authorities_are_not_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where SSL_CERT_DIR names several, as OpenSSL allows."""
    (tmp_path / "authorities").mkdir()
    (tmp_path / "authorities" / "one.pem").touch()
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join([str(tmp_path / "nothing"), str(tmp_path / "authorities")]))
    assert default_context().cert_store_stats()["x509_ca"] == 0


# -- versions ---


def test_tls_1_2_at_least() -> None:
    assert default_context().minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_old_server_is_refused(authority: trustme.CA) -> None:
    """TLS 1.1: the sentence says what is wanted."""
    server = serving(authority.issue_cert("127.0.0.1"))
    try:
        server.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server.minimum_version = ssl.TLSVersion.TLSv1
            server.maximum_version = ssl.TLSVersion.TLSv1_1
    except (ValueError, ssl.SSLError):
        pytest.skip("this OpenSSL cannot play an old server")
    assert "TLS 1.2" in refusal(server, trusting(authority))


def test_the_sessions_of_a_client_share_one_context(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made once, when it is first needed."""
    made = []

    def counted(*args: Any, **settings: Any) -> ssl.SSLContext:
        made.append(context := trusting(authority))
        return context

    with peer(orderly, serving(authority.issue_cert("127.0.0.1"))) as running:
        client = client_of(running)
        monkeypatch.setattr("meshapi_rt.transport.opening.default_context", counted)
        for _ in range(3):
            client.realtime.connect(model="m").close()
    assert len(made) == 1


# -- how TLS ends, and what it does in between ---


def end_of(script: Callable[[Line], object], authority: trustme.CA, version: str) -> Exception:
    server = serving(authority.issue_cert("127.0.0.1"))
    server.minimum_version = server.maximum_version = VERSIONS[version]
    with peer(script, server) as running:
        session = client_of(running, ssl_context=trusting(authority)).realtime.connect(model="m")
        assert session.receive(timeout=LIMIT).type == "session.created"
        with pytest.raises((SessionClosed, ConnectionLost)) as caught:
            session.receive(timeout=LIMIT)
        return caught.value


def unwrapped(line: Line) -> None:
    """Say hello, then end TLS in good order, but without a close frame."""
    line.greet()
    assert isinstance(line.sock, ssl.SSLSocket)
    with contextlib.suppress(OSError):
        line.sock.unwrap()


def closed_and_unwrapped(line: Line) -> None:
    """Say hello, close the WebSocket, then TLS."""
    line.greet()
    line.send_close(1000, "bye")
    line.serve_until_close()
    assert isinstance(line.sock, ssl.SSLSocket)
    with contextlib.suppress(OSError):
        line.sock.unwrap()


def garbled(line: Line) -> None:
    """Say hello, then write something that is no TLS record."""
    line.greet()
    socket.socket.send(line.sock, b"\x17\x03\x03\x00\x20" + b"x" * 32)
    line.stopping.wait(LIMIT)


@pytest.mark.parametrize("version", list(VERSIONS))
@pytest.mark.parametrize("script", [unwrapped, gone, garbled])
def test_an_end_without_a_close_frame(script: Callable[[Line], object], authority: trustme.CA, version: str) -> None:
    """A close_notify, a bare end of TCP, a damaged record: ConnectionLost."""
    end = end_of(script, authority, version)
    assert isinstance(end, ConnectionLost)
    assert end.close_code == 1006


@pytest.mark.parametrize("version", list(VERSIONS))
def test_a_close_frame_before_the_close_notify(authority: trustme.CA, version: str) -> None:
    """A proper end."""
    assert isinstance(end_of(closed_and_unwrapped, authority, version), SessionClosed)


def update_keys(sock: ssl.SSLSocket) -> None:
    """Let a TLS 1.3 server change its keys and ask for the same (RFC 8446 4.6.3); the ssl module cannot."""
    import _ssl

    if sys.platform != "linux" or sys.implementation.name != "cpython":
        pytest.skip("reaches into CPython's SSL object")
    library = ctypes.CDLL(_ssl.__file__)
    try:
        version, update = library.SSL_version, library.SSL_key_update
    except AttributeError:
        pytest.skip("OpenSSL's functions cannot be found")
    inner = sock._sslobj  # type: ignore[attr-defined]
    # PyObject head, then the Python socket, then SSL *.
    pointer = ctypes.c_void_p.from_address(id(inner) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p))
    assert version(pointer) == 0x304
    assert update(pointer, 1) == 1


def test_key_updates_while_both_sides_talk(authority: trustme.CA, spy: type[Spy]) -> None:
    """A server that changes keys and asks the client to: nothing is lost, nobody waits."""
    problems: list[BaseException] = []
    count = 200

    def script(line: Line) -> None:
        line.greet()
        assert isinstance(line.sock, ssl.SSLSocket)
        for n in range(count):
            assert line.read_event()["n"] == n
            if n % 10 == 0:
                try:
                    update_keys(line.sock)
                except BaseException as exc:
                    problems.append(exc)
                    return
            line.send({"type": "x.n", "n": n, "pad": "x" * 20_000})
        line.serve_until_close()

    with peer(script, serving(authority.issue_cert("127.0.0.1"))) as running:
        client = client_of(running, ssl_context=spied(trusting(authority)))
        with client.realtime.connect(model="m") as session:
            sender, raised = in_thread(
                lambda: [session.send({"type": "x", "n": n, "pad": "y" * 20_000}) for n in range(count)]
            )
            session.receive(timeout=LIMIT)
            got = []
            with contextlib.suppress(ConnectionLost):
                got = [plain(session.receive(timeout=LIMIT))["n"] for _ in range(count)]
            sender.join(LIMIT)
    for problem in problems:
        raise problem
    assert got == list(range(count))
    assert not raised
    assert spy.overlaps == 0
