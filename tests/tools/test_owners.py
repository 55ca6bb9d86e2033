"""Whose tools a session has: registered ones, raw ones of the user, those of one response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshapi_rt import (
    ConfigurationError,
    RealtimeSession,
    SessionClosed,
)
from meshapi_rt.local import LocalServer, Text, ToolCall
from meshapi_rt.tools import Tool

from ..peers import LIMIT
from .bench import (
    RAW,
    WEATHER,
    calling,
    create,
    done,
    names,
    sent,
    text_of,
    turn_of,
    weather,
)


def updated(session: RealtimeSession) -> None:
    session.wait_for("session.updated", timeout=LIMIT)


def test_registering(serve: Callable[..., LocalServer]) -> None:
    """As a decorator with and without options, as a call; the server has every one at once."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m") as session:
        plain = session.tool(weather)

        @session.tool(name="other", description="Another.", timeout=5)
        def odd_name(a: int) -> int:
            return a

        session.tools.add(Tool.of(weather, name="third"))
        for _ in range(3):
            updated(session)
        assert plain is weather
        assert odd_name(3) == 3
        assert names(session) == ["weather", "other", "third"]
        with pytest.raises(ConfigurationError, match="already a tool named"):
            session.tool(weather)
        session.tools.remove("other")
        updated(session)
        assert names(session) == ["weather", "third"]
        assert repr(session.tools) == "<Toolbox of weather, third>"
    with pytest.raises(SessionClosed):
        session.tool(weather, name="late")
    assert "late" not in session.tools


def test_a_closed_session_takes_no_tools(serve: Callable[..., LocalServer]) -> None:
    """It says so, and starts no thread."""
    session = serve(calling()).client().realtime.connect(model="m")
    session.close()
    with pytest.raises(SessionClosed):
        session.tool(weather)


@pytest.mark.parametrize("raw_first", [True, False])
def test_raw_tools_stay(serve: Callable[..., LocalServer], raw_first: bool) -> None:
    """Whatever comes first; what the user replaces are the user's own."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m") as session:
        given = {"type": "session.update", "session": {"type": "realtime", "tools": [RAW]}}
        steps: list[Callable[[], object]] = [lambda: session.send(given), lambda: session.tool(weather)]
        for step in steps if raw_first else reversed(steps):
            step()
            updated(session)
        assert names(session) == ["raw", "weather"]
        assert given["session"] == {"type": "realtime", "tools": [RAW]}

        session.send({"type": "session.update", "session": {"type": "realtime", "tools": []}})
        updated(session)
        assert names(session) == ["weather"]


def test_refused_raw_tools_are_not_repeated(serve: Callable[..., LocalServer]) -> None:
    """The ones before them are."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m") as session:
        session.tool(weather)
        updated(session)
        session.send({"type": "session.update", "session": {"type": "realtime", "tools": [RAW]}})
        updated(session)
        session.send(
            {"type": "session.update", "session": {"type": "realtime", "tools": [{**RAW, "name": "bad name"}]}}
        )
        assert session.wait_for(lambda message: message.error is not None, timeout=LIMIT)
        session.tool(weather, name="second")
        updated(session)
        assert names(session) == ["raw", "weather", "second"]


def test_calls_of_raw_tools_are_the_users(serve: Callable[..., LocalServer]) -> None:
    """They are left alone; beside one of ours the follow-up is the user's, too."""
    server = serve(lambda turn: [Text("fine")] if turn.metadata else [ToolCall("raw", call_id="call_raw"), WEATHER])
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        session.send({"type": "session.update", "session": {"type": "realtime", "tools": [RAW]}})
        create(session)
        first = done(session)
        turn = turn_of(session, first["id"])
        assert turn.over.wait(LIMIT)
        assert turn.follow_up is None
        assert [call.name for call in turn.calls] == ["weather"]
        output = {"type": "function_call_output", "call_id": "call_raw", "output": "by hand"}
        session.send({"type": "conversation.item.create", "item": output})
        create(session, metadata={"by": "hand"})
        assert text_of(done(session)) == "fine"
    assert len(sent(server, "response.create")) == 2
    assert len(sent(server, "conversation.item.create")) == 2


def test_calls_of_tools_that_one_response_was_given_are_the_users(serve: Callable[..., LocalServer]) -> None:
    """They are in no session's configuration."""
    server = serve(calling(ToolCall("raw")))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        create(session, tools=[RAW])
        assert session._tool_desk().turns.turn_of(done(session)["id"]) is None


def test_bad_tools_open_nothing(serve: Callable[..., LocalServer]) -> None:
    """Nor do settings that cannot be meant."""
    server = serve(calling())
    bad: list[dict[str, Any]] = [
        {"tools": [len]},
        {"tools": [weather, weather]},
        {"tools": weather},
        {"tool_rounds": 0},
        {"tool_timeout": -1},
        {"approve": True},
    ]
    for settings in bad:
        with pytest.raises(ConfigurationError):
            server.client().realtime.connect(model="m", **settings)
    assert server.connections_total == 0
