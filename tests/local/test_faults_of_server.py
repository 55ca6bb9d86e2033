"""Scripts of faults: what they may say, when their faults happen, and how a client of ours takes them."""

from __future__ import annotations

import doctest
import inspect
import logging
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import meshapi_rt.local
from meshapi_rt import (
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    RealtimeError,
    RealtimeSession,
    ReconnectPolicy,
    SessionClosed,
)
from meshapi_rt.local import (
    Close,
    Delay,
    Drain,
    Drop,
    ExtraFields,
    Faults,
    LateDeltas,
    LateTranscription,
    LocalServer,
    NoEcho,
    Refuse,
    Reset,
    Send,
    Skip,
    Slow,
    Stall,
    Terminate,
    faults,
)

from .plain import PATIENCE, Plain, types_of
from .playing import end_of, playing

# -- the script -----------------------------------------------------------------------------------------------


def everything() -> list[type[faults.Fault]]:
    """List the kinds of faults."""
    kinds = [getattr(faults, name) for name in faults.__all__]
    bases = (faults.Fault, faults.Scripted, faults.Act, faults.WireAct, faults.Twist, Faults)
    return [kind for kind in kinds if kind not in bases]


def examples() -> list[str]:
    """List the examples of the module's table."""
    table = str(faults.__doc__).split("=\n")[2]
    return re.findall(r"``([A-Z]\w+\(.*?\))``", table)


@pytest.mark.parametrize("example", examples())
def test_examples(example: str) -> None:
    """Every example of the table can be had, and shows itself as it can be written."""
    names = {kind.__name__: kind for kind in (*everything(), Faults, LocalServer)}

    made = eval(example, names)  # noqa: S307

    if isinstance(made, faults.Fault) and not isinstance(made, Send):
        assert eval(repr(made), names) == made  # noqa: S307


def test_docstrings() -> None:
    """What docstrings show is what happens."""
    ran = doctest.testmod(faults)
    assert ran.attempted > 0
    assert ran.failed == 0


