"""``on()``, ``off()``, ``run()``: handlers, on the thread that runs."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest

from meshapi_rt import Cancelled, ConfigurationError, ConnectionLost, RealtimeError, RealtimeMessage, RealtimeSession

from .conftest import client_of
from .peers import BINARY, LIMIT, TEXT, Line, orderly, peer, plain
from .test_receive import IN_BAND, sending


def connected(running: Any) -> RealtimeSession:
    return client_of(running).realtime.connect(model="m")


def numbers(count: int) -> list[dict[str, Any]]:
    return [{"type": "x.n", "n": n} for n in range(count)]


def test_a_handler_gets_its_type() -> None:
    """And no other; on the calling thread, in the order of the wire, until the server closes."""
    got: list[Any] = []
    with peer(sending(*numbers(3), {"type": "x.other"})) as running, connected(running) as session:
        session.on("x.n", lambda message: got.append((plain(message)["n"], threading.current_thread())))

        session.run(timeout=LIMIT)

    assert got == [(n, threading.main_thread()) for n in range(3)]


def test_every_message() -> None:
    """``"*"`` gets what has no type, too, in order of registration with the others."""

    def script(line: Line) -> None:
        line.greet()
        line.send({"type": "x"})
        line.send_frame(BINARY, b"\0\0")
        line.send_frame(TEXT, b"no JSON")
        line.send_close(1000)
        line.serve_until_close()

    got: list[tuple[str, str | None]] = []
    with peer(script) as running, connected(running) as session:
        session.on("x", lambda message: got.append(("first", message.type)))
        session.on("*", lambda message: got.append(("every", message.type)))
        session.on("x", lambda message: got.append(("last", message.type)))

        session.run(timeout=LIMIT)

    assert got == [
        ("every", "session.created"),
        ("first", "x"),
        ("every", "x"),
        ("last", "x"),
        ("every", None),
        ("every", None),
    ]


def test_a_decorator() -> None:
    """``on()`` gives the function back; registered twice, it is called twice."""
    got: list[str | None] = []
    with peer(sending({"type": "x"})) as running, connected(running) as session:

        @session.on("x")
        @session.on("x")
        def note(message: RealtimeMessage) -> None:
            got.append(message.type)

        assert session.on("session.created", note) is note
        session.run(timeout=LIMIT)

    assert got == ["session.created", "x", "x"]


def test_off() -> None:
    """One registration goes, methods are found again, and what is not registered is told."""
    got: list[RealtimeMessage] = []
    with peer(sending({"type": "x"})) as running, connected(running) as session:
        session.on("x", got.append)
        session.on("x", got.append)
        session.off("x", got.append)
        with pytest.raises(ConfigurationError, match=r"is not registered for 'y'"):
            session.off("y", got.append)

        session.run(timeout=LIMIT)

    assert len(got) == 1


def test_changes_in_the_middle_of_a_message() -> None:
    """A removed handler is not called any more, an added one from the next message on."""
    got: list[tuple[str, int]] = []

    def first(message: RealtimeMessage) -> None:
        got.append(("first", plain(message)["n"]))
        session.off("x.n", first)
        session.off("x.n", removed)
        session.on("x.n", added)

    def removed(message: RealtimeMessage) -> None:
        got.append(("removed", plain(message)["n"]))

    def added(message: RealtimeMessage) -> None:
        got.append(("added", plain(message)["n"]))

    with peer(sending(*numbers(2))) as running, connected(running) as session:
        session.on("x.n", first)
        session.on("x.n", removed)

        session.run(timeout=LIMIT)

    assert got == [("first", 0), ("added", 1)]


def test_an_exception_surfaces() -> None:
    """In ``run()``; the session goes on, and the next ``run()`` behind that message."""
    got: list[int] = []

    def fail(message: RealtimeMessage) -> None:
        if plain(message)["n"] == 1:
            raise KeyError("mine")

    with peer(sending(*numbers(4))) as running, connected(running) as session:
        session.on("x.n", fail)
        session.on("x.n", lambda message: got.append(plain(message)["n"]))

        with pytest.raises(KeyError, match="mine"):
            session.run(timeout=LIMIT)
        assert got == [0]
        session.run(timeout=LIMIT)

    assert got == [0, 2, 3]


def test_errors_without_a_handler() -> None:
    """They are raised, like by ``receive()``; the next ``run()`` goes on."""
    got: list[RealtimeMessage] = []
    with peer(sending(IN_BAND, {"type": "x"})) as running, connected(running) as session:
        session.on("x", got.append)

        with pytest.raises(RealtimeError) as raised:
            session.run(timeout=LIMIT)
        assert (raised.value.code, raised.value.close_code) == ("invalid_value", None)
        assert not got
        session.run(timeout=LIMIT)

    assert len(got) == 1


@pytest.mark.parametrize("event_type", ["error", "*"])
def test_errors_with_a_handler(event_type: str) -> None:
    """They are its own, and raised no more."""
    got: list[RealtimeMessage] = []
    with peer(sending(IN_BAND, {"type": "x"})) as running, connected(running) as session:
        session.on(event_type, got.append)

        session.run(timeout=LIMIT)

    assert [message.error.code for message in got if message.error] == ["invalid_value"]


def test_the_session_is_closed_by_a_handler() -> None:
    """What was received before is still handed out; then ``run()`` returns."""
    got: list[int] = []

    def note(message: RealtimeMessage) -> None:
        got.append(plain(message)["n"])
        end = time.monotonic() + LIMIT
        while len(got) == 1 and session.stats.unread_messages < 3 and time.monotonic() < end:
            time.sleep(0.01)
        session.close()

    def script(line: Line) -> None:
        line.greet()
        line.send(*numbers(3), {"type": "x.end"})
        line.serve_until_close()

    with peer(script) as running, connected(running) as session:
        session.on("x.n", note)

        session.run(timeout=LIMIT)

    assert got == [0, 1, 2]


def test_other_ends_are_raised() -> None:
    """As by a loop: an end that is no proper close."""
    with peer(sending({"type": "x"}, code=1011)) as running, connected(running) as session:
        with pytest.raises(ConnectionLost):
            session.run(timeout=LIMIT)
        with pytest.raises(ConnectionLost):
            session.run(timeout=LIMIT)


def test_timeout_and_cancel() -> None:
    """They end the wait for a message, not the session, like those of a loop."""
    cancel = threading.Event()
    with peer(orderly) as running, connected(running) as session:
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            session.run(timeout=0.05)
        timer = threading.Timer(0.05, cancel.set)
        timer.start()
        with pytest.raises(Cancelled):
            session.run(cancel=cancel)
        timer.join(LIMIT)
        assert not session.closed


def test_several_threads_run() -> None:
    """They share the messages: each is handed out once; handlers change meanwhile, and nobody waits for ever."""
    count, stop = 2000, threading.Event()
    got: list[int] = []

    def change() -> None:
        while not stop.is_set():
            session.on("x.n", len_of)
            session.off("x.n", len_of)

    def len_of(message: RealtimeMessage) -> int:
        return len(message.text or "")

    with peer(sending(*numbers(count))) as running, connected(running) as session:
        session.on("x.n", lambda message: got.append(plain(message)["n"]))
        changer = threading.Thread(target=change)
        runners = [threading.Thread(target=session.run, kwargs={"timeout": LIMIT}) for _ in range(3)]
        for thread in (changer, *runners):
            thread.start()
        for thread in runners:
            thread.join(LIMIT)
        stop.set()
        changer.join(LIMIT)

    assert sorted(got) == list(range(count))


async def later(_message: RealtimeMessage) -> None:
    """An async function."""


@pytest.mark.parametrize(
    ("event_type", "handler", "told"),
    [
        ("", print, r"event type such as"),
        (None, print, r"event type such as"),
        (print, None, r"event type such as.*print"),
        ("x", 5, r"a function that takes a message, not 5"),
        ("x", later, r"must not be async"),
    ],
)
def test_what_is_no_handler(event_type: Any, handler: Any, told: str) -> None:
    """Is refused with one clear sentence, ``@session.on`` without a type too."""
    with peer(sending()) as running, connected(running) as session:
        with pytest.raises(ConfigurationError, match=told):
            session.on(event_type, handler)


def test_handlers_do_not_keep_a_session() -> None:
    """One that is forgotten is closed, though its handlers speak of it."""

    def leave() -> weakref.ref[RealtimeSession]:
        session = connected(running)
        session.on("*", lambda _message: session.close())
        return weakref.ref(session)

    with peer(orderly) as running:
        with pytest.warns(ResourceWarning, match="was left open"):
            left = leave()
            gc.collect()
        assert left() is None
