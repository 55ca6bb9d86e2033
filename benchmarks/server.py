"""A server that costs as little as possible, in a process of its own: ``python -m benchmarks.server``.

It prints the ports of its plain and its TLS listener as JSON and serves until its standard input ends. One thread
per connection over blocking sockets, but one for all live sessions; floods are prebuilt frames in blocks of a megabyte.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import heapq
import itertools
import json
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple, NoReturn
from urllib.parse import parse_qs, urlsplit

from . import wire
from .wire import Frame, Scenario

_BLOCK = 1024 * 1024  # bytes per sendall, about
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_PAGE = 4096
_PATIENT = 64 * 1024  # bytes that wait before a thread that takes many frames looks at them
_BESIDE_AUDIO = 300  # bytes of an append event and its frame, beside the audio, at most
_BEAT = 0.1  # seconds between the deltas of a duplex session
_LEAST_AUDIO = 200  # bytes of an event with audio, at least


class Line:
    """One client: its upgrade, then its frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.scenario = Scenario("idle")
        self._buffer = bytearray(512 * 1024)
        self._low_water = 1
        self._start = self._end = 0

    def _fill(self) -> None:
        view = memoryview(self._buffer)
        if self._end == len(self._buffer):
            kept = bytes(view[self._start : self._end])
            if len(kept) > len(self._buffer) // 2:
                self._buffer = bytearray(2 * len(self._buffer))
                view = memoryview(self._buffer)
            view[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        got = self.sock.recv_into(view[self._end :])
        if not got:
            raise ConnectionError("the client left")
        self._end += got

    def upgrade(self) -> None:
        """Answer the client's request."""
        while (at := self._buffer.find(b"\r\n\r\n", 0, self._end)) < 0:
            self._fill()
        lines = bytes(self._buffer[:at]).decode("latin-1").split("\r\n")
        self._start = at + 4
        query = parse_qs(urlsplit(lines[0].split(" ")[1]).query)
        self.scenario = Scenario.parse(query["model"][0])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += f"Sec-WebSocket-Accept: {accept}\r\n"
        if "sec-websocket-protocol" in headers:
            answer += f"Sec-WebSocket-Protocol: {headers['sec-websocket-protocol'].split(',')[0].strip()}\r\n"
        self.sock.sendall(f"{answer}\r\n".encode())

    def greet(self) -> None:
        """Say hello: from now on the client may begin."""
        self.sock.sendall(wire.frame(wire.HELLO))

    def reserve(self, size: int) -> None:
        """Have room for *size* bytes more, in memory that has been touched."""
        kept = self._buffer[self._start : self._end]
        self._buffer = bytearray(len(kept) + size)
        self._buffer[::_PAGE] = bytes(len(self._buffer[::_PAGE]))
        self._buffer[: len(kept)] = kept
        self._start, self._end = 0, len(kept)

    def take_many(self, count: int, least: int) -> list[tuple[int, int]]:
        """Take that many frames, of *least* bytes at least, into the room reserved for them; return their places.

        Nothing is looked at before the last has come, and the thread sleeps until much is there: a client pays for
        its own work and the kernel's, and not for waking a server.
        """
        places: list[tuple[int, int]] = []
        while len(places) < count:
            self._sleep_until(_PATIENT if (count - len(places)) * least > 2 * _PATIENT else 1)
            self._fill()
            self._find(places, count)
        self._sleep_until(1)
        return places

    def _find(self, places: list[tuple[int, int]], count: int) -> None:
        """Append where frames begin and end, up to *count* of them; with little work, for it slows the client too."""
        buffer, start, last = self._buffer, self._start, self._end
        while len(places) < count and start + 8 <= last:
            length = buffer[start + 1] & 0x7F
            end = start + (6 + length if length < 126 else 8 + (buffer[start + 2] << 8 | buffer[start + 3]))
            if end > last or length == 127:
                break
            places.append((start, end))
            start = end
        self._start = start

    def _sleep_until(self, waiting: int) -> None:
        if waiting != self._low_water:
            self._low_water = waiting
            with contextlib.suppress(OSError, AttributeError):  # not everywhere
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, waiting)

    def next(self) -> Frame:
        """Return the next data frame.

        Raises:
            ConnectionError: The client is gone.
        """
        while True:
            while (place := self._whole()) is None:
                self._fill()
            if (found := self._data(place)) is not None:
                return found

    def _data(self, place: tuple[int, int]) -> Frame | None:
        """Take the frame in a place: return one of data, answer any other."""
        self._start = place[1]
        found = self.frame(*place)
        if found.opcode == _CLOSE:
            self.sock.sendall(wire.frame(found.payload[:2], _CLOSE))
            raise ConnectionError("the client closed")
        if found.opcode == _PING:
            self.sock.sendall(wire.frame(found.payload, _PONG))
        return found if found.opcode == _TEXT else None

    def drain(self) -> bool:
        """Take the frames that have come, without waiting; tell whether one of them was too small to be audio.

        Raises:
            ConnectionError: The client is gone.
        """
        with contextlib.suppress(BlockingIOError):
            self._fill()
        small = False
        while (place := self._whole()) is not None:
            data = self._data(place)
            small |= data is not None and len(data.masked) < _LEAST_AUDIO
        return small

    def _whole(self) -> tuple[int, int] | None:
        """Return where the next frame begins and ends, if it has come whole."""
        start, have = self._start, self._end - self._start
        if have < 6:
            return None
        length, begin = self._buffer[start + 1] & 0x7F, start + 6
        if length == 126:
            length, begin = struct.unpack_from("!H", self._buffer, start + 2)[0], begin + 2
        elif length == 127:
            length, begin = struct.unpack_from("!Q", self._buffer, start + 2)[0], begin + 8
        return None if begin + length > self._end else (start, begin + length)

    def frame(self, start: int, end: int) -> Frame:
        """Return the frame in a place."""
        begin = start + 6 + {126: 2, 127: 8}.get(self._buffer[start + 1] & 0x7F, 0)
        opcode = self._buffer[start] & 0x0F
        return Frame(opcode, bytes(self._buffer[begin - 4 : begin]), bytes(self._buffer[begin:end]))