def test_table() -> None:
    """The table has every fault, each is at the door, and each tells what its own fields mean."""
    shown = " ".join(examples())
    for kind in everything():
        assert f"{kind.__name__}(" in shown
        assert getattr(meshapi_rt.local, kind.__name__) is kind
        for name in vars(kind).get("__annotations__", {}):
            assert (
                name.startswith("_")
                or f"{name}:" in str(inspect.getdoc(kind))
                or name in ("message", "reason", "times")
            )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Drop(after=-1), r"Drop\(after=-1\): takes seconds"),
        (lambda: Drop(after=float("nan")), "takes seconds"),
        (lambda: Drop(sent=0), "1 or more"),
        (lambda: Drop(received=True), "whole number"),
        (lambda: Drop(sent_bytes=-1), "0 or more"),
        (lambda: Drop(times=0), "1 or more"),
        (lambda: Drop(first=2, connection=1), "first or connection, not both"),
        (lambda: Drop(after=1, sent=2), "not several"),
        (lambda: Drop(sent=1, sent_bytes=2), "not several"),
        (lambda: Drop(nth=2), "which `on` names"),
        (lambda: Drop(on="response.dnoe"), "perhaps 'response.done'"),
        (lambda: Drop(on="response.audio.delta"), "perhaps 'response.output_audio.delta'"),
        (lambda: Drop(on=5), "type of an event"),  # type: ignore[arg-type]
        (lambda: Close(70000), "close code"),
        (lambda: Close(1000, "x" * 124), "123 bytes"),
        (lambda: Terminate(""), "not empty"),
        (lambda: Refuse(101), "200 to 599"),
        (lambda: Refuse(code="x", body="y"), "give one of them"),
        (lambda: Refuse(headers={"A": "b\r\nc: d"}), "headers"),
        (lambda: Refuse(headers=[("a", "b")]), "headers"),  # type: ignore[arg-type]
        (lambda: Refuse(retry_after=[1]), "retry_after"),  # type: ignore[arg-type]
        (lambda: Stall(reading=False, writing=False), "nothing is stalled"),
        (lambda: Stall(reading=1), "True or False"),  # type: ignore[arg-type]
        (Slow, "bytes_per_second, delay or both"),
        (lambda: Slow(bytes_per_second=0), "above 0"),
        (lambda: Send({"kind": "x"}), "`type`"),
        (lambda: Send(5), "an event, or the text"),  # type: ignore[arg-type]
        (lambda: ExtraFields([1]), "fields"),  # type: ignore[arg-type]
        (lambda: ExtraFields(on="response.create"), "sent by the client"),
        (Skip, "needs `on`"),
        (lambda: Delay(1.0), "needs `on`"),
        (lambda: Delay(on="response.done"), "seconds or until"),
        (lambda: LateDeltas(0), "1 or more"),
        (lambda: LateDeltas(on="response.done"), "takes no `on`"),
        (lambda: NoEcho(on="error"), "takes no `on`"),
        (lambda: LateTranscription(on="error"), "takes no `on`"),
        (lambda: Faults(Drop), "takes faults such as"),  # type: ignore[arg-type]
        (lambda: Faults([Drop()]), "takes faults such as"),  # type: ignore[arg-type]
        (lambda: Faults(faults.Act()), "takes faults such as"),
        (lambda: LocalServer(faults=Drop()), r"LocalServer\(faults=Drop\(\)\)"),  # type: ignore[arg-type]
        (lambda: LocalServer().inject(Drop(sent_bytes=1)), "handshake"),
        (lambda: LocalServer().inject("drop"), "takes faults such as"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments(make: Callable[[], Any], says: str) -> None:
    """What cannot be meant is said when it is made, with the name of fault and argument."""
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_shows() -> None:
    """A script shows what differs from the defaults, and no contents."""
    script = Faults(Drop(after=3), Refuse(503, times=2), Send({"type": "x", "audio": "secret"}), Stall(2.5, nth=1))
    assert repr(script) == "Faults(Drop(after=3), Refuse(times=2), Send(frame=<x>), Stall(seconds=2.5))"


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    """What happens is told at info, once for each connection where it concerns many events."""
    caplog.set_level(logging.INFO, "meshapi_rt")
    with playing(ExtraFields({"mood": "good"}), Drop(on="response.created")) as server, Plain(server) as client:
        client.send("response.create")
        end_of(client)

    told = [record.getMessage() for record in caplog.records if "local server, connection 1" in record.getMessage()]
    assert [text.split(": ", 1)[1] for text in told] == [
        "ExtraFields(fields={'mood': 'good'})",
        "Drop(on='response.created')",
    ]


# -- when -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ({}, []),
        ({"after": 0.05}, ["session.created"]),
        ({"sent": 1}, ["session.created"]),
        ({"sent": 3}, ["session.created", *["input_audio_buffer.cleared"] * 2]),
        ({"received": 1}, ["session.created"]),
        ({"received": 2}, ["session.created", "input_audio_buffer.cleared"]),
        ({"on": "input_audio_buffer.cleared"}, ["session.created", "input_audio_buffer.cleared"]),
        ({"on": "input_audio_buffer.cleared", "nth": 2}, ["session.created", *["input_audio_buffer.cleared"] * 2]),
        ({"on": "input_audio_buffer.clear", "nth": 2}, ["session.created", "input_audio_buffer.cleared"]),
    ],
    ids=str,
)
def test_moments(moment: dict[str, Any], expected: list[str]) -> None:
    """A fault waits for a time, a frame of either side, or an event; what was sent before arrives."""
    with playing(Drop(**moment)) as server, Plain(server) as client:
        if "after" not in moment:
            with pytest.raises(ConnectionClosed):
                for _ in range(4):
                    client.send("input_audio_buffer.clear")
                    client.recv()
                client.recv()
        types, end = end_of(client)

    assert (types, end) == (expected, "dropped")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [True, False, False, False]),
        ({"times": 2}, [True, True, False, False]),
        ({"times": None}, [True, True, True, True]),
        ({"first": 3, "times": None}, [True, True, True, False]),
        ({"connection": 3}, [False, False, True, False]),
    ],
    ids=str,
)
def test_connections(options: dict[str, Any], expected: list[bool]) -> None:
    """A fault happens so many times, on the first connections, on one of them, or on all."""
    hit = []
    with playing(Drop(on="session.created", **options)) as server:
        for _ in range(4):
            with Plain(server) as client:
                client.expect("session.created")
                try:
                    client.quiet()
                except ConnectionClosed:
                    hit.append(True)
                else:
                    hit.append(False)

    assert hit == expected


