"""Every fault that a network or a server can have, over a real socket: in bounded time, with the right outcome."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from meshapi_rt import (
    Cancelled,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    MeshAPIError,
    RealtimeSession,
    SessionClosed,
    TimedOut,
)
from meshapi_rt.stats import Counters
from meshapi_rt.transport.channel import Channel
from meshapi_rt.transport.connection import Connection, Ended
from meshapi_rt.transport.frames import Payloads
from meshapi_rt.transport.outgoing import NotSent, Outgoing
from meshapi_rt.waiting import Wait

from .clock import Stopwatch
from .conftest import client_of, ours
from .peers import CLOSE, HELLO, LIMIT, PING, PONG, TEXT, Line, Peer, frame, peer
from .reference import Reading, read
from .test_close import in_thread, sockets_to
from .test_fuzz import LIMIT as SIZE_LIMIT
from .test_fuzz import corpus


def text(event: object) -> bytes:
    return frame(TEXT, json.dumps(event).encode())


GREETING = text(HELLO)
FRAGMENTED = json.dumps({"type": "x.fragmented", "text": "aä€🎧"}, ensure_ascii=False).encode()
# A recorded session, short so that it can be cut everywhere.
SESSION = b"".join(
    [
        GREETING,
        text({"type": "x.first"}),
        frame(0, FRAGMENTED[:37], first=TEXT),  # in the middle of a character
        frame(PING, b"are you there"),
        frame(0, FRAGMENTED[37:], first=0x80),
        text({"type": "response.output_audio.delta", "delta": "AAECAw=="}),
        frame(CLOSE, struct.pack("!H", 1000) + b"bye"),
    ]
)
HANDSHAKE = 129  # bytes of the peer's answer, which differs only in its key


class Faulty:
    """A peer that sends the answer to the handshake and *frames*, after *change*, and then does *fault*."""

    def __init__(self, frames: bytes, change: Callable[[bytes], bytes], fault: Callable[[Line], None]) -> None:
        self.frames = frames
        self.change = change
        self.fault = fault
        self.close_codes: list[int | None] = []
        self.told = threading.Event()  # the client has gone, and close_codes is complete

    def __call__(self, line: Line) -> None:
        line.read_request()
        answer = line.answer_101()
        assert len(answer) == HANDSHAKE
        try:
            with contextlib.suppress(ConnectionError):  # a client that has seen enough is gone
                line.sock.sendall(self.change(answer + self.frames))
            self.fault(line)
            with contextlib.suppress(EOFError, OSError):
                while not self.close_codes:
                    got = line.read_frame()
                    if got.opcode == CLOSE:
                        self.close_codes.append(int.from_bytes(got.payload[:2], "big") or None)
        finally:
            self.told.set()


def fin(line: Line) -> None:
    """Send nothing more, but listen to what the client says to it."""
    with contextlib.suppress(OSError):
        line.sock.shutdown(socket.SHUT_WR)


def rst(line: Line) -> None:
    line.reset()


def stay(line: Line) -> None:
    """Keep the connection, say nothing, and wait for the client to say something."""


def talk(running: Peer, **settings: object) -> tuple[list[str | bytes], MeshAPIError]:
    """Connect and receive; return what came and how it ended. Anything but an error of ours fails the test."""
    got: list[str | bytes] = []
    with client_of(running) as client:
        try:
            session = client.realtime.connect(model="m", timeout=LIMIT, close_timeout=0.3, **settings)  # type: ignore[call-overload]
        except ConnectError as exc:
            return got, exc
        try:
            while True:
                message = session.receive(timeout=LIMIT)
                payload = message.audio if message.is_binary else message.text
                assert payload is not None
                got.append(payload)
        except (SessionClosed, ConnectionLost) as exc:
            return got, exc


def assert_right(expected: Reading, got: list[str | bytes], end: MeshAPIError) -> None:
    """Hold the outcome of a session against what a plain reading of its bytes says."""
    if not expected.messages:
        assert isinstance(end, ConnectError)
        return
    assert got == expected.messages
    if expected.end[:2] == ("close", 1000):
        assert isinstance(end, SessionClosed)
        assert end.close_reason == expected.end[2]
    else:
        assert isinstance(end, ConnectionLost)
        assert end.close_code == (1006 if expected.end[0] == "open" else expected.end[1])


def assert_one_fault(frames: bytes, change: Callable[[bytes], bytes], fault: Callable[[Line], None]) -> None:
    """Run one session against one fault."""
    faulty = Faulty(frames, change, fault)
    with peer(faulty) as running:
        got, end = talk(running, max_message_size=SIZE_LIMIT)
        assert faulty.told.wait(LIMIT)
        sent = change(b"-" * HANDSHAKE + frames)
        expected = read(sent[HANDSHAKE:], SIZE_LIMIT)
        assert_right(expected, got, end)
        if fault is not rst:
            code = None if expected.end[0] == "open" else expected.end[1]
            assert faulty.close_codes == ([] if code is None else [None if code == 1005 else code])


def offsets(step: int, end: int = HANDSHAKE + len(SESSION)) -> Iterator[int]:
    """Yield a sample of places to cut at; with 1 all of them."""
    yield from range(0, end, step)


# -- the line is cut ---


def cut_everywhere(step: int, fault: Callable[[Line], None]) -> None:
    for at in offsets(step):
        if fault is fin or sys.platform == "linux":  # elsewhere a reset throws away what was not yet read
            assert_one_fault(SESSION, lambda data, at=at: data[:at], fault)  # type: ignore[misc]
    assert not ours()


@pytest.mark.parametrize("fault", [fin, rst])
def test_cut(fault: Callable[[Line], None]) -> None:
    """What came whole is delivered, then the end is told: by FIN and by RST."""
    cut_everywhere(13, fault)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", [fin, rst])
def test_cut_after_every_byte(fault: Callable[[Line], None]) -> None:
    """The same, after every byte."""
    cut_everywhere(1, fault)


# -- the line stalls ---


def stall_while_connecting(at: int) -> None:
    with peer(Faulty(SESSION, lambda data: data[:at], stay)) as running:
        with Stopwatch() as watch, client_of(running) as client, pytest.raises(ConnectTimeout, match=r"0\.15 s"):
            client.realtime.connect(model="m", timeout=0.15)
        assert watch.took < 1


def stall_in_session(at: int) -> None:
    expected = read(SESSION[: at - HANDSHAKE])
    with peer(Faulty(SESSION, lambda data: data[:at], stay)) as running:
        session = client_of(running).realtime.connect(model="m", timeout=LIMIT, close_timeout=0.3)
        assert [session.receive(timeout=LIMIT).text for _ in expected.messages] == expected.messages
        with Stopwatch() as watch:
            with pytest.raises(TimedOut):
                session.receive(timeout=0.03)
            cancel = threading.Event()
            threading.Timer(0.03, cancel.set).start()
            with pytest.raises(Cancelled):
                session.receive(cancel=cancel)
            session.send({"type": "x.still-open"})
            session.close()
        assert watch.took < 1.5
        assert not ours()
        assert not sockets_to(running.port)


OPEN_FROM = HANDSHAKE + len(GREETING)
OPEN_UNTIL = HANDSHAKE + len(SESSION)


@pytest.mark.parametrize("at", [0, 20, HANDSHAKE - 1, HANDSHAKE, HANDSHAKE + 1, OPEN_FROM - 1])
def test_stall_while_connecting(at: int) -> None:
    """A server that stops talking holds connect() no longer than its timeout."""
    stall_while_connecting(at)


@pytest.mark.parametrize("at", [OPEN_FROM, OPEN_FROM + 1, OPEN_FROM + 50, OPEN_FROM + 100, OPEN_UNTIL - 1])
def test_stall_in_session(at: int) -> None:
    """A server that stops in mid-frame: receive(), cancel, send() and close() all stay responsive."""
    stall_in_session(at)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_stall_after_every_byte() -> None:
    """The same, after every byte."""
    for at in offsets(1, OPEN_FROM):
        stall_while_connecting(at)
    for at in range(OPEN_FROM, OPEN_UNTIL):
        stall_in_session(at)


# -- how the bytes come ---


@pytest.mark.parametrize(
    ("old", "new", "opens"),
    [
        (b"Upgrade: w", b"X-Name: \xe4\xff\r\nUpgrade: W", True),
        (b"Switching", b"Sw\xffitching", True),
        (b"Connection: U", b"Connection: keep-alive, U", True),
        (b"HTTP/1.1 101", b"HTTP/1.1\xa0101", False),
        (b"101 ", b"101\t", False),
        (b"101 ", b"1010 ", False),
        (b"Connection", b"no colon\r\nConnection", False),
        (b"Upgrade: w", b"X: y\r\n" * 200 + b"Upgrade: w", False),
    ],
)
def test_odd_answers_to_the_handshake(old: bytes, new: bytes, opens: bool) -> None:
    """Bytes that do not matter are let through, and the rest is a ConnectError with every version of the library."""
    with peer(Faulty(SESSION, lambda data: data.replace(old, new, 1), fin)) as running:
        got, end = talk(running)
    assert got == (read(SESSION).messages if opens else [])
    assert isinstance(end, SessionClosed if opens else ConnectError)


def test_byte_by_byte() -> None:
    """Nothing depends on where a segment ends."""

    def dripping(line: Line) -> None:
        line.read_request()
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in line.answer_101() + SESSION:
            line.sock.sendall(bytes([byte]))
        line.serve_until_close()

    with peer(dripping) as running:
        got, end = talk(running)
    assert_right(read(SESSION), got, end)


def test_all_in_one_segment() -> None:
    """Handshake, every frame and the close at once."""
    assert_one_fault(SESSION, bytes, fin)


# -- the bytes are wrong ---


def assert_wrong(frames: bytes, change: Callable[[bytes], bytes] = bytes) -> None:
    """Run one session against wrong bytes: where they end it, the client must see so by itself."""
    wrong = read(change(b"-" * HANDSHAKE + frames)[HANDSHAKE:], SIZE_LIMIT).end[0] != "open"
    assert_one_fault(frames, change, stay if wrong else fin)


def flip_bits(step: int) -> None:
    """Flip one bit after another of the frames."""
    for bit in range(HANDSHAKE * 8, (HANDSHAKE + len(SESSION)) * 8, step):

        def change(data: bytes, bit: int = bit) -> bytes:
            return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]

        assert_wrong(SESSION, change)
    assert not ours()


def flip_bits_of_the_handshake(step: int) -> None:
    """There is no telling what it means then, but it is a session or a ConnectError, and soon."""
    for bit in range(0, HANDSHAKE * 8, step):

        def change(data: bytes, bit: int = bit) -> bytes:
            return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]

        with Stopwatch() as watch, peer(Faulty(SESSION, change, fin)) as running:
            got, end = talk(running)
        assert isinstance(end, ConnectError) or got == read(SESSION).messages
        assert watch.took < 3
    assert not ours()


def test_flipped_bits() -> None:
    """The outcome is what a plain reading of the changed bytes says."""
    flip_bits(61)


def test_flipped_bits_of_the_handshake() -> None:
    """A session or a ConnectError."""
    flip_bits_of_the_handshake(23)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_every_flipped_bit() -> None:
    """The same, with every bit."""
    flip_bits_of_the_handshake(1)
    flip_bits(1)


@pytest.mark.parametrize("line", corpus("frames.txt"), ids=lambda line: line.partition(" ")[0])
def test_wrong_frames(line: str) -> None:
    """What came before is delivered, and the server is told the code that RFC 6455 wants."""
    stream = bytes.fromhex(line.split()[2])
    assert_wrong(GREETING + text({"type": "x.before"}) + stream)


def test_wrong_frames_end_every_session_within_bounds() -> None:
    """A server that breaks the protocol and then neither reads nor closes is left after half a second."""
    with peer(Faulty(GREETING + b"\xff\xff", lambda data: data, lambda line: line.stopping.wait(LIMIT))) as running:  # type: ignore[arg-type]
        session = client_of(running).realtime.connect(model="m")
        session.receive(timeout=LIMIT)
        with pytest.raises(ConnectionLost):
            session.receive(timeout=LIMIT)
        end = time.monotonic() + LIMIT
        with Stopwatch() as watch:
            while ours() and time.monotonic() < end:
                time.sleep(0.01)
        assert not ours()
        assert watch.took < 1.5
        assert not sockets_to(running.port)


# -- the peer does not read ---


def events_in(data: bytes) -> tuple[list[str], bytes]:
    """Read masked frames; return the types of the events, and the bytes of a frame that is not whole."""
    types, at = [], 0
    while len(data) - at >= 2:
        assert data[at] in (0x80 | TEXT, 0x80 | CLOSE, 0x80 | PING, 0x80 | PONG)
        assert data[at + 1] & 0x80
        width = {126: 2, 127: 8}.get(data[at + 1] & 0x7F, 0)
        begin = at + 2 + width + 4
        length = int.from_bytes(data[at + 2 : begin - 4], "big") if width else data[at + 1] & 0x7F
        if len(data) < begin + length:
            break
        key = data[begin - 4 : begin] * (length // 4 + 1)
        mask = int.from_bytes(key[:length], "big")
        payload = (int.from_bytes(data[begin : begin + length], "big") ^ mask).to_bytes(length, "big")
        if data[at] == 0x80 | TEXT:
            types.append(json.loads(payload)["type"])
        at = begin + length
    return types, data[at:]


class Hesitant:
    """A peer that reads nothing until *go* is set, and then everything up to the end."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.done = threading.Event()
        self.data = bytearray()

    def __call__(self, line: Line) -> None:
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        line.greet()
        assert self.go.wait(LIMIT)
        with contextlib.suppress(OSError):
            while more := line.sock.recv(1 << 20):
                self.data += more
        self.done.set()