# -- what a connection is for ---


@functools.lru_cache(maxsize=8)
def _frames(size: int) -> tuple[list[bytes], memoryview]:
    """Return the framed deltas of a size, and a block of many."""
    frames = [wire.frame(wire.delta_event(wire.chunk(size, number), number)) for number in range(wire.DISTINCT)]
    once = b"".join(frames)
    return frames, memoryview(once * max(1, _BLOCK // len(once)))


def flood(line: Line) -> None:
    """Wait for an event, then send deltas without pause; again and again."""
    frames, block = _frames(line.scenario.size)
    in_block = len(block) // len(frames[0])
    blocks, rest = divmod(line.scenario.number, in_block)
    last = b"".join(itertools.islice(itertools.cycle(frames), rest)) + wire.frame(wire.DONE)
    line.greet()
    while line.next():
        for _ in range(blocks):
            line.sock.sendall(block)
        line.sock.sendall(last)


def collect(line: Line) -> None:
    """Take audio in; say when it has come whole, then check it and report."""
    size, count = line.scenario.size, line.scenario.number
    encoded = len(base64.b64encode(bytes(size)))
    line.reserve(count * (encoded + _BESIDE_AUDIO))  # before the hello, for it takes a tenth of a second
    line.greet()
    places = line.take_many(count, encoded)
    line.sock.sendall(wire.frame(wire.ACK))
    crc = right = 0
    for number, place in enumerate(places):
        audio = line.frame(*place).audio
        crc = zlib.crc32(audio, crc)
        right += audio == wire.chunk(size, number)
    report = {"type": wire.REPORT, "event_id": "event_3", "right": right, "crc": crc}
    line.sock.sendall(wire.frame(json.dumps(report).encode()))
    while line.next():
        pass


def echo(line: Line) -> None:
    """Answer each event with a small one."""
    answer = wire.frame(wire.ACK)
    line.greet()
    while line.next():
        line.sock.sendall(answer)


def duplex(line: Line) -> None:
    """Read what comes; after an event that is no audio, send deltas in real time; again and again."""
    line.greet()
    line.sock.setblocking(False)
    _pacer.add(line).wait()


def idle(line: Line) -> None:
    """Read, and say nothing more than hello."""
    line.greet()
    while line.next():
        pass


class _Lane(NamedTuple):
    """A duplex session, ordered by when it is looked after next; *left* deltas are to be sent before it is quiet."""

    due: float
    number: int
    line: Line
    delta: bytearray
    over: threading.Event
    left: int = 0


class Pacer:
    """One thread that sends each duplex session a delta every 100 ms, with the time of sending in it.

    What the client has sent meanwhile is read then, and not before: no thread sleeps until it comes. So a client pays
    for its own work and the kernel's, and not for waking a server with each of its chunks.
    """

    def __init__(self) -> None:
        # Guards _due; waited on while there is nothing to send.
        self._news = threading.Condition()
        self._due: list[_Lane] = []
        self._numbers = itertools.count()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="pacer", daemon=True).start()

    def add(self, line: Line) -> threading.Event:
        """Serve *line*, whose socket does not block, out of step with the others; set the event when it has left."""
        number, over = next(self._numbers), threading.Event()
        due = time.monotonic() + _BEAT * (1 + number * 0.618 % 1)
        delta = bytearray(wire.frame(wire.delta_event(wire.chunk(line.scenario.size, number), 0)))
        self._put(_Lane(due, number, line, delta, over))
        return over

    def _put(self, lane: _Lane) -> None:
        with self._news:
            heapq.heappush(self._due, lane)
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._due:
                    self._news.wait()
                lane = heapq.heappop(self._due)
            time.sleep(max(0.0, lane.due - time.monotonic()))
            left = lane.left
            try:
                if left:
                    lane.line.sock.sendall(wire.stamped(lane.delta))
                    left -= 1
                if lane.line.drain():
                    left = lane.line.scenario.number
            except OSError:  # it has left, or reads nothing
                lane.over.set()
            else:
                self._put(lane._replace(due=lane.due + _BEAT, left=left))


_pacer = Pacer()
_KINDS: dict[str, Callable[[Line], None]] = {
    "flood": flood,
    "collect": collect,
    "echo": echo,
    "duplex": duplex,
    "idle": idle,
}


# -- the process ---


def _serve(sock: socket.socket, context: ssl.SSLContext | None) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with context.wrap_socket(sock, server_side=True) if context is not None else sock as ready:
            line = Line(ready)
            line.upgrade()
            _KINDS[line.scenario.kind](line)
    except OSError:
        pass  # it has left


def _accept(listener: socket.socket, context: ssl.SSLContext | None) -> NoReturn:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock, context), daemon=True).start()


def _listen(context: ssl.SSLContext | None) -> int:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=_accept, args=(listener, context), daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def main() -> None:
    """Listen, say where, and stay until standard input ends; the argument is a file with certificate and key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    _pacer.start()
    print(json.dumps({"plain": _listen(None), "tls": _listen(context)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
