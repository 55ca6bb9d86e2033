"""``receive()``, ``events()``, ``wait_for()``: who gets what, when, and how the end is told."""

from __future__ import annotations

import base64
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from meshapi_rt import (
    Cancelled,
    ConnectionLost,
    EventStream,
    RealtimeError,
    RealtimeMessage,
    RealtimeSession,
    SessionClosed,
)

from .clock import Stopwatch
from .conftest import TOKEN, client_of
from .peers import BINARY, CLOSE, LIMIT, TEXT, Line, gone, orderly, peer, plain

IN_BAND = {
    "type": "error",
    "event_id": "event_9",
    "error": {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "no",
        "param": "x",
        "event_id": "e1",
    },
}


def sending(*events: Any, code: int | None = 1000, reason: str = "") -> Callable[[Line], None]:
    """Return a script: hello, *events*, then a close (or none with ``code=None``)."""

    def script(line: Line) -> None:
        line.greet()
        line.send(*events)
        if code is not None:
            line.send_close(code, reason)
            line.serve_until_close()

    return script


def everything(session: RealtimeSession) -> list[RealtimeMessage]:
    return list(session.events(timeout=LIMIT))


def test_the_first_frame_is_delivered() -> None:
    """connect() waits for the first frame and leaves it for the consumer."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        assert session.receive(timeout=LIMIT).type == "session.created"
        assert session.id == "sess_1"
        assert session.settings["model"] == "gpt-realtime-mini"


def test_messages_show_their_parts() -> None:
    """Text, event, type, audio and error of a message; none of it ever prints the audio."""
    pcm = bytes(range(100))
    delta = {"type": "response.output_audio.delta", "delta": base64.b64encode(pcm).decode()}
    retired = {**delta, "type": "response.audio.delta"}
    with (
        peer(sending(delta, retired, IN_BAND, {"type": "x"})) as running,
        client_of(running).realtime.connect(model="m") as session,
    ):
        _, first, second, error, _ = everything(session)
        assert first.audio == second.audio == pcm
        assert plain(first) == delta
        assert first.text is not None
        assert not first.is_binary
        assert delta["delta"] not in repr(first)
        assert error.error is not None
        assert (error.error.code, error.error.param, error.error.event_id) == ("invalid_value", "x", "e1")


def test_a_binary_frame_is_audio() -> None:
    """A binary frame has audio, and neither text nor event."""

    def script(line: Line) -> None:
        line.greet()
        line.send_frame(BINARY, b"\1\2\3")
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        message = session.receive(timeout=LIMIT)
        assert (message.audio, message.text, message.event) == (b"\1\2\3", None, None)
        assert message.is_binary
        assert message.type is None


@pytest.mark.parametrize(
    "text",
    ["[1]", "7", "nonsense", "", '{"a":NaN}', '"x"', "null", "[" * 100_000, '{"type":5}', '{"x":' + "1" * 6000 + "}"],
)
def test_text_that_is_no_event_does_not_end_the_session(text: str) -> None:
    """Such a frame arrives as text; the session goes on."""

    def script(line: Line) -> None:
        line.greet()
        line.send_frame(TEXT, text.encode())
        line.send({"type": "x.next"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        message = session.receive(timeout=LIMIT)
        assert message.text == text
        assert message.type is None
        assert len(repr(message)) < 200
        assert session.receive(timeout=LIMIT).type == "x.next"


@pytest.mark.parametrize("delta", ["%%%", "AAA", "AA=A", 7, None, "AAAA\n", "ä"])
def test_a_broken_audio_delta_does_not_end_the_session(delta: object) -> None:
    """Its audio is None, its event is there."""
    event = {"type": "response.output_audio.delta", "delta": delta}
    with peer(sending(event)) as running, client_of(running).realtime.connect(model="m") as session:
        message = everything(session)[1]
        assert message.audio is None
        assert message.event == event


@pytest.mark.parametrize("timeout", [0, 0.05, 0.3])
def test_timeout_ends_the_wait(timeout: float) -> None:
    """Within 50 ms of the caller's number, and the session goes on."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive()
        with Stopwatch() as watch, pytest.raises(TimeoutError, match=f"{timeout:g} s"):
            session.receive(timeout=timeout)
        assert watch.took - timeout < 0.05
        with pytest.raises(TimeoutError, match="still open"):
            next(session.events(timeout=0))
        assert not session.closed