def test_a_send_that_runs_out_of_time_breaks_the_connection() -> None:
    """After half a frame nothing more goes out: the peer finds whole frames, then at most one partial one."""
    hesitant = Hesitant()
    with peer(hesitant) as running:
        session = client_of(running).realtime.connect(model="m")
        session.send({"type": "x.small"})
        with Stopwatch() as watch, pytest.raises(TimedOut, match=r"0\.3 s.*half a frame"):
            session.send({"type": "x.big", "pad": "x" * 10_000_000}, timeout=0.3)
        assert watch.elapsed >= 0.3
        assert watch.took < 1.5
        with pytest.raises(ConnectionLost):
            session.send({"type": "x.after"})
        session.receive(timeout=LIMIT)
        with pytest.raises(ConnectionLost, match="did not finish"):
            session.receive(timeout=LIMIT)
        session.close()
        hesitant.go.set()
        assert hesitant.done.wait(LIMIT)
    types, rest = events_in(bytes(hesitant.data))
    assert types == ["x.small"]
    assert rest


def test_four_senders_and_a_peer_that_stops_reading() -> None:
    """Each ends in time with an error of ours; on the wire there are whole frames and one partial one at most."""
    hesitant = Hesitant()
    with peer(hesitant) as running:
        session = client_of(running).realtime.connect(model="m")
        sent: list[list[str]] = [[] for _ in range(4)]

        def work(me: int) -> None:
            for number in range(10_000):
                session.send({"type": f"x.{me}.{number}", "pad": "x" * 100_000}, timeout=0.4)
                sent[me].append(f"x.{me}.{number}")

        with Stopwatch() as watch:
            threads = [in_thread(lambda me=me: work(me)) for me in range(4)]  # type: ignore[misc]
            for thread, raised in threads:
                thread.join(LIMIT)
                assert not thread.is_alive()
                assert isinstance(raised[0], (TimedOut, ConnectionLost))
        assert watch.took < 4
        session.close()
        hesitant.go.set()
        assert hesitant.done.wait(LIMIT)
    types, _ = events_in(bytes(hesitant.data))
    for me in range(4):
        mine = [kind for kind in types if kind.startswith(f"x.{me}.")]
        assert mine == sent[me][: len(mine)]
        assert len(mine) >= len(sent[me])


