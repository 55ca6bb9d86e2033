"""Calls that wait beside loops that read: who gets what, what is kept, and that nobody waits for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from meshapi_rt import ConnectionLost, RealtimeError, RealtimeMessage, RealtimeSession, ReconnectPolicy
from meshapi_rt.local import Drop, LocalServer, Stall

from .conftest import client_of
from .peers import LIMIT, Line, peer
from .test_close import in_thread

QUICK = ReconnectPolicy(delay=0.01, max_delay=0.05)


def types(messages: list[RealtimeMessage]) -> list[str | None]:
    return [message.type for message in messages]


def test_claimed_messages_are_not_kept() -> None:
    """Where nobody reads, a call's answers go to the call alone."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        for _ in range(200):
            session.update()
            session.conversation.item.create_user_message("x")
        assert session.stats.unread_messages == 1  # session.created


def test_an_open_stream_sees_them_too() -> None:
    """Until it is closed; errors go to the call alone."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        stream = session.events()
        session.update()
        with pytest.raises(RealtimeError):
            session.update(speed=9.0)
        stream.close()
        session.update()
        assert types([session.receive(timeout=LIMIT) for _ in range(2)]) == ["session.created", "session.updated"]
        assert session.stats.unread_messages == 0


def test_a_stream_that_is_garbage_sees_nothing() -> None:
    """A loop that was left holds nothing."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        for _ in session.events():
            break
        session.update()
        assert session.stats.unread_messages == 0


def receives(session: RealtimeSession, got: list[str | None]) -> None:
    while True:
        got.append(session.receive().type)


def iterates(session: RealtimeSession, got: list[str | None]) -> None:
    got.extend(message.type for message in session.events())


def takes(session: RealtimeSession, got: list[str | None]) -> None:
    messages, _ = session.events().queues
    while (message := messages.get()) is not None:
        got.append(message.type)


@pytest.mark.parametrize("loop", [receives, iterates, takes])
def test_a_loop_in_another_thread_misses_nothing(
    loop: Callable[[RealtimeSession, list[str | None]], None],
) -> None:
    """Also in the moments between two calls of receive()."""
    got: list[str | None] = []
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        thread, _ = in_thread(lambda: loop(session, got))
        while not got:
            time.sleep(0.001)
        for number in range(100):
            session.conversation.item.create_user_message(f"x{number}")
            session.update()
        session.send({"type": "input_audio_buffer.clear"})
        end = time.monotonic() + LIMIT
        while "input_audio_buffer.cleared" not in got and time.monotonic() < end:
            time.sleep(0.001)
    thread.join(LIMIT)
    assert got.count("conversation.item.added") == got.count("conversation.item.done") == 100
    assert got.count("session.updated") == 100


def test_who_waits_misses_nothing_of_a_stream_in_another_thread() -> None:
    """Also of what comes while that thread has something to do between two pieces."""
    waits = threading.Event()

    def is_done(message: RealtimeMessage) -> bool:
        waits.set()
        return message.type == "response.done"

    def stream(session: RealtimeSession) -> None:
        assert waits.wait(LIMIT)
        for _ in session.ask_stream("one two three four five", timeout=LIMIT):
            end = time.monotonic() + LIMIT
            while not session.usage.total_tokens and time.monotonic() < end:
                time.sleep(0.001)

    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        thread, failures = in_thread(lambda: stream(session))
        assert session.wait_for(is_done, timeout=LIMIT).type == "response.done"
        thread.join(LIMIT)
    assert failures == []


def test_a_loop_may_call() -> None:
    """The thread that consumes calls in the middle of its loop, and sees the answers behind that."""
    seen = []
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        for message in session.events(timeout=LIMIT):
            seen.append(message.type)
            if message.type == "session.created":
                session.update(instructions="x")
                session.conversation.item.create_user_message("y")
            elif message.type == "conversation.item.done":
                break
    assert seen == ["session.created", "session.updated", "conversation.item.added", "conversation.item.done"]


