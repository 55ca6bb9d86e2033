"""Servers of our own for tests: raw sockets on loopback that follow a script, well-behaved or not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs

from meshapi_rt import RealtimeMessage

LIMIT = 15.0  # seconds; no wait in a test is longer
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

HELLO = {
    "type": "session.created",
    "event_id": "event_1",
    "session": {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "gpt-realtime-mini"},
}


def plain(message: RealtimeMessage) -> dict[str, Any]:
    """Return a message's event without its type: for events and fields that no protocol knows."""
    return cast("dict[str, Any]", message.event or {})


def frame(opcode: int, payload: bytes, *, first: int | None = None) -> bytes:
    """Return a server's frame; *first* replaces its first byte."""
    head = bytes([0x80 | opcode if first is None else first])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + struct.pack("!BH", 126, len(payload)) + payload
    return head + struct.pack("!BQ", 127, len(payload)) + payload


@attrs.frozen
class ClientFrame:
    opcode: int
    payload: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.payload)


class Line:
    """The peer's side of one connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        sock.settimeout(LIMIT)
        self.stopping = stopping  # set when the test is done with the peer
        self.sock = sock
        self._buffer = bytearray()
        self.request = ""

    def read_request(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            more = self.sock.recv(4096)
            if not more:
                raise EOFError
            self._buffer += more
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        self.request = head.decode("latin-1")
        return self.request

    def header(self, name: str) -> list[str]:
        lines = [line.partition(":") for line in self.request.split("\r\n")[1:]]
        return [value.strip() for key, _, value in lines if key.lower() == name.lower()]

    def answer_101(self, *extra: str) -> bytes:
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        key = self.header("Sec-WebSocket-Key")[0]
        accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()  # noqa: S324
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", *extra, "", ""]).encode()

    def upgrade(self, *extra: str) -> None:
        self.read_request()
        self.sock.sendall(self.answer_101(*extra))

    def greet(self, *extra: str) -> None:
        """Shake hands and send ``session.created``."""
        self.upgrade(*extra)
        self.send(HELLO)

    def refuse(self, status: str, body: bytes = b"", *headers: str) -> None:
        self.read_request()
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        self.sock.sendall("\r\n".join(head).encode() + body)

    def send(self, *events: dict[str, Any]) -> None:
        self.sock.sendall(b"".join(frame(TEXT, json.dumps(event).encode()) for event in events))

    def send_frame(self, opcode: int, payload: bytes = b"", *, first: int | None = None) -> None:
        self.sock.sendall(frame(opcode, payload, first=first))

    def send_close(self, code: int, reason: str = "") -> None:
        self.send_frame(CLOSE, struct.pack("!H", code) + reason.encode())

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self._buffer += more
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def read_frame(self) -> ClientFrame:
        """Read one frame; ``EOFError`` at the end of the stream."""
        first, second = self._exactly(2)
        assert second & 0x80, "a client must mask"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        key, data = self._exactly(4), self._exactly(length)
        mask = int.from_bytes((key * (length // 4 + 1))[:length], "big")
        return ClientFrame(first & 0x0F, (int.from_bytes(data, "big") ^ mask).to_bytes(length, "big"))

    def read_event(self) -> Any:
        """Read frames until an event; pings are answered."""
        while True:
            got = self.read_frame()
            if got.opcode == TEXT:
                return got.event
            if got.opcode == PING:
                self.send_frame(PONG, got.payload)

    def serve_until_close(self) -> int | None:
        """Answer pings and the closing handshake; return the client's close code, ``None`` at a bare end."""
        try:
            while True:
                got = self.read_frame()
                if got.opcode == PING:
                    self.send_frame(PONG, got.payload)
                elif got.opcode == CLOSE:
                    self.send_frame(CLOSE, got.payload)
                    return int.from_bytes(got.payload[:2], "big") or None
        except (EOFError, OSError):
            return None

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Line], object]


class Peer:
    """A server that runs *script* for each connection, each on a thread of its own."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._script = script
        self._context = context
        self._host = host
        self._stopping = threading.Event()
        self._listener = socket.create_server((host, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.lines: list[Line] = []
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept, name="peer-accept", daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://{self._host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(sock,), name="peer-line", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT)
        try:
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
            line = Line(sock, self._stopping)
            self.lines.append(line)
            self._script(line)
        except (OSError, EOFError):
            pass  # the client left; whether it should have is for the test to say
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            with contextlib.suppress(OSError):
                sock.close()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self.lines:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a peer did not stop"
        assert not self.failures, self.failures


@contextlib.contextmanager
def peer(script: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Peer]:
    """Run a peer for the length of a ``with`` block; what its script asserts fails the test."""
    running = Peer(script, context, host)
    try:
        yield running
    finally:
        running.stop()


# -- scripts by name ---


def orderly(line: Line) -> None:
    """Say hello, then answer the closing handshake."""
    line.greet()
    line.serve_until_close()


def silent(line: Line) -> None:
    """Say hello, then read everything and answer nothing."""
    line.greet()
    with contextlib.suppress(EOFError):
        while True:
            line.read_frame()


def deaf(line: Line) -> None:
    """Say hello, then read nothing more until the peer is stopped."""
    line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.greet()
    line.stopping.wait(2 * LIMIT)


def flooding(line: Line) -> None:
    """Say hello, then send without end and read nothing."""
    line.greet()
    burst = b"".join(frame(TEXT, json.dumps({"type": "x.flood", "n": n}).encode()) for n in range(1000))
    while True:
        line.sock.sendall(burst)


def gone(line: Line) -> None:
    """Say hello, then drop the connection."""
    line.greet()