def test_a_send_that_waits_for_another_leaves_the_session_alone() -> None:
    """Nothing of it went out, so the connection goes on as soon as the peer reads."""
    hesitant = Hesitant()
    with peer(hesitant) as running:
        session = client_of(running).realtime.connect(model="m")
        first, raised = in_thread(lambda: session.send({"type": "x.big", "pad": "x" * 30_000_000}))
        before = 0
        with pytest.raises(TimedOut, match="still open"):
            while True:
                session.send({"type": "x.before"}, timeout=0.1)
                before += 1
                time.sleep(0.005)
        hesitant.go.set()
        first.join(LIMIT)
        session.send({"type": "x.after"}, timeout=LIMIT)
        session.close()
        assert hesitant.done.wait(LIMIT)
        assert not raised
    assert events_in(bytes(hesitant.data)) == (["x.before"] * before + ["x.big", "x.after"], b"")


@pytest.mark.parametrize("fault", ["rst", "fin"])
def test_senders_learn_that_the_line_broke(fault: str) -> None:
    """Blocked in a send when the peer goes: ConnectionLost, at once."""
    go = threading.Event()

    def script(line: Line) -> None:
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        line.greet()
        assert go.wait(LIMIT)
        if fault == "rst":
            line.reset()

    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m")
        threads = [in_thread(lambda: session.send({"type": "x", "pad": "x" * 10_000_000})) for _ in range(4)]
        threads[0][0].join(0.2)
        with Stopwatch() as watch:
            go.set()
            for thread, raised in threads:
                thread.join(LIMIT)
                assert isinstance(raised[0], ConnectionLost)
        assert watch.took < 1.5
        assert session.closed or isinstance(end_of(session), ConnectionLost)