def flooding(line: Line) -> None:
    """Answer each update behind more than fits into the inbox."""
    line.greet()
    while True:
        event = line.read_event()
        line.send(*({"type": "x.flood", "pad": "x" * 1000} for _ in range(200)))
        line.send({"type": "session.updated", "session": event["session"]})


def test_a_call_does_not_wait_for_the_main_stream() -> None:
    """The reader goes on beyond the bound while a call waits, and the stats tell."""
    with peer(flooding) as running:
        with client_of(running).realtime.connect(model="m", max_unread_bytes=50_000) as session:
            for _ in range(3):
                session.update(timeout=LIMIT)
            stats = session.stats
    assert stats.unread_messages == 601
    assert stats.unread_beyond > 0


def test_a_call_wakes_a_reader_that_waits() -> None:
    """It stalled before the call began."""
    with peer(flooding) as running:
        with client_of(running).realtime.connect(model="m", max_unread_bytes=50_000) as session:
            session.update(wait=False)
            end = time.monotonic() + LIMIT
            while not session.stats.stalls and time.monotonic() < end:
                time.sleep(0.001)
            assert session.stats.stalls == 1
            session.update(timeout=LIMIT)


def test_calls_of_many_threads_get_their_own_answers() -> None:
    """Each item by its id, each update in its turn, each error by its event."""

    def work(session: RealtimeSession, name: str) -> None:
        for number in range(20):
            item_id = f"{name}_{number}"
            session.conversation.item.create({"id": item_id, "type": "message", "role": "user", "content": []})
            assert session.conversation.item.retrieve(item_id)["id"] == item_id
            session.conversation.item.delete(item_id)
            with pytest.raises(RealtimeError, match=item_id):
                session.conversation.item.delete(item_id)
            assert "audio" in session.update()

    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        threads = [in_thread(lambda name=name: work(session, name)) for name in "abcdefgh"]  # type: ignore[misc]
        for thread, failures in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
            assert not failures
        assert session.stats.unread_messages == 1


def test_a_keepalive_between_calls_confuses_nothing() -> None:
    """Its answer is hidden, and the calls' answers are their own."""
    with LocalServer() as server, server.client().realtime.connect(model="m", keepalive=0.01) as session:
        for number in range(30):
            time.sleep(0.005)
            assert session.update(instructions=str(number))["instructions"] == str(number)
        assert session.stats.unread_messages == 1


def test_a_call_ends_when_the_connection_is_replaced() -> None:
    """With an error that says what is known; the next call goes out on the new connection."""
    with LocalServer() as server, server.client().realtime.connect(model="m", reconnect=QUICK) as session:
        session.update(instructions="kept")
        server.inject(Stall())
        thread, failures = in_thread(lambda: session.update(instructions="lost", timeout=LIMIT))
        while not session._engine.claims.waiting:
            time.sleep(0.001)
        time.sleep(0.05)
        server.inject(Drop())
        thread.join(LIMIT)
        (failure,) = failures
        assert isinstance(failure, ConnectionLost)
        assert "not known" in str(failure)
        assert not session.closed
        assert session.update(timeout=LIMIT)["instructions"] == "kept"
        assert session.stats.reconnects == 1


def test_a_call_in_the_gap_waits_for_the_next_connection() -> None:
    """Nothing was sent before, so nothing is lost."""
    with LocalServer() as server, server.client().realtime.connect(model="m", reconnect=QUICK) as session:
        session.receive(timeout=LIMIT)
        server.inject(Drop())
        session.wait_for("meshapi.reconnected", timeout=LIMIT)
        assert session.update(instructions="x", timeout=LIMIT)["instructions"] == "x"


def test_with_no_call_open_nothing_is_looked_at() -> None:
    """One test per batch is all that calls cost when there are none."""
    with LocalServer() as server, server.client().realtime.connect(model="m") as session:
        assert not session._engine.claims.busy
        session.update()
        session.conversation.item.delete(session.conversation.item.create_user_message("x")["id"])
        session.update()
        assert not session._engine.claims.busy
