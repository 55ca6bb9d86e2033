"""Faults of the connection itself, each as a plain client sees it: how it ends, stalls and slows."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from meshapi_rt import ConnectError, ConnectionLost
from meshapi_rt.local import (
    Audio,
    Close,
    Drain,
    Drop,
    Refuse,
    Reset,
    Send,
    Skip,
    Slow,
    Stall,
    Terminate,
    Turn,
    faults,
)

from ..clock import Stopwatch
from .plain import MODEL, PATIENCE, Plain, audio_of, speech
from .playing import end_of, playing
from .raw import UPGRADE, Raw


def is_silent(client: Plain, seconds: float = 0.15) -> bool:
    """Tell whether nothing comes for some time."""
    try:
        client.recv(timeout=seconds)
    except TimeoutError:
        return True
    return False


# -- the end of a connection ----------------------------------------------------------------------------------


def test_drop_arrives_behind_all_audio() -> None:
    """What was sent before a drop arrives whole, also where it waits for the client to read."""
    spoken = Audio(speech(20.0), "long")
    script = Drop(on="response.output_audio.done")
    with playing(script, responder=lambda _: spoken) as server, Plain(server) as client:
        client.send("response.create")
        types, end = end_of(client)

    assert types[-1] == "response.output_audio.done"
    assert audio_of(client.events) == spoken.pcm.tobytes()
    assert end == "dropped"


def test_reset() -> None:
    """A reset is one, not an orderly end."""
    with playing(Reset(on="input_audio_buffer.clear", nth=2)) as server, Plain(server) as client:
        client.expect("session.created")
        client.quiet()  # so that nothing is unread
        client.send("input_audio_buffer.clear")
        types, end = end_of(client)
        assert server.wait_idle(PATIENCE)

    assert types == ["session.created", "input_audio_buffer.cleared"]
    assert end == "reset"


@pytest.mark.parametrize("size", [0, 1, 60, 300, 600])
@pytest.mark.parametrize("kind", [Drop, Reset, Stall])
def test_after_a_byte(kind: type[faults.WireAct], size: int) -> None:
    """The line breaks after any byte, in the handshake or in a frame."""
    head = [f"GET /v1/realtime?model={MODEL} HTTP/1.1", "Host: x", "Authorization: Bearer k", *UPGRADE]
    with playing(kind(sent_bytes=size)) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(0.1 if kind is Stall else PATIENCE)
        sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        got, end = b"", None
        try:
            while more := sock.recv(4096):
                got += more
        except (ConnectionResetError, TimeoutError) as exc:
            end = type(exc)

    assert end is {Drop: None, Reset: ConnectionResetError, Stall: TimeoutError}[kind]
    assert len(got) == size or (kind is Reset and len(got) < size)


def test_bytes_come_later() -> None:
    """A handshake that stalls for a time is whole afterwards."""
    with playing(Stall(0.1, sent_bytes=20)) as server:
        began = time.monotonic()
        with Plain(server) as client:
            client.expect("session.created")
            client.quiet()
        assert time.monotonic() - began >= 0.09


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (Close(1012, "restart"), 1012, "restart"),
        (Close(4402), 4402, ""),
        (Close(None), 1005, ""),
    ],
)
def test_close(fault: Close, code: int, reason: str) -> None:
    """A close frame has the code and the reason that the script says, and no error comes before."""
    with playing(fault) as server, Plain(server) as client:
        assert end_of(client) == ([], code)
        with pytest.raises(ConnectionClosed) as caught:
            client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.reason == reason


def test_close_with_a_code_that_is_forbidden() -> None:
    """Also codes that must not be on the wire can be."""
    with playing(Close(1006, "äh")) as server, Raw(server, "Authorization: Bearer k") as raw:
        assert raw.frame() == (8, (1006).to_bytes(2, "big") + "äh".encode())


@pytest.mark.parametrize(
    ("fault", "code", "close_code"),
    [
        (Terminate("provider_error", on="session.created"), "provider_error", 1011),
        (Terminate("insufficient_quota", on="session.created"), "insufficient_quota", 4402),
        (Terminate("made_up", "Why", close_code=4999, on="session.created"), "made_up", 4999),
        (Drain(on="session.created"), "service_draining", 1011),
    ],
)
def test_terminal_errors(fault: faults.Act, code: str, close_code: int) -> None:
    """A terminal error has the gateway's envelope, and its close follows."""
    with playing(fault) as server, Plain(server) as client:
        types, seen = end_of(client)

    assert types == ["session.created", "error"]
    assert (client.events[-1]["error"]["code"], seen) == (code, close_code)
    assert "request_id" in client.events[-1]
    assert "event_id" not in client.events[-1]