def end_of(session: RealtimeSession) -> BaseException:
    try:
        while True:
            session.receive(timeout=LIMIT)
    except MeshAPIError as exc:
        return exc


def test_nobody_waits_for_the_other() -> None:
    """A peer that reads nothing before it has sent 16 MB of events and pings, while four threads send to it.

    The reader must go on reading while senders are blocked, and must not wait for them with its pongs.
    """
    burst = b"".join(text({"type": "x.flood", "pad": "y" * 1000}) + frame(PING, b"p%06d" % n) for n in range(1000))
    got: list[str] = []
    pongs: list[bytes] = []

    def script(line: Line) -> None:
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        line.greet()
        for _ in range(16):
            line.sock.sendall(burst)
        line.sock.sendall(frame(PING, b"the last one"))
        while True:
            seen = line.read_frame()
            if seen.opcode == PONG:
                pongs.append(seen.payload)
            elif seen.opcode == TEXT:
                got.append(seen.event["type"])
            elif seen.opcode == CLOSE:
                line.send_frame(CLOSE, seen.payload)
                return

    with peer(script) as running:
        with client_of(running).realtime.connect(model="m", close_timeout=5) as session:

            def work(me: int) -> None:
                for number in range(25):
                    session.send({"type": f"x.{me}.{number}", "pad": "x" * 100_000}, timeout=LIMIT)

            threads = [in_thread(lambda me=me: work(me)) for me in range(4)]  # type: ignore[misc]
            for thread, raised in threads:
                thread.join(2 * LIMIT)
                assert not thread.is_alive()
                assert not raised
            flood = [session.receive(timeout=LIMIT).type for _ in range(16_001)]
            assert flood[1:] == ["x.flood"] * 16_000
    for me in range(4):
        assert [kind for kind in got if kind.startswith(f"x.{me}.")] == [f"x.{me}.{n}" for n in range(25)]
    assert pongs[-1] == b"the last one"


