"""Tools and connections that break."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from meshapi_rt import (
    ConnectionLost,
    ReconnectPolicy,
)
from meshapi_rt.local import Drop, Faults, LocalServer, Stall
from meshapi_rt.waiting import Wait

from ..peers import LIMIT
from .bench import (
    MANUAL,
    QUICK,
    WEATHER,
    answer,
    calling,
    create,
    done,
    followed,
    names,
    no_error,
    sent,
    text_of,
    turn_of,
    until,
    weather,
)


def test_a_tool_outlives_its_connection(serve: Callable[..., LocalServer], release: threading.Event) -> None:
    """The output goes to the connection that has the call now; one follow-up comes, and the tools are there."""

    def wait(city: str) -> str:
        release.wait(LIMIT)
        return f"sun in {city}"

    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
        session.tool(wait, name="weather")
        session.send({"type": "session.update", "session": MANUAL})
        create(session)
        first = done(session)
        for _ in range(2):
            server.drop()
            session.wait_for("meshapi.reconnected", timeout=LIMIT)
        release.set()
        assert text_of(done(session)) == "sun in Bonn"
        assert names(session) == ["weather"]
        assert [call.error for call in turn_of(session, first["id"]).calls] == [None]
    assert len(sent(server, "response.create")) == 2


def test_an_output_whose_call_is_gone_is_dropped(
    serve: Callable[..., LocalServer], release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing follows it; it is logged."""

    def wait(city: str) -> str:
        release.wait(LIMIT)
        return city

    server = serve(calling(WEATHER))
    policy = ReconnectPolicy(delay=0.01, restore_items=0)
    with server.client().realtime.connect(model="m", reconnect=policy) as session:
        session.tool(wait, name="weather")
        create(session)
        first = done(session)
        server.drop()
        session.wait_for("meshapi.reconnected", timeout=LIMIT)
        release.set()
        turn = turn_of(session, first["id"])
        assert turn.over.wait(LIMIT)
        assert turn.follow_up is None
        assert len(turn.calls) == 1
        assert "the conversation that was restored does not hold the call" in caplog.text
    assert sent(server, "conversation.item.create") == []
    assert len(sent(server, "response.create")) == 1


def test_an_output_whose_call_was_deleted_is_dropped(
    serve: Callable[..., LocalServer], release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's refusal is logged, and no consumer sees it."""

    def wait(city: str) -> str:
        release.wait(LIMIT)
        return city

    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m") as session:
        session.tool(wait, name="weather")
        create(session)
        first = done(session)
        session.send({"type": "conversation.item.delete", "item_id": first["output"][0]["id"]})
        session.wait_for("conversation.item.deleted", timeout=LIMIT)
        release.set()
        seen = no_error(session, "response.done")
        until(lambda: "no function call" in caplog.text)
        assert not [
            message for message in seen if message.type == "conversation.item.added" and "output" in str(message.event)
        ]


def test_what_the_old_connection_swallowed_is_sent_again(serve: Callable[..., LocalServer]) -> None:
    """A registration, an output and a follow-up that were sent into a dead line, once each."""
    server = serve(calling(WEATHER))
    settings: dict[str, Any] = {"ping_interval": 0.2, "ping_timeout": 0.3}
    stalled = threading.Event()

    def stall(city: str) -> str:
        server.inject(Stall())
        stalled.set()
        return f"sun in {city}"

    with server.client().realtime.connect(model="m", reconnect=QUICK, **settings) as session:
        session.tool(stall, name="weather")
        create(session)
        first = done(session)
        assert stalled.wait(LIMIT)
        session.tool(weather, name="second")
        session.wait_for("meshapi.reconnected", timeout=LIMIT)
        last = done(session)
        assert text_of(last) == "sun in Bonn"
        assert followed(session, first["id"]) == last["id"]
        until(lambda: names(session) == ["weather", "second"])
        assert [item.type for item in server.sessions[-1].items].count("function_call_output") == 1


MOMENTS = [
    ("response.done", 1),
    ("conversation.item.create", 1),
    ("conversation.item.added", 2),
    ("conversation.item.done", 2),
    ("response.create", 2),
]


@pytest.mark.parametrize(("event", "nth"), MOMENTS)
def test_a_connection_that_breaks_in_between(serve: Callable[..., LocalServer], event: str, nth: int) -> None:
    """Wherever that is: the output is in the conversation once, and one answer comes."""
    server = serve(calling(WEATHER), faults=Faults(Drop(on=event, nth=nth, connection=1)))
    with server.client().realtime.connect(model="m", reconnect=QUICK, tools=[weather]) as session:
        session.send({"type": "session.update", "session": MANUAL})
        create(session)
        session.wait_for("meshapi.reconnected", timeout=LIMIT)
        assert "Bonn" in text_of(done(session))
        kinds = [item.type for item in server.sessions[-1].items]
        assert kinds == ["function_call", "function_call_output", "message"]


def test_nothing_slips_to_the_next_connection(serve: Callable[..., LocalServer]) -> None:
    """What is meant for one goes out on that one, or raises at once: before, in, and after the gap."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m", reconnect=QUICK) as session:
        sender = session._engine.sender
        line = sender.connection
        event = {"type": "input_audio_buffer.clear"}
        sender.send(event, Wait(LIMIT), only=line)
        session.wait_for("input_audio_buffer.cleared", timeout=LIMIT)
        server.drop()
        with pytest.raises(ConnectionLost):
            until(lambda: not sender.send(event, Wait(LIMIT), only=line))
        session.wait_for("meshapi.reconnected", timeout=LIMIT)
        with pytest.raises(ConnectionLost, match="meant for is gone; nothing was sent"):
            sender.send(event, Wait(LIMIT), only=line)
        sender.send(event, Wait(LIMIT), only=sender.connection)
        session.wait_for("input_audio_buffer.cleared", timeout=LIMIT)


def test_a_response_that_was_cut_by_the_connection_runs_nothing(serve: Callable[..., LocalServer]) -> None:
    """Its call was whole, but whether the response was is not known."""
    server = serve(calling(WEATHER), faults=Faults(Drop(on="conversation.item.done", connection=1)))
    with server.client().realtime.connect(model="m", reconnect=QUICK, tools=[weather]) as session:
        create(session)
        session.wait_for("meshapi.reconnected", timeout=LIMIT)
        assert text_of(answer(session, tool_choice="none")) == "nothing"
    assert sent(server, "conversation.item.create")[1:] == []