def test_again_on_the_same_connection() -> None:
    """With ``times`` a fault happens again with each event from the n-th on."""
    extra = Send({"type": "extra"}, on="input_audio_buffer.cleared", nth=2, times=2)
    with playing(extra) as server, Plain(server) as client:
        for _ in range(5):
            client.send("input_audio_buffer.clear")
        while types_of(client.events).count("input_audio_buffer.cleared") < 5:
            client.recv()

    cleared = "input_audio_buffer.cleared"
    assert types_of(client.events) == ["session.created", cleared, cleared, "extra", cleared, "extra", cleared, cleared]
    assert client.events[3]["event_id"].startswith("event_")


def test_a_new_start_counts_anew() -> None:
    """A server that is started again plays its script from the beginning."""
    server = playing(Terminate("idle_timeout", connection=1))
    for _ in range(2):
        with server:
            with Plain(server) as client:
                assert end_of(client)[0] == ["error"]
            with Plain(server) as client:
                client.expect("session.created")


def test_together() -> None:
    """Faults compose: a stall, an extra event, then the end; a refusal; then all is well."""
    script = (Stall(0.1, on="response.created"), Send({"type": "x"}, on="response.created"), Drop(on="response.done"))
    with playing(*script, Refuse(connection=2)) as server:
        with Plain(server) as client:
            client.send("response.create", response={"output_modalities": ["text"]})
            types, end = end_of(client)
        assert types[:3] == ["session.created", "response.created", "x"]
        assert types[-1] == "response.done"
        assert end == "dropped"
        with pytest.raises(InvalidStatus):
            Plain(server)
        with Plain(server) as client:
            client.expect("session.created")
            client.quiet()


# -- at a moment of one's choosing ----------------------------------------------------------------------------


def test_inject_into_every_session() -> None:
    """A fault can be had now, in all sessions; it has happened when the call returns, and leaves others alone."""
    with LocalServer() as server:
        with Plain(server) as first, Plain(server) as second:
            for client in (first, second):
                client.expect("session.created")
            assert server.inject(Send({"type": "x"})) == 2
            for client in (first, second):
                client.expect("x")
            assert server.inject(Reset(connection=2)) == 1
            assert end_of(second)[1] == "reset"
            first.quiet()
            assert server.inject(Drain()) == 1
            assert first.rest()[0][-1]["error"]["code"] == "service_draining"
        with Plain(server) as third:
            third.expect("session.created")
            third.quiet()
    assert server.inject(Drop()) == 0


def test_inject_what_waits() -> None:
    """A fault with a moment counts from now; one in the events concerns those to come."""
    with LocalServer() as server, Plain(server) as client:
        client.expect("session.created")
        client.quiet()
        server.inject(ExtraFields({"mood": "good"}))
        server.inject(Close(1013, on="input_audio_buffer.cleared", nth=2))
        client.quiet()
        client.send("input_audio_buffer.clear")
        assert end_of(client)[1] == 1013

    assert [event.get("mood") for event in client.events] == [None, None, "good", "good"]


def test_inject_a_refusal() -> None:
    """Refusals wait for the connections to come."""
    with LocalServer() as server:
        assert server.inject(Refuse(502, times=2)) == 0
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                Plain(server)
        with Plain(server) as client:
            client.expect("session.created")


