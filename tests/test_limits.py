"""Limits: of a message's size, of memory, of depth, of descriptors; and what must pass below them."""

from __future__ import annotations

import io
import os
import queue
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from meshapi_rt import ConnectionLost, RealtimeSession
from meshapi_rt.transport.frames import BINARY, PONG, FrameDecoder, Payloads, ProtocolViolation

from .conftest import client_of, ours
from .peers import LIMIT, PING, TEXT, Line, frame, orderly, peer, plain
from .test_close import in_thread, sockets_to

MIB = 1024 * 1024


Codes = queue.SimpleQueue["int | None"]


def then_listen(data: bytes, codes: Codes) -> Callable[[Line], None]:
    """Return a script: hello and *data*; then note the close code of the client."""

    def script(line: Line) -> None:
        line.greet()
        line.sock.sendall(data)
        codes.put(line.serve_until_close())

    return script


def fragments(size: int, count: int) -> bytes:
    """Return the first frames of a message that goes on."""
    return b"".join(frame(0, b"x" * size, first=0 if number else TEXT) for number in range(count))


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x7f" + struct.pack("!Q", 1 << 62),
        b"\x81\x7f" + struct.pack("!Q", (1 << 63) - 1),
        b"\x81\x7f" + struct.pack("!Q", 100_001),
        frame(TEXT, b"x" * 100_001),  # whole in the buffer before it is looked at
        frame(BINARY, b"x" * 100_001),
        fragments(1000, 101),
        fragments(100_000, 1) + frame(PING, b"between") + b"\x00\x01",
        b"\x01\x00" + b"\x00\x00" * 5000 + b"\x00" + fragments(1000, 101)[1:],
    ],
    ids=["2^62", "2^63-1", "header", "whole", "whole binary", "sum", "sum by a byte", "after empty ones"],
)
def test_a_message_that_is_too_large(data: bytes) -> None:
    """The session ends with a sentence that names the setting; the server is told 1009; what came before is kept."""
    codes = Codes()
    before = frame(TEXT, b'{"type":"x.before"}')
    with peer(then_listen(before + data, codes)) as running:
        session = client_of(running).realtime.connect(model="m", max_message_size=100_000)
        assert [session.receive(timeout=LIMIT).type for _ in range(2)] == ["session.created", "x.before"]
        with pytest.raises(ConnectionLost, match=r"100000 bytes.*max_message_size") as caught:
            session.receive(timeout=LIMIT)
        assert caught.value.close_code == 1009
        assert codes.get(timeout=LIMIT) == 1009


def test_messages_up_to_the_limit_pass() -> None:
    """To the byte, in one frame and in several; control frames do not count."""
    whole = frame(TEXT, b"x" * 1000)
    pieces = fragments(250, 3) + frame(PING, b"y" * 125) + frame(0, b"x" * 250, first=0x80)
    with peer(then_listen(whole + pieces + whole, Codes())) as running:
        with client_of(running).realtime.connect(model="m", max_message_size=1000) as session:
            session.receive(timeout=LIMIT)
            assert [session.receive(timeout=LIMIT).text for _ in range(3)] == ["x" * 1000] * 3


def test_control_frames_pass_any_limit() -> None:
    """They are no messages."""
    decoder = FrameDecoder(Payloads(), 1)
    feed(decoder, frame(PONG, b"12345678") + frame(BINARY, b"1"))
    assert [decoder.next(), decoder.next()] == [(PONG, b"12345678"), (BINARY, b"1")]


def feed(decoder: FrameDecoder[str | bytes], data: bytes) -> None:
    source = io.BytesIO(data)
    while source.tell() < len(data):
        decoder.receive(source.readinto, [])


def room_of(decoder: FrameDecoder[str | bytes]) -> int:
    """Return how many bytes it is ready to take."""
    rooms: list[int] = []
    decoder.receive(lambda room: rooms.append(len(room)), [])  # which takes none
    return rooms[0]