def test_pings_are_answered_while_messages_flood() -> None:
    """Each within a second, in order, though the server never pauses and four threads send."""
    trips: list[float] = []
    enough = threading.Event()

    def script(line: Line) -> None:
        line.greet()
        burst = text({"type": "x.flood", "pad": "y" * 500}) * 50

        def flood() -> None:
            with contextlib.suppress(OSError):
                while not enough.is_set():
                    line.sock.sendall(burst + frame(PING, struct.pack("!d", time.monotonic())))

        flooder = threading.Thread(target=flood, daemon=True)
        flooder.start()
        while True:
            seen = line.read_frame()
            if seen.opcode == PONG:
                trips.append(time.monotonic() - struct.unpack("!d", seen.payload)[0])
            elif seen.opcode == CLOSE:
                enough.set()
                flooder.join(LIMIT)
                line.send_frame(CLOSE, seen.payload)
                return

    with peer(script) as running:
        with client_of(running).realtime.connect(model="m", close_timeout=5) as session:
            stop = threading.Event()

            def work() -> None:
                while not stop.is_set():
                    session.send({"type": "x", "pad": "x" * 5000}, timeout=LIMIT)

            threads = [in_thread(work) for _ in range(4)]
            end = time.monotonic() + 1
            while time.monotonic() < end:
                session.receive(timeout=LIMIT)
            stop.set()
            for thread, raised in threads:
                thread.join(LIMIT)
                assert not raised
            enough.set()
            with contextlib.suppress(TimedOut):
                while True:
                    session.receive(timeout=0.3)
    assert len(trips) > 5
    assert max(trips) < 3


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_pings_without_end_instead_of_a_first_frame(how: str) -> None:
    """They do not hold connect() beyond its timeout, nor against its cancel event."""

    def script(line: Line) -> None:
        line.upgrade()
        while True:
            line.sock.sendall(frame(PING, b"x" * 100) * 1000)

    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    with peer(script) as running:
        with Stopwatch() as watch, pytest.raises(Cancelled if how == "cancel" else ConnectTimeout):
            timer.start()
            client_of(running).realtime.connect(
                model="m", **({"cancel": cancel} if how == "cancel" else {"timeout": 0.3})
            )
        assert watch.took < 1.5
        timer.join()