def test_inject_a_stall_that_ends() -> None:
    """A stall has begun when the call returns; what it holds back comes later."""
    with LocalServer() as server, Plain(server) as client:
        client.expect("session.created")
        began = time.monotonic()
        assert server.inject(Stall(0.2)) == 1
        client.quiet()
        assert time.monotonic() - began >= 0.19


def test_without_faults_nothing_is_in_the_way() -> None:
    """A server without a script writes to its transport as ever."""
    with LocalServer() as server, Plain(server) as client:
        client.expect("session.created")
        assert server._engine is not None
        (link,) = server._engine.links
        assert link._play is None
        assert type(link._ws.transport).__module__.startswith("asyncio")


# -- with a client of ours -----------------------------------------------------------------------------------


QUICK = ReconnectPolicy(delay=0.01, max_delay=0.05)


def end_of_session(session: RealtimeSession) -> Exception:
    """Receive to the end; an error may first be told in-band."""
    for _ in range(10):
        try:
            session.receive(timeout=PATIENCE)
        except (ConnectionLost, SessionClosed, RealtimeError) as exc:
            if getattr(exc, "close_code", None) is not None:
                return exc
    raise AssertionError("the session did not end")


@pytest.mark.parametrize(
    ("fault", "error", "close_code"),
    [
        (Drop(after=0.05), ConnectionLost, 1006),
        (Reset(after=0.05), ConnectionLost, 1006),
        (Drop(sent_bytes=600), ConnectionLost, 1006),
        (Close(1012, "restart", after=0.05), ConnectionLost, 1012),
        (Close(1000, after=0.05), SessionClosed, 1000),
        (Terminate("session_expired", after=0.05), RealtimeError, 1011),
        (Terminate("provider_error", close_code=4001, after=0.05), RealtimeError, 4001),
        (Drain(after=0.05), RealtimeError, 1011),
    ],
    ids=str,
)
def test_our_client_says_how_it_ended(fault: faults.Fault, error: type[Exception], close_code: int) -> None:
    """Each end is told as what it is, behind what came before."""
    greeting = Send({"type": "x", "padding": "x" * 1000}, on="session.created", times=None)
    with playing(fault, *(() if "bytes" in repr(fault) else (greeting,))) as server:
        try:
            with server.client().realtime.connect(model="m") as session:
                assert session.wait_for("x", timeout=PATIENCE)
                ended = end_of_session(session)
        except ConnectError as exc:
            assert "sent_bytes" in repr(fault)
            assert "lost" in str(exc) or "ended" in str(exc) or "closed" in str(exc)
            return
    assert (type(ended), getattr(ended, "close_code", None)) == (error, close_code)


def test_our_client_is_refused() -> None:
    """A refusal has its status, and its code where it has an envelope."""
    with playing(Refuse(503), Refuse(429, code="rate_limit_exceeded", retry_after=2)) as server:
        for status, code in ((503, None), (429, "rate_limit_exceeded")):
            with pytest.raises(ConnectRefused) as caught:
                server.client().realtime.connect(model="m")
            assert caught.value.status == status
            assert code in (None, caught.value.code)
        server.client().realtime.connect(model="m").close()


def test_our_client_comes_back() -> None:
    """Through drops, resets, closes, errors and refusals: one message for each time, and the conversation stays."""
    ways = (
        Drop(on="response.done", connection=1),
        Refuse(503, connection=2),
        Reset(on="response.create", connection=3),
        Drop(sent_bytes=0, connection=4),
        Terminate("service_draining", connection=5),
        Close(1012, on="response.done", connection=6),
        Terminate("session_duration_exceeded", on="response.done", connection=7),
        ExtraFields(),
    )
    with playing(*ways) as server:
        with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
            content = [{"type": "input_text", "text": "Hello"}]
            session.send(
                {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
            )
            session.wait_for("conversation.item.done", timeout=PATIENCE)
            for _ in range(4):
                session.send({"type": "response.create"})
                session.wait_for("meshapi.reconnected", timeout=PATIENCE)
            assert session.stats.reconnects == 4
            (live,) = server.sessions
            assert live.items[0].text == "Hello"