@pytest.mark.parametrize("call", ["receive", "events", "wait_for"])
def test_cancel_ends_the_wait(call: str) -> None:
    """Within 50 ms of the event being set, and the session goes on."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        session.receive()
        cancel, watch = threading.Event(), Stopwatch()

        def later() -> None:
            watch.start()
            cancel.set()

        timer = threading.Timer(0.1, later)
        calls: dict[str, Callable[[], object]] = {
            "receive": lambda: session.receive(cancel=cancel),
            "events": lambda: next(session.events(cancel=cancel)),
            "wait_for": lambda: session.wait_for("x", cancel=cancel),
        }
        with watch, pytest.raises(Cancelled):
            timer.start()
            calls[call]()
        assert watch.took < 0.05
        timer.join()
        assert not session.closed


def test_an_in_band_error_is_raised_by_receive_and_the_session_goes_on() -> None:
    """receive() raises it once; the next call gets the next message."""
    with (
        peer(sending(IN_BAND, {"type": "x.next"})) as running,
        client_of(running).realtime.connect(model="m") as session,
    ):
        session.receive(timeout=LIMIT)
        with pytest.raises(RealtimeError, match="invalid_value"):
            session.receive(timeout=LIMIT)
        assert session.receive(timeout=LIMIT).type == "x.next"


def test_events_can_raise_errors_and_go_on() -> None:
    """on_error="raise": the next loop goes on where the last one stopped."""
    with (
        peer(sending(IN_BAND, {"type": "x.next"})) as running,
        client_of(running).realtime.connect(model="m") as session,
    ):
        stream = session.events(on_error="raise", timeout=LIMIT)
        with pytest.raises(RealtimeError):
            list(stream)
        assert [message.type for message in stream] == ["x.next"]


# -- the end ---


def end_of(script: Callable[[Line], None]) -> BaseException:
    """Return how a session with *script* ends; the same on every later call, and for a loop."""
    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        ends: list[BaseException] = []
        while len(ends) < 3:
            try:
                session.receive(timeout=LIMIT)
            except RealtimeError as exc:
                if exc.close_code is not None:
                    ends.append(exc)
            except (SessionClosed, ConnectionLost) as exc:
                ends.append(exc)
        assert len({(type(end), str(end)) for end in ends}) == 1
        assert len({id(end) for end in ends}) == 3
        if isinstance(ends[0], SessionClosed):
            assert list(session) == []
        else:
            with pytest.raises(type(ends[0])):
                list(session)
        return ends[0]


def test_a_close_with_1000_is_session_closed() -> None:
    """An EOFError with code and reason."""
    end = end_of(sending(code=1000, reason="bye"))
    assert isinstance(end, SessionClosed)
    assert isinstance(end, EOFError)
    assert (end.close_code, end.close_reason) == (1000, "bye")


@pytest.mark.parametrize("code", [1001, 1008, 1011, 1012, 1013, 3000, 4000, 4402])
def test_any_other_close_is_connection_lost(code: int) -> None:
    """1001 included."""
    end = end_of(sending(code=code, reason="why"))
    assert isinstance(end, ConnectionLost)
    assert isinstance(end, ConnectionError)
    assert (end.close_code, end.close_reason) == (code, "why")


def test_an_empty_close_frame_is_connection_lost() -> None:
    """1005 is told."""

    def script(line: Line) -> None:
        line.greet()
        line.send_frame(CLOSE)
        line.serve_until_close()

    end = end_of(script)
    assert isinstance(end, ConnectionLost)
    assert end.close_code == 1005


@pytest.mark.parametrize("how", [gone, lambda line: (line.greet(), line.reset())])
def test_a_dropped_connection_is_connection_lost(how: Callable[[Line], None]) -> None:
    """By FIN and by RST: 1006."""
    end = end_of(how)
    assert isinstance(end, ConnectionLost)
    assert end.close_code == 1006


TERMINAL = {"type": "error", "error": {"code": "insufficient_quota", "message": "no credit"}, "request_id": "req_1"}


def test_an_error_before_the_close_is_the_end() -> None:
    """The gateway's terminal envelope: the RealtimeError itself, with close_code and request id."""
    end = end_of(sending(TERMINAL, code=1008))
    assert isinstance(end, RealtimeError)
    assert (end.code, end.close_code, end.request_id) == ("insufficient_quota", 1008, "req_1")


def test_an_error_before_a_drop_is_the_cause() -> None:
    """Without a close frame it is ConnectionLost, with the error behind it."""
    end = end_of(sending(TERMINAL, code=None))
    assert isinstance(end, ConnectionLost)
    assert isinstance(end.__cause__, RealtimeError)


# -- the stream and its queues ---


