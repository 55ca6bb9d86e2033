"""HTTP proxies: by argument and from the environment, with credentials, refusing, dead, dripping."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from meshapi_rt import ConnectError, MeshAPI

from .clock import Stopwatch
from .conftest import TOKEN
from .peers import LIMIT, Line, Peer, orderly, peer


class Tunnel:
    """A proxy that takes CONNECT and passes bytes both ways to *target*, whatever the name asked for."""

    def __init__(self, target: Peer, credentials: str | None = None) -> None:
        self._target = target
        self._credentials = credentials
        self.asked: list[str] = []

    def __call__(self, line: Line) -> None:
        request = line.read_request()
        self.asked.append(request.split("\r\n")[0])
        wanted = self._credentials and "Basic " + base64.b64encode(self._credentials.encode()).decode()
        if wanted and line.header("Proxy-Authorization") != [wanted]:
            line.sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self._target.port), timeout=LIMIT) as upstream:
            line.sock.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
            back = threading.Thread(target=_copy, args=(upstream, line.sock), daemon=True)
            back.start()
            _copy(line.sock, upstream)
            back.join(LIMIT)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def talk(client: MeshAPI) -> None:
    with client.realtime.connect(model="m", timeout=LIMIT) as session:
        assert session.receive(timeout=LIMIT).type == "session.created"


@pytest.mark.parametrize("user", ["", "user:secret@", "us%40er:se%3Acret@"])
def test_by_argument(user: str) -> None:
    """With and without credentials, which may be percent-encoded."""
    credentials = user.rstrip("@").replace("%40", "@").replace("%3A", ":") or None
    with peer(orderly) as target:
        tunnel = Tunnel(target, credentials)
        with peer(tunnel) as proxy:
            talk(MeshAPI(TOKEN, target.url, proxy=f"http://{user}127.0.0.1:{proxy.port}"))
            assert tunnel.asked == [f"CONNECT 127.0.0.1:{target.port} HTTP/1.1"]
            assert TOKEN not in proxy.lines[0].request


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_from_the_environment(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved by the proxy; NO_PROXY and proxy=False leave it out."""
    with peer(orderly) as target:
        tunnel = Tunnel(target)
        with peer(tunnel) as proxy:
            monkeypatch.setenv("http_proxy", form.format(proxy.port))
            talk(MeshAPI(TOKEN, "http://some.host.invalid", allow_insecure=True))
            assert tunnel.asked == ["CONNECT some.host.invalid:80 HTTP/1.1"]
            talk(MeshAPI(TOKEN, target.url))  # loopback needs no proxy
            monkeypatch.setenv("no_proxy", ".host.invalid")
            for settings in ({}, {"proxy": False}):
                client = MeshAPI(TOKEN, "http://some.host.invalid", allow_insecure=True, **settings)  # type: ignore[arg-type]
                with pytest.raises(ConnectError, match="cannot be resolved"):
                    client.realtime.connect(model="m")
            assert len(tunnel.asked) == 1


def test_tls_goes_through_the_tunnel() -> None:
    """The proxy sees ciphertext only, and the certificate is checked against the server's name."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("some.host.invalid").configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with peer(orderly, server) as target, peer(Tunnel(target)) as proxy:
        proxy_url = f"http://127.0.0.1:{proxy.port}"
        talk(MeshAPI(TOKEN, "https://some.host.invalid", proxy=proxy_url, ssl_context=trust))
        with pytest.raises(ConnectError, match="certificate"):
            talk(MeshAPI(TOKEN, "https://another.invalid", proxy=proxy_url, ssl_context=trust))


def drip(line: Line) -> None:
    line.read_request()
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
        line.sock.sendall(bytes([byte]))
        if line.stopping.wait(0.02):
            return


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (lambda line: line.refuse("407 Proxy Authentication Required"), r"407.*user:password"),
        (lambda line: line.refuse("403 Forbidden"), "refused a tunnel.*403"),
        (lambda line: line.refuse("502 Bad Gateway", b"no such host"), "refused a tunnel.*502"),
        (lambda line: line.sock.sendall(b"SSH-2.0\r\n\r\n"), "does not speak HTTP"),
        (Line.read_request, "proxy"),
        (drip, "time ran out while waiting for the proxy"),
        (lambda line: line.stopping.wait(LIMIT), "time ran out while waiting for the proxy"),
    ],
)
def test_a_proxy_that_does_not_help(script: Callable[[Line], Any], says: str) -> None:
    """One sentence each, within the deadline, and no password in it."""
    with peer(script) as proxy:
        client = MeshAPI(TOKEN, "http://127.0.0.1:9", proxy=f"http://user:pa55word@127.0.0.1:{proxy.port}")
        with Stopwatch() as watch, pytest.raises(ConnectError) as caught:
            client.realtime.connect(model="m", timeout=0.5)
        assert watch.took < 1
        assert re.search(says, str(caught.value))
        assert "pa55word" not in f"{caught.value} {client!r}"


@pytest.mark.parametrize("given", ["http://user:pa55/word@127.0.0.1:80", "user:pa55#word@127.0.0.1"])
def test_a_password_that_is_not_escaped(given: str) -> None:
    """What breaks the proxy's URL in two is told, and not shown."""
    with pytest.raises(ValueError, match="% escapes") as caught:
        MeshAPI(TOKEN, "http://127.0.0.1:9", proxy=given).realtime.connect(model="m")
    assert "pa55" not in str(caught.value)


def test_a_dead_proxy() -> None:
    """It is named as the proxy, not as the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match=f"the proxy 127.0.0.1:{port}"):
        MeshAPI(TOKEN, "https://host.invalid", proxy=f"127.0.0.1:{port}").realtime.connect(model="m")