def peak_of(work: Callable[[], object]) -> int:
    """Return the most memory that *work* held at once, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_header_costs_no_memory() -> None:
    """What it announces is refused, or allowed, before anything is set aside for it."""

    def refused() -> None:
        decoder = FrameDecoder(Payloads(), 64 * MIB)
        feed(decoder, b"\x82\x7f" + struct.pack("!Q", 64 * MIB + 1))
        with pytest.raises(ProtocolViolation):
            decoder.next()

    def allowed() -> None:
        decoder = FrameDecoder(Payloads(), 64 * MIB)
        feed(decoder, b"\x82\x7f" + struct.pack("!Q", 64 * MIB) + bytes(1000))
        assert decoder.next() is None
        assert room_of(decoder) > 0

    assert peak_of(refused) < MIB
    assert peak_of(allowed) < MIB


@pytest.mark.parametrize("size", [0, 1, 65536])
def test_fragments_cost_their_bytes(size: int) -> None:
    """However many they are, and however small: a server may send empty ones for ever."""
    some = fragments(size, 2)[-len(frame(0, b"x" * size)) :]
    count = min(60_000, 8 * MIB // max(size, 1))

    def work() -> None:
        decoder = FrameDecoder(Payloads(), 8 * MIB)
        feed(decoder, fragments(size, 1))
        for _ in range(count - 1):
            feed(decoder, some)
            assert decoder.next() is None

    assert peak_of(work) < 2.5 * count * size + MIB


def test_the_buffer_shrinks_again() -> None:
    """A large message does not leave a large buffer behind."""
    decoder = FrameDecoder(Payloads(), 64 * MIB)
    feed(decoder, frame(BINARY, bytes(16 * MIB)))
    assert decoder.next() is not None
    assert room_of(decoder) < MIB


def test_connections_share_buffers_and_mix_nothing() -> None:
    """A buffer is held while part of a frame is in it, and serves another connection when all has been taken."""
    decoders = [FrameDecoder(Payloads(), 4 * MIB) for _ in range(12)]
    frames = [frame(BINARY, bytes([at]) * size) for at, size in enumerate([1, 200, 70_000, 300_000] * 3)]
    for cut in (0.0, 0.5, 0.99):
        for decoder, whole in zip(decoders, frames, strict=True):
            feed(decoder, whole[: int(cut * len(whole))])
            assert decoder.next() is None
        for decoder, whole in zip(decoders, frames, strict=True):
            feed(decoder, whole[int(cut * len(whole)) :] + whole)
            assert [frame(*decoder.next() or ()), frame(*decoder.next() or ())] == [whole, whole]
            assert decoder.next() is None
            assert not decoder.rest


# -- what must pass ---


def test_an_event_of_40_mb_passes_both_ways() -> None:
    """Whole, within the default limit."""
    text = "0123456789abcdef" * 2_500_000

    def script(line: Line) -> None:
        line.greet()
        line.send({"type": "x.echo", "text": line.read_event()["text"]})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.send({"type": "x.big", "text": text})
        echo = session.wait_for("x.echo", timeout=2 * LIMIT)
        assert plain(echo)["text"] == text


def test_ten_thousand_events_in_one_segment() -> None:
    """None is lost, and their order stays."""
    data = b"".join(frame(TEXT, b'{"type":"x.n","n":%d}' % n) for n in range(10_000))
    with peer(then_listen(data, Codes())) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        got = [session.receive(timeout=LIMIT) for _ in range(10_000)]
        assert [plain(message)["n"] for message in got] == list(range(10_000))


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_json_nested_100000_deep(text: str) -> None:
    """It arrives as text, and the session goes on."""
    data = frame(TEXT, text.encode()) + frame(TEXT, b'{"type":"x.next"}')
    with peer(then_listen(data, Codes())) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        message = session.receive(timeout=LIMIT)
        assert (message.text, message.event) == (text, None)
        assert session.receive(timeout=LIMIT).type == "x.next"


# -- descriptors and sessions ---


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Take every descriptor up to 1100."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this system does not allow so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1100:
            taken.append(os.dup(taken[0]))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_descriptors_above_1023() -> None:
    """Connecting, waiting both ways and closing work where select() does not."""

    def script(line: Line) -> None:
        line.greet()
        assert line.sock.fileno() > 1023
        line.send({"type": "x.echo", "size": len(line.read_event()["pad"])})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.send({"type": "x.big", "pad": "x" * 10_000_000})
        echo = session.wait_for("x.echo", timeout=LIMIT)
        assert plain(echo)["size"] == 10_000_000


def test_many_sessions_of_one_client() -> None:
    """A hundred at once, each with its own conversation; none leaves anything behind."""

    def script(line: Line) -> None:
        line.greet()
        for _ in range(3):
            line.send({"type": "x.echo", "n": line.read_event()["n"]})
        line.serve_until_close()

    with peer(script) as running:
        with client_of(running) as client:
            sessions: list[RealtimeSession] = [client.realtime.connect(model="m", timeout=LIMIT) for _ in range(100)]
            assert len(client.sessions) == 100

            def converse(session: RealtimeSession, me: int) -> None:
                for n in range(3):
                    session.send({"type": "x", "n": [me, n]})
                    assert session.wait_for("x.echo", timeout=LIMIT).event == {"type": "x.echo", "n": [me, n]}

            talks = [in_thread(lambda s=s, me=me: converse(s, me)) for me, s in enumerate(sessions)]  # type: ignore[misc]
            for thread, raised in talks:
                thread.join(2 * LIMIT)
                assert not thread.is_alive()
                assert not raised
            client.close(timeout=5)
        assert not ours()
        assert not sockets_to(running.port)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_sessions_one_after_another_leave_no_descriptor() -> None:
    """After fifty of them there are as many as before."""
    with peer(orderly) as running, client_of(running) as client:
        client.realtime.connect(model="m").close()
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(50):
            client.realtime.connect(model="m").close()
        # The peer's own sockets of the last sessions may still be open.
        assert len(os.listdir("/proc/self/fd")) - before < 10  # noqa: PTH208
        assert client.sessions == ()