def test_the_pair_of_queues() -> None:
    """Messages ends with None for every consumer; errors gets one entry."""
    with peer(sending({"type": "x.n"})) as running, client_of(running).realtime.connect(model="m") as session:
        messages, errors = session.events().queues
        assert isinstance(messages, queue.Queue)
        got = [messages.get(timeout=LIMIT) for _ in range(4)]
        assert [message and message.type for message in got] == ["session.created", "x.n", None, None]
        assert errors.get(timeout=LIMIT) is None
        assert errors.empty()


def test_the_error_queue_gets_the_end_without_a_consumer() -> None:
    """A thread that waits for errors alone is woken."""
    with peer(sending(TERMINAL, code=4402)) as running, client_of(running).realtime.connect(model="m") as session:
        stream = session.events()
        end = stream.errors.get(timeout=LIMIT)
        assert isinstance(end, RealtimeError)
        assert end.close_code == 4402
        assert stream.messages.qsize() == 2
        late = session.events().errors.get(timeout=LIMIT)
        assert isinstance(late, RealtimeError)


def test_queue_timeouts() -> None:
    """Get and get_nowait raise queue.Empty as queues do."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        messages = session.events().messages
        assert not messages.empty()
        messages.get_nowait()
        assert messages.empty()
        with pytest.raises(queue.Empty):
            messages.get_nowait()
        with pytest.raises(queue.Empty):
            messages.get(timeout=0.02)
        with pytest.raises(TypeError):
            messages.put(None)


def test_closing_a_stream_stops_it_alone() -> None:
    """Its loop ends, its queues get their markers; the session and other streams go on."""

    def script(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send({"type": "x.n"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        stream, other = session.events(), session.events(timeout=LIMIT)
        session.receive(timeout=LIMIT)
        timer = threading.Timer(0.1, stream.close)
        timer.start()
        assert list(stream) == []
        timer.join()
        assert stream.messages.get() is None
        assert stream.errors.get_nowait() is None
        session.send({"type": "x"})
        assert next(other).type == "x.n"


def test_unpacking_the_stream_names_the_queues() -> None:
    """The Go spelling gets the sentence that helps."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        with pytest.raises(TypeError, match=r"\.queues"):
            _messages, _errors = session.events()
        with pytest.raises(TypeError, match=r"\.queues"):
            _first, *_rest = session.events()
        assert next(iter(session.events())).type == "session.created"


def test_several_consumers_share_the_messages() -> None:
    """Each message goes to exactly one of them."""
    count = 2000
    events = [{"type": "x.n", "n": n} for n in range(count)]
    with peer(sending(*events)) as running, client_of(running).realtime.connect(model="m") as session:
        got: list[list[int]] = [[] for _ in range(4)]

        def consume(mine: list[int]) -> None:
            mine.extend(plain(m)["n"] for m in session.events(timeout=LIMIT) if m.type == "x.n")

        threads = [threading.Thread(target=consume, args=(mine,)) for mine in got]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert sorted(n for mine in got for n in mine) == list(range(count))
        assert all(mine == sorted(mine) for mine in got)


def test_wait_for() -> None:
    """By type or by predicate; it passes over what it skips, and raises an error that was not waited for."""
    events = [{"type": "x.a", "n": 1}, {"type": "x.b"}, IN_BAND, {"type": "x.c"}]
    with (
        peer(sending(*events, code=None)) as running,
        client_of(running).realtime.connect(model="m") as session,
    ):
        found = session.wait_for(lambda m: bool(m.event and m.event.get("n") == 1), timeout=LIMIT)
        assert found.type == "x.a"
        with pytest.raises(RealtimeError):
            session.wait_for("x.c", timeout=LIMIT)
        assert session.wait_for("x.c", timeout=LIMIT).type == "x.c"
        with pytest.raises(ConnectionLost):
            session.wait_for("x.never", timeout=LIMIT)