def test_nothing_follows_our_close_frame() -> None:
    """A send waits behind pongs that the peer does not read; when the peer closes, it is not sent any more."""
    ours_end, peers_end = socket.socketpair()
    connection = Connection(
        Channel(ours_end),
        b"",
        Payloads(),
        max_message_size=1000,
        ping_interval=None,
        ping_timeout=None,
        counters=Counters(),
    )
    while not connection._outgoing.urgent:  # as long as the socket takes every pong
        peers_end.sendall(frame(PING, b"x" * 125) * 10)
        connection.receive(timeout=0)
        connection.receive(timeout=0)
    sender, raised = in_thread(lambda: connection.send(b"late", Wait(LIMIT)))
    sender.join(0.2)
    peers_end.sendall(frame(CLOSE, struct.pack("!H", 1000)))
    with pytest.raises(Ended):
        while True:
            connection.receive(timeout=0)

    line = Line(peers_end, threading.Event())
    opcodes = []
    while CLOSE not in opcodes:
        opcodes.append(line.read_frame().opcode)
    sender.join(LIMIT)

    assert [type(exc) for exc in raised] == [NotSent]
    connection.finish()
    assert set(opcodes[:-1]) == {PONG}
    with pytest.raises(EOFError):
        line.read_frame()
    peers_end.close()


def test_a_frame_in_progress_is_finished_first() -> None:
    """Also where whoever posted it was stopped before it could say so: a send begins behind its last byte."""
    ours_end, peers_end = socket.socketpair()
    outgoing = Outgoing(Channel(ours_end), Counters())
    long = b"x" * 4_000_000
    outgoing.urgent.append((TEXT, long, None))  # as post() begins
    assert not outgoing.flush()  # the socket does not take all of it

    sender, raised = in_thread(lambda: outgoing.send(b"behind it", Wait(LIMIT)))
    line = Line(peers_end, threading.Event())
    payloads = [line.read_frame().payload for _ in range(2)]
    sender.join(LIMIT)

    assert payloads == [long, b"behind it"]
    assert not raised
    outgoing.give_back()
    peers_end.close()
