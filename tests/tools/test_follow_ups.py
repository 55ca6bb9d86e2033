"""The one response that follows the outputs, in a conversation where others begin too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshapi_rt.local import Faults, LocalServer, Skip, Text, ToolCall, Turn
from meshapi_rt.tools.turn import FOLLOWS

from ..conftest import client_of
from ..peers import LIMIT, Line, peer
from .bench import (
    CALL,
    WEATHER,
    added,
    calling,
    create,
    done,
    followed,
    no_error,
    opened,
    refusal,
    response,
    sent,
    text_of,
    turn_of_later,
    until,
    weather,
)


def test_a_busy_conversation_is_waited_out(serve: Callable[..., LocalServer], release: threading.Event) -> None:
    """The outputs go in at once, the follow-up comes when the other response is over; nobody sees a refusal."""
    over = threading.Event()

    def busy(turn: Turn) -> Iterator[Any]:
        if turn.metadata and "long" in turn.metadata:
            over.wait(LIMIT)
            yield Text("the long one")
        elif turn.outputs or FOLLOWS in (turn.metadata or {}):
            yield Text("the follow-up")
        else:
            yield ToolCall("hang")

    def hang() -> str:
        release.wait(LIMIT)
        return "late"

    server = serve(busy)
    with server.client().realtime.connect(model="m", tools=[hang]) as session:
        create(session)
        first = done(session)
        create(session, metadata={"long": "1"})
        session.wait_for("response.created", timeout=LIMIT)
        release.set()
        until(lambda: sent(server, "conversation.item.create"))
        over.set()
        assert text_of(done(session)) == "the long one"
        last = done(session)
        assert text_of(last) == "the follow-up"
        assert followed(session, first["id"]) == last["id"]
    assert len(sent(server, "response.create")) == 3


@pytest.mark.parametrize("echo", [True, False])
def test_voice_detection_may_win_the_race(echo: bool) -> None:
    """A response that had not read the output is waited out, and then the follow-up is asked for again."""
    creates: list[dict[str, Any]] = []

    def script(line: Line) -> None:
        opened(line)
        output, create = line.read_event(), line.read_event()
        line.send(response(2), added(output), refusal(create["event_id"] if echo else None))
        line.send(response(2, "completed"))
        again = line.read_event()
        creates.extend((create, again))
        line.send(response(3, metadata=again["response"]["metadata"]), response(3, "completed"), {"type": "x.end"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m", tools=[weather]) as session:
        no_error(session, "x.end")
        assert followed(session, "resp_1") == "resp_3"
    assert [create["type"] for create in creates] == ["response.create"] * 2
    assert creates[0]["event_id"] != creates[1]["event_id"]


def test_a_newer_response_that_read_the_output_is_the_follow_up() -> None:
    """No other is asked for, however the race for it went."""
    creates: list[Any] = []

    def script(line: Line) -> None:
        line.greet()
        assert line.read_event()["type"] == "session.update"
        line.send(response(1), response(1, "completed", output=[CALL]), response(2))
        output = line.read_event()
        line.send(added(output), response(2, "completed"), response(3))
        while (event := line.read_event())["type"] != "x.end":
            creates.append(event)
            line.send(refusal(event["event_id"]))
        line.send(response(3, "completed"), {"type": "x.end"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m", tools=[weather]) as session:
        session.wait_for("response.created", timeout=LIMIT)
        turn = turn_of_later(session, "resp_1")
        assert turn.over.wait(LIMIT)
        session.send({"type": "x.end"})
        no_error(session, "x.end")
        assert turn.follow_up == "resp_3"
    assert len(creates) <= 1


def test_a_response_that_began_before_the_output_is_not_the_follow_up() -> None:
    """Not even where it began after the follow-up was asked for, as its answer would."""

    def script(line: Line) -> None:
        opened(line)
        output, asked = line.read_event(), line.read_event()
        line.send(response(2), added(output), response(2, "completed"))
        line.send(response(3), refusal(asked["event_id"]), response(3, "completed"), {"type": "x.end"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m", tools=[weather]) as session:
        no_error(session, "x.end")
        assert followed(session, "resp_1") == "resp_3"


@pytest.mark.parametrize("answered", [True, False])
def test_a_user_who_speaks_is_not_interrupted(answered: bool, release: threading.Event) -> None:
    """The follow-up waits for the end of the speech, and for voice detection to answer it, if it does."""
    speech = {"type": "input_audio_buffer.speech_started", "event_id": "event_s", "item_id": "item_u"}
    committed = {"type": "input_audio_buffer.committed", "event_id": "event_c", "item_id": "item_u"}
    order: list[str] = []

    def wait(city: str) -> str:
        release.wait(LIMIT)
        return city

    def script(line: Line) -> None:
        opened(line)
        line.send(speech)
        line.send(added(line.read_event()))
        line.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            line.read_event()
        line.sock.settimeout(LIMIT)
        line.send(committed, *([response(2), response(2, "completed")] if answered else []), {"type": "x.end"})
        order.append(line.read_event()["type"])
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m") as session:
        session.tool(wait, name="weather")
        session.wait_for(speech["type"], timeout=LIMIT)
        release.set()
        session.wait_for("x.end", timeout=LIMIT)
        if answered:
            assert followed(session, "resp_1") == "resp_2"
            session.send({"type": "x.marker"})
        until(lambda: order)
    assert order == ["x.marker" if answered else "response.create"]


def test_a_response_that_was_never_announced(serve: Callable[..., LocalServer]) -> None:
    """Servers leave response.created out now and then: the end tells enough."""
    server = serve(calling(WEATHER), faults=Faults(Skip(on="response.created", times=None)))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        create(session)
        first, last = done(session), done(session)
        assert "Bonn" in text_of(last)
        assert followed(session, first["id"]) == last["id"]


def test_a_server_that_repeats_neither_metadata_nor_ids() -> None:
    """What begins after the follow-up was asked for is the follow-up."""

    def script(line: Line) -> None:
        opened(line)
        line.read_event(), line.read_event()
        line.send(response(2), response(2, "completed"), {"type": "x.end"})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m", tools=[weather]) as session:
        session.wait_for("x.end", timeout=LIMIT)
        assert followed(session, "resp_1") == "resp_2"


def test_a_refused_follow_up_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Any refusal but that of a busy conversation is for the user, too."""

    def script(line: Line) -> None:
        opened(line)
        line.read_event()
        error = {"type": "invalid_request_error", "code": "rate_limit_exceeded", "message": "slow down"}
        line.send({"type": "error", "error": {**error, "event_id": line.read_event()["event_id"]}})
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model="m", tools=[weather]) as session:
        error = session.wait_for(lambda message: message.error is not None, timeout=LIMIT).error
        assert error is not None
        assert error.code == "rate_limit_exceeded"
        assert followed(session, "resp_1") is None