def test_error_as_first_frame_and_no_close() -> None:
    """An error instead of a session; and a drop where its close frame would be."""
    with playing(Terminate("model_not_found"), Drop(on="error")) as server, Plain(server) as client:
        types, end = end_of(client)

    assert types == ["error"]
    assert end == "dropped"


def test_limits_can_be_silent() -> None:
    """Faults also concern what the server does by itself: here a limit that closes without an error."""
    with playing(Skip(on="error"), session_limit=0.1) as server, Plain(server) as client:
        assert end_of(client) == (["session.created"], 1008)


def test_refusals() -> None:
    """A handshake is refused by status, with what the script says, as often as it says."""
    script = (
        Refuse(429, retry_after=2, code="rate_limit_exceeded"),
        Refuse(522, body="<html>", headers={"Content-Type": "text/html", "X-Proxy": "yes"}),
        Refuse(retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
    )
    answers = []
    with playing(*script) as server:
        for _ in script:
            with pytest.raises(InvalidStatus) as caught:
                Plain(server)
            answers.append(caught.value.response)
        with Plain(server) as client:
            client.expect("session.created")

    assert [answer.status_code for answer in answers] == [429, 522, 503]
    assert answers[0].headers["Retry-After"] == "2"
    assert b'"code": "rate_limit_exceeded"' in answers[0].body
    assert answers[0].headers["Content-Type"] == "application/json"
    assert (answers[1].body, answers[1].headers["Content-Type"]) == (b"<html>", "text/html")
    assert answers[1].headers["X-Proxy"] == "yes"
    assert answers[2].headers["Retry-After"].endswith("GMT")
    assert answers[2].body == b"Service Unavailable\n"


def test_no_answer_at_all() -> None:
    """A connection may end before any answer to its handshake."""
    with playing(Drop(sent_bytes=0)) as server:
        with pytest.raises(InvalidMessage):
            Plain(server)
        with Plain(server) as client:
            client.expect("session.created")


# -- the line -------------------------------------------------------------------------------------------------


def test_stall() -> None:
    """A stalled server neither answers nor pongs; afterwards everything arrives in order."""
    with playing(Stall(0.3, on="input_audio_buffer.clear")) as server, Plain(server) as client:
        client.expect("session.created")
        began = time.monotonic()
        client.send("input_audio_buffer.clear")
        pong = client.ws.ping()
        client.expect("input_audio_buffer.cleared")
        assert time.monotonic() - began >= 0.29
        assert pong.wait(PATIENCE)
        client.quiet()


def test_deaf() -> None:
    """A server that does not read still writes; what was sent to it is handled later."""
    with playing(Stall(0.4, writing=False, on="response.create")) as server, Plain(server) as client:
        client.send("response.create", response={"output_modalities": ["text"]})
        client.until("rate_limits.updated")
        pong = client.ws.ping()
        client.send("input_audio_buffer.clear")
        assert not pong.wait(0.05)
        client.expect("input_audio_buffer.cleared")
        assert pong.wait(PATIENCE)


def test_dumb() -> None:
    """A server that does not write still reads and acts."""
    with playing(Stall(0.3, reading=False, on="conversation.item.create")) as server, Plain(server) as client:
        client.expect("session.created")
        content = [{"type": "input_text", "text": "Hello"}]
        client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        deadline = time.monotonic() + PATIENCE
        while not server.sessions[0].items and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(server.sessions[0].items) == 1
        assert len(client.events) == 1
        client.expect("conversation.item.added")


def test_for_ever() -> None:
    """What stalls for ever stays open, until another fault ends it."""
    with playing(Stall(on="session.created")) as server, Plain(server) as client:
        client.expect("session.created")
        client.send("input_audio_buffer.clear")
        assert is_silent(client)
        assert server.inject(Drop()) == 1
        types, end = end_of(client)
        assert server.wait_idle(PATIENCE)

    assert types == ["session.created"]
    assert end == "dropped"


def flood(turn: Turn) -> Iterator[Audio]:
    """Speak for ever."""
    while not turn.cancelled.is_set():
        yield Audio(speech(1.0), "la")


@pytest.mark.parametrize("fault", [Stall(on="response.created"), Slow(bytes_per_second=1000, on="response.created")])
def test_bad_lines_hold_nobody(fault: faults.Act) -> None:
    """A line that takes nothing costs no memory without bound, and does not hold ``stop``."""
    yielded = [0]

    def responder(turn: Turn) -> Iterator[Audio]:
        for piece in flood(turn):
            yielded[0] += 1
            yield piece

    server = playing(fault, responder=responder).start()
    with Plain(server) as client:
        client.send("response.create")
        client.until("response.created")
        time.sleep(0.2)  # that a responder would use to make a hundred seconds
        with Stopwatch() as watch:
            server.stop()
        assert watch.took < 2.0
    assert yielded[0] < 60


def test_slow_line() -> None:
    """So many bytes go out in a second, in small pieces; afterwards the line is quick again."""
    text = "x" * 3000
    script = (Slow(bytes_per_second=10_000, seconds=0.4, on="session.created"), Send(text, on="session.created"))
    with playing(*script) as server, Plain(server) as client:
        client.expect("session.created")
        began = time.monotonic()
        assert client.ws.recv(timeout=PATIENCE) == text
        assert time.monotonic() - began >= 0.25
        time.sleep(0.3)
        with Stopwatch() as watch:
            client.quiet()
        assert watch.took < 0.2


def test_slow_frames() -> None:
    """Each frame waits; of two faults the longer delay counts."""
    with playing(Slow(delay=0.01), Slow(delay=0.05)) as server, Plain(server) as client:
        client.expect("session.created")
        began = time.monotonic()
        for _ in range(4):
            client.quiet()
        assert 0.19 <= time.monotonic() - began < PATIENCE


# -- over TLS ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "breaks"),
    [
        (Drop(on="input_audio_buffer.clear", nth=2), True),
        (Reset(on="input_audio_buffer.clear", nth=2), True),
        (Drop(after=0.05), True),
        (Drop(sent_bytes=400), True),
        (Stall(0.1, on="input_audio_buffer.clear", nth=2), False),
        (Slow(bytes_per_second=1000, on="input_audio_buffer.clear", nth=2), False),
    ],
    ids=str,
)
def test_over_tls(fault: faults.Act, breaks: bool) -> None:
    """The line fails below TLS, which says no goodbye. The client is ours: one SSL object, never two threads."""
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(trusting)

    broke = False
    with playing(fault, ssl_context=serving) as server:
        try:
            with server.client(ssl_context=trusting).realtime.connect(model="m") as session:
                for _ in range(2):
                    session.send({"type": "input_audio_buffer.clear"})
                    session.wait_for("input_audio_buffer.cleared", timeout=PATIENCE)
                if breaks:
                    session.receive(timeout=PATIENCE)
        except (ConnectionLost, ConnectError):
            broke = True
        assert server.wait_idle(PATIENCE)

    assert broke == breaks