def test_wait_for_times_out_with_the_callers_number() -> None:
    """And names what it waited for."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        with pytest.raises(TimeoutError, match=r"no response.done came within 0.05 s"):
            session.wait_for("response.done", timeout=0.05)


# -- what the server confirms ---


def test_settings_follow_the_server() -> None:
    """session.updated replaces them; a copy is given out."""
    updated = {"type": "session.updated", "session": {"type": "realtime", "instructions": "be brief"}}
    with peer(sending(updated)) as running, client_of(running).realtime.connect(model="m") as session:
        everything(session)
        settings = session.settings
        assert settings["instructions"] == "be brief"
        settings["instructions"] = "changed"
        assert session.settings["instructions"] == "be brief"
        assert session.id == "sess_1"
        assert session.model == "m"


def test_a_server_that_repeats_the_token_is_redacted() -> None:
    """In exceptions; the message itself stays as on the wire."""
    event = {"type": "error", "error": {"code": "invalid_api_key", "message": f"bad key {TOKEN}"}}
    with peer(sending({"type": "x"}, event, code=1008, reason=TOKEN)) as running:
        session = client_of(running).realtime.connect(model="m")
        messages = [session.events().messages.get(timeout=LIMIT) for _ in range(3)]
        assert messages[2] is not None
        assert TOKEN in (messages[2].text or "")
        assert TOKEN not in str(messages[2].error)
        with pytest.raises(RealtimeError) as caught:
            session.receive(timeout=LIMIT)
        assert TOKEN not in f"{caught.value!r} {caught.value} {session!r} {session.close_reason}"


# -- a slow consumer ---


def test_unread_messages_are_bounded_and_none_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the bound the reader stops reading; when the consumer goes on, everything comes."""
    pad, count = "x" * 10_000, 2000
    with peer(sending(*({"type": "x.n", "n": n, "pad": pad} for n in range(count)))) as running:
        session = client_of(running).realtime.connect(model="m", max_unread_bytes=500_000)
        stream = session.events(timeout=LIMIT)
        end = time.monotonic() + LIMIT
        while "max_unread_bytes" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)
        assert stream.messages.qsize() < 100

        got = [plain(message)["n"] for message in stream if message.type == "x.n"]

        assert got == list(range(count))
        assert caplog.text.count("max_unread_bytes") == 1


def test_an_end_that_follows_a_stall_names_it(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever let the reader wait learns that this may be why the server hung up."""

    def script(line: Line) -> None:
        line.greet()
        line.send(*({"type": "x.n", "pad": "x" * 1000} for _ in range(500)))
        line.read_event()

    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m", max_unread_bytes=10_000)
        session.send({"type": "x.bye"})
        with pytest.raises(ConnectionLost, match="nobody consumed"):
            list(session.events(timeout=LIMIT))


def test_pings_go_on_while_nobody_consumes() -> None:
    """A pause of the consumer, the inbox full: the server still hears from us, and nothing is lost."""
    pings = threading.Semaphore(0)

    def script(line: Line) -> None:
        line.greet()
        sender = threading.Thread(
            target=line.send, args=[{"type": "x.n", "n": n, "pad": "x" * 1000} for n in range(5000)], daemon=True
        )
        sender.start()
        while True:
            got = line.read_frame()
            if got.opcode == 9:
                pings.release()
            elif got.opcode == CLOSE:
                line.send_frame(CLOSE, got.payload)
                return

    with peer(script) as running:
        session = client_of(running).realtime.connect(
            model="m", max_unread_bytes=50_000, ping_interval=0.1, ping_timeout=0.5
        )
        for _ in range(10):
            assert pings.acquire(timeout=LIMIT)
        assert not session.closed
        got: list[int] = []
        while len(got) < 5000:
            message = session.receive(timeout=LIMIT)
            if message.type == "x.n":
                got.append(plain(message)["n"])
        assert got == list(range(5000))
        session.close()


def test_a_new_log_level_takes_effect_with_the_next_event_but_audio(caplog: pytest.LogCaptureFixture) -> None:
    """It is looked up with those, for audio comes and goes too often."""

    def script(line: Line) -> None:
        line.greet()
        while True:
            if line.read_event()["type"] == "x.next":
                line.send({"type": "response.output_audio.delta", "delta": "AAAA"}, {"type": "x.done"})

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        counts = []
        for level in (logging.DEBUG, logging.INFO, logging.INFO):
            caplog.set_level(level, "meshapi_rt")
            caplog.clear()
            session.send({"type": "x.next"})
            session.send_audio(bytes(2))
            session.wait_for("x.done", timeout=LIMIT)
            told = [record.getMessage() for record in caplog.records]
            counts.append((sum("delta" in line for line in told), sum("sent audio" in line for line in told)))
        assert counts[0] == (1, 1)
        assert counts[2] == (0, 0)  # the second time, the delta may have been looked at before the other


def test_a_dead_line_is_found() -> None:
    """No pong and nothing else in time: ConnectionLost."""

    def script(line: Line) -> None:
        line.greet()
        line.stopping.wait(LIMIT)

    with peer(script) as running:
        session = client_of(running).realtime.connect(model="m", ping_interval=0.05, ping_timeout=0.2)
        with Stopwatch() as watch, pytest.raises(ConnectionLost, match="ping"):
            list(session.events(timeout=LIMIT))
        assert watch.took < 1.5


def test_event_stream_is_public() -> None:
    """The class is exported for annotations."""
    with peer(orderly) as running, client_of(running).realtime.connect(model="m") as session:
        assert isinstance(session.events(), EventStream)
