"""Tools in a live session: what runs, what the server gets, and the one response that follows."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshapi_rt import (
    ConfigurationError,
    ConnectionLost,
    MissingExtraError,
    RealtimeMessage,
    RealtimeSession,
    ReconnectPolicy,
    SessionClosed,
)
from meshapi_rt.local import Drop, Fail, Faults, LocalServer, NoEcho, Send, Skip, Stall, Text, ToolCall, Turn
from meshapi_rt.local.responder import Responder
from meshapi_rt.tools import Tool
from meshapi_rt.tools.turn import FOLLOWS, ToolTurn
from meshapi_rt.waiting import Wait

from .conftest import client_of, ours
from .local.validation import assert_valid_client_events
from .peers import LIMIT, Line, peer

QUICK = ReconnectPolicy(delay=0.01, max_delay=0.05)
BUSY = "conversation_already_has_active_response"
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
RAW = {"type": "function", "name": "raw", "description": "By hand.", "parameters": NOTHING}
MANUAL = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets every tool that hangs go at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def serve() -> Iterator[Callable[..., LocalServer]]:
    """Start a server with a responder; every event that it got is held against the schema."""
    servers: list[LocalServer] = []

    def start(responder: Responder, **options: Any) -> LocalServer:
        servers.append(LocalServer(responder=responder, record=True, **options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert_valid_client_events(r.event for r in server.transcript if r.sender == "client" and r.event)


def calling(*calls: ToolCall, rounds: int = 1) -> Responder:
    """Answer with calls, and then tell what they returned."""

    def answer(turn: Turn) -> Iterator[Any]:
        asked = sum(item.type == "function_call_output" for item in turn.items) // max(1, len(calls))
        if asked < rounds and turn.tool_choice != "none":
            yield from calls
        else:
            yield Text(" ".join(item.output or "" for item in turn.outputs) or "nothing")

    return answer


def create(session: RealtimeSession, **response: Any) -> None:
    session.send({"type": "response.create", "response": {"output_modalities": ["text"], **response}})


def done(session: RealtimeSession) -> dict[str, Any]:
    """Wait for a response to be over."""
    event: Any = session.wait_for("response.done", timeout=LIMIT).event
    return dict(event["response"])


def answer(session: RealtimeSession, **response: Any) -> dict[str, Any]:
    """Ask, and return the first response without calls."""
    create(session, **response)
    while True:
        last = done(session)
        if not any(item["type"] == "function_call" for item in last["output"]):
            return last


def text_of(response: dict[str, Any]) -> str:
    (item,) = response["output"]
    return str(item["content"][0]["text"])


def sent(server: LocalServer, kind: str) -> list[Any]:
    return [r.event for r in server.transcript if r.sender == "client" and r.event and r.event["type"] == kind]


def turn_of(session: RealtimeSession, response_id: str) -> ToolTurn:
    turn = session._tool_desk().turns.turn_of(response_id)
    assert turn is not None
    return turn


def followed(session: RealtimeSession, response_id: str) -> str | None:
    """Wait until it is settled what follows a response, and return that."""
    turn = turn_of(session, response_id)
    assert turn.over.wait(LIMIT)
    return turn.follow_up


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.002)


def weather(city: str, unit: str = "C") -> dict[str, str]:
    """Tell the weather."""
    return {"city": city, "unit": unit}


WEATHER = ToolCall("weather", {"city": "Bonn"})


# -- the round trip ---


def test_a_round_trip(serve: Callable[..., LocalServer]) -> None:
    """The calls run when the response is complete; then one output each and one response.create, no more."""
    calls = ({"city": "Bonn"}, {"city": "Rome", "unit": "F"})
    server = serve(calling(*[ToolCall("weather", given, f"call_{city}") for city, given in enumerate(calls)]))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        last = answer(session, metadata={"mine": "1"})
        session.send({"type": "input_audio_buffer.clear"})
        session.wait_for("input_audio_buffer.cleared", timeout=LIMIT)

        assert text_of(last).replace('"', "") == "{city: Bonn, unit: C} {city: Rome, unit: F}"
    events = [r.event["type"] for r in server.transcript if r.sender == "client" and r.event]
    outputs = [event["item"] for event in sent(server, "conversation.item.create")]
    assert events == [
        "session.update",
        "response.create",
        *["conversation.item.create"] * 2,
        "response.create",
        "input_audio_buffer.clear",
    ]
    assert sorted(output["call_id"] for output in outputs) == ["call_0", "call_1"]


def test_the_follow_up_is_asked_for_as_the_response_was(serve: Callable[..., LocalServer]) -> None:
    """With its settings and its metadata, which say whom it follows; whoever waits is told of it."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        create(session, metadata={"mine": "1"}, instructions="be brief", max_output_tokens=99)
        first, last = done(session), done(session)
        turn = turn_of(session, first["id"])

        assert turn.over.wait(LIMIT)
        assert turn.follow_up == last["id"]
        (call,) = turn.calls
        assert (call.call_id, call.name) == (first["output"][0]["call_id"], "weather")
        assert call.values == {"city": "Bonn"}
        assert (call.response_id, call.error) == (first["id"], None)
        assert session._tool_desk().turns.turn_of(last["id"]) is None
        told: list[ToolTurn] = []
        turn.when_over(told.append)
        assert told == [turn]
    asked = sent(server, "response.create")[1]["response"]
    assert asked == {
        "output_modalities": ["text"],
        "instructions": "be brief",
        "max_output_tokens": 99,
        "metadata": {"mine": "1", FOLLOWS: first["id"]},
    }


def test_a_response_that_a_call_claims_has_its_calls_run(serve: Callable[..., LocalServer]) -> None:
    """Whoever waits for it, and whether or not anybody else sees its events."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        reply = session.ask("hot?", timeout=LIMIT)
        (call,) = reply.tool_calls
        assert call.response_id is not None
        assert followed(session, call.response_id) == reply.response_id
    assert len(sent(server, "response.create")) == 2


def test_a_demand_for_a_call_is_not_repeated(serve: Callable[..., LocalServer]) -> None:
    """Neither the response's nor the session's: the model would call for ever."""
    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        answer(session, tool_choice={"type": "function", "name": "weather"})
        session.send({"type": "session.update", "session": {"type": "realtime", "tool_choice": "required"}})
        session.send({"type": "conversation.item.delete", "item_id": server.sessions[0].items[1].id})
        answer(session)
    asked = [event["response"].get("tool_choice") for event in sent(server, "response.create")]
    assert asked == [{"type": "function", "name": "weather"}, "auto", None, "auto"]


def test_parallel_calls_run_side_by_side(serve: Callable[..., LocalServer]) -> None:
    """Each waits for the others."""
    together = threading.Barrier(3)

    def meet() -> int:
        together.wait(LIMIT)
        return 1

    server = serve(calling(*[ToolCall("meet") for _ in range(3)]))
    with server.client().realtime.connect(model="m", tools=[meet]) as session:
        assert text_of(answer(session)) == "1 1 1"


def test_every_failure_is_told_to_the_model(
    serve: Callable[..., LocalServer], release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """In one response: the others run, and the answer comes. The token shows nowhere."""

    def fail() -> None:
        raise ValueError("rsk_a-secret-key is wrong")

    def hang() -> None:
        release.wait(LIMIT)

    def odd() -> object:
        return object()

    def pay(amount: int) -> str:
        return f"paid {amount}"

    asked = ("nope", "fail", "hang", "odd")
    calls = [ToolCall("weather", {"city": "Bonn"}), ToolCall("weather", {"city": 1}), *map(ToolCall, asked)]
    calls += [ToolCall("pay", {"amount": 5}), ToolCall("pay", {"amount": 500})]
    server = serve(calling(*calls))
    with server.client(token="rsk_a-secret-key").realtime.connect(
        model="m",
        tools=[weather, fail, odd, pay],
        approve=lambda call: call.name != "pay" or call.values["amount"] < 10 or "too much",  # type: ignore[index]
    ) as session:
        session.tool(hang, timeout=0.05)
        create(session)
        first, last = done(session), done(session)
        turn = turn_of(session, first["id"])
        order = [item["call_id"] for item in first["output"]]
        errors = {order.index(call.call_id): call.error for call in turn.calls}

        assert errors == {
            0: None,
            1: "the arguments do not fit: Expected `str`, got `int` - at `$.city`",
            2: "there is no tool named 'nope'",
            3: "ValueError: *** is wrong",
            4: "the tool did not end within 0.05 s",
            5: "the result cannot be told as JSON: object has no JSON form",
            6: None,
            7: "the call was refused: too much",
        }
        assert "paid 5" in text_of(last)
        assert json.dumps({"error": "ValueError: *** is wrong"}) in text_of(last)
    release.set()
    until(lambda: "nobody waited for it any more" in caplog.text)
    assert "rsk_a-secret-key" not in caplog.text


def test_without_msgspec(serve: Callable[..., LocalServer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Explicit schemas work; a tool without one opens nothing."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    server = serve(calling(WEATHER))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    with pytest.raises(MissingExtraError):
        server.client().realtime.connect(model="m", tools=[weather])
    assert server.connections_total == 0

    with server.client().realtime.connect(model="m", tools=[Tool.of(weather, parameters=schema)]) as session:
        assert text_of(answer(session)) == '{"city": "Bonn", "unit": "C"}'


# -- what does not run ---


def test_a_cancelled_response_runs_nothing(serve: Callable[..., LocalServer]) -> None:
    """Although its call is there, whole."""

    def stopping(turn: Turn) -> Iterator[Any]:
        if turn.metadata:
            yield WEATHER
            turn.cancelled.wait(LIMIT)
        else:
            yield Text("fine")

    server = serve(stopping)
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        create(session, metadata={"stop": "1"})
        session.wait_for("response.function_call_arguments.done", timeout=LIMIT)
        session.send({"type": "response.cancel"})
        assert done(session)["status"] == "cancelled"
        assert text_of(answer(session)) == "fine"
    assert sent(server, "conversation.item.create") == []
    assert len(sent(server, "response.create")) == 2


@pytest.mark.parametrize("ending", ["failed", "incomplete"])
def test_a_cut_response_runs_nothing(serve: Callable[..., LocalServer], ending: str) -> None:
    """Failed after its call, or out of tokens."""

    def cut(turn: Turn) -> Iterator[Any]:
        yield WEATHER
        yield Fail() if ending == "failed" else Text("word " * 500)

    server = serve(cut)
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        for _ in range(2):
            create(session, max_output_tokens=50)
            response = done(session)
        assert response["status"] == ending
        assert any(item["type"] == "function_call" for item in response["output"])
        assert session._tool_desk().turns.turn_of(response["id"]) is None
    assert sent(server, "conversation.item.create") == []


def test_a_repeated_event_runs_nothing_again(serve: Callable[..., LocalServer]) -> None:
    """Calls are known by their call_id."""
    ran: list[str] = []

    def note(city: str) -> None:
        ran.append(city)

    server = serve(calling(ToolCall("note", {"city": "Bonn"})))
    with server.client().realtime.connect(model="m", tools=[note]) as session:
        create(session)
        first: Any = session.wait_for("response.done", timeout=LIMIT).event
        server.inject(Send(first))
        done(session)
        done(session)
        answer(session)
    assert ran == ["Bonn"]
    assert len(sent(server, "conversation.item.create")) == 1


# -- the depth ---


@pytest.mark.parametrize("obedient", [True, False])
def test_the_depth_is_bounded(
    serve: Callable[..., LocalServer], obedient: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The last follow-up may not call; where the model does all the same, nothing runs and nothing follows."""
    ran: list[int] = []

    def again(number: int) -> int:
        ran.append(number)
        return number

    def greedy(turn: Turn) -> Iterator[Any]:
        if turn.tool_choice == "none" and obedient:
            yield Text("enough")
        else:
            yield ToolCall("again", {"number": len(turn.items)})

    server = serve(greedy)
    with server.client().realtime.connect(model="m", tools=[again], tool_rounds=3) as session:
        create(session)
        responses = [done(session) for _ in range(4)]
        until(lambda: "the next one may not" in caplog.text)
        if not obedient:
            turn = turn_of(session, responses[-1]["id"])
            assert turn.over.wait(LIMIT)
            assert (turn.follow_up, turn.calls) == (None, ())
    choices = [event["response"].get("tool_choice") for event in sent(server, "response.create")]
    assert choices == [None, None, None, "none"]
    assert len(ran) == 3


def test_a_new_turn_begins_at_depth_0(serve: Callable[..., LocalServer]) -> None:
    """The bound is on follow-ups in a row."""
    server = serve(lambda turn: [Text("x")] if turn.outputs else [WEATHER])
    with server.client().realtime.connect(model="m", tools=[weather], tool_rounds=2) as session:
        for _ in range(4):
            answer(session)
            content = [{"type": "input_text", "text": "more"}]
            item = {"type": "message", "role": "user", "content": content}
            session.send({"type": "conversation.item.create", "item": item})
    assert "none" not in [event["response"].get("tool_choice") for event in sent(server, "response.create")]


# -- beside the conversation ---


@pytest.mark.parametrize("own_input", [True, False])
def test_out_of_band(serve: Callable[..., LocalServer], own_input: bool) -> None:
    """Call and output travel with the follow-up; the conversation stays as it was."""
    seen: list[list[tuple[str, str]]] = []

    def aside(turn: Turn) -> Iterator[Any]:
        seen.append([(item.type, item.text or item.output or item.name or "") for item in turn.items])
        yield WEATHER if not turn.outputs else Text(turn.outputs[0].output or "")

    question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hot?"}]}
    server = serve(aside)
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        session.send({"type": "conversation.item.create", "item": question})
        given = {"input": [question]} if own_input else {}
        last = answer(session, conversation="none", metadata={"mine": "1"}, **given)
        assert last["conversation_id"] is None
        assert last["metadata"]["mine"] == "1"
        assert "Bonn" in text_of(last)
        assert [item.text for item in server.sessions[0].items] == ["hot?"]
    assert seen[0] == [("message", "hot?")]
    assert [kind for kind, _ in seen[1]] == ["message", "function_call", "function_call_output"]


def test_a_response_with_an_input_of_its_own(serve: Callable[..., LocalServer]) -> None:
    """In the conversation: the output is told to both, and the follow-up reads what the first one read."""
    seen: list[list[str]] = []

    def reading(turn: Turn) -> Iterator[Any]:
        seen.append([item.type for item in turn.items])
        yield WEATHER if not turn.outputs else Text("fine")

    question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hot?"}]}
    server = serve(reading)
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        assert text_of(answer(session, input=[question])) == "fine"
        kinds = [item.type for item in server.sessions[0].items]
    assert seen == [["message"], ["message", "function_call", "function_call_output"]]
    assert kinds == ["function_call", "function_call_output", "message"]


# -- a busy conversation ---


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


def response(number: int, status: str = "in_progress", **more: Any) -> dict[str, Any]:
    kind = "response.created" if status == "in_progress" else "response.done"
    body = {"id": f"resp_{number}", "status": status, "output": [], "conversation_id": "conv_1", **more}
    return {"type": kind, "event_id": f"event_{kind}_{number}", "response": body}


CALL = {
    "id": "item_call",
    "type": "function_call",
    "status": "completed",
    "name": "weather",
    "call_id": "call_1",
    "arguments": '{"city": "Bonn"}',
}


def added(event: dict[str, Any]) -> dict[str, Any]:
    return {"type": "conversation.item.added", "event_id": "event_added", "item": event["item"]}


def refusal(event_id: str | None) -> dict[str, Any]:
    error = {"type": "invalid_request_error", "code": BUSY, "message": "busy", "param": None, "event_id": event_id}
    return {"type": "error", "event_id": "event_refusal", "error": error}


def opened(line: Line) -> None:
    """Say hello, take the tools, and give a response with a call."""
    line.greet()
    assert line.read_event()["type"] == "session.update"
    line.send(response(1), response(1, "completed", output=[CALL]))


def no_error(session: RealtimeSession, last: str) -> list[RealtimeMessage]:
    """Return all messages up to one of a type; a refusal among them fails."""
    seen: list[RealtimeMessage] = []
    while not seen or seen[-1].type != last:
        seen.append(session.receive(timeout=LIMIT))
    return seen


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


def turn_of_later(session: RealtimeSession, response_id: str) -> ToolTurn:
    until(lambda: session._tool_desk().turns.turn_of(response_id))
    return turn_of(session, response_id)


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


# -- whose tools ---


def names(session: RealtimeSession) -> list[str]:
    return [tool["name"] for tool in session.settings["tools"]]


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


# -- a connection that breaks ---


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


# -- the end ---


def test_a_tool_that_hangs_does_not_hold_close(serve: Callable[..., LocalServer], release: threading.Event) -> None:
    """Its late result is dropped; whoever waited for the turn is let go."""
    began = threading.Event()

    def hang(city: str) -> str:
        began.set()
        release.wait(LIMIT)
        return city

    server = serve(calling(WEATHER))
    with server.client().realtime.connect(model="m") as session:
        session.tool(hang, name="weather", timeout=None)
        create(session)
        first = done(session)
        assert began.wait(LIMIT)
        turn = turn_of(session, first["id"])
        before = time.monotonic()
        session.close()
        assert time.monotonic() - before < 1
        assert turn.over.wait(LIMIT)
        assert turn.follow_up is None
        assert [name for name in ours() if "local" not in name and "tool-" not in name] == []


def test_a_tool_may_use_the_session(serve: Callable[..., LocalServer]) -> None:
    """Send, register another tool, and close it."""
    server = serve(calling(ToolCall("use")))
    with server.client().realtime.connect(model="m") as session:

        @session.tool
        def use() -> str:
            session.tool(weather)
            session.send({"type": "input_audio_buffer.clear"})
            return "used"

        assert text_of(answer(session)) == "used"
        session.tools.remove("use")
        session.tool(session.close, name="use", parameters=NOTHING)
        session.send({"type": "conversation.item.delete", "item_id": server.sessions[0].items[1].id})
        create(session)
        with pytest.raises(SessionClosed):
            while True:
                session.receive(timeout=LIMIT)


def test_a_session_that_is_garbage_takes_its_tools_along(serve: Callable[..., LocalServer]) -> None:
    """Neither thread is left."""
    server = serve(calling(WEATHER))
    session = server.client().realtime.connect(model="m", tools=[weather])
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        del session
        gc.collect()
    until(lambda: not [name for name in ours() if "local" not in name])


HANGING = """
import sys, threading
from meshapi_rt import MeshAPI
began = threading.Event()
def hang():
    print("hangs", flush=True)
    began.set()
    threading.Event().wait()
session = MeshAPI("rsk_x", sys.argv[1]).realtime.connect(model="m")
session.tool(hang, timeout=None, parameters={"type": "object"})
session.send({"type": "response.create"})
began.wait(10)
print("leaves", flush=True)
"""


def test_a_program_with_a_tool_that_hangs_exits_at_once(serve: Callable[..., LocalServer]) -> None:
    """Without close()."""
    server = serve(calling(ToolCall("hang")))
    with subprocess.Popen([sys.executable, "-c", HANGING, server.url], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert [program.stdout.readline(), program.stdout.readline()] == ["hangs\n", "leaves\n"]
        began = time.monotonic()
        assert program.wait(LIMIT) == 0
        assert time.monotonic() - began < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_has_no_tools(serve: Callable[..., LocalServer]) -> None:
    """Its calls raise, and it can close what it inherited."""
    program = """
import os, sys
from meshapi_rt import MeshAPI, ConnectionLost
session = MeshAPI("rsk_x", sys.argv[1]).realtime.connect(model="m")
schema = {"type": "object"}
session.tool(print, parameters=schema)
child = os.fork()
if child == 0:
    try:
        session.tool(print, name="other", parameters=schema)
    except ConnectionLost:
        session.close()
        os._exit(0)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
session.tool(print, name="third", parameters=schema)
session.close()
print("fine")
"""
    server = serve(calling())
    arguments = [sys.executable, "-W", "ignore", "-c", program, server.url]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert run.stdout == "fine\n", run.stderr


def test_errors_without_ids(serve: Callable[..., LocalServer], release: threading.Event) -> None:
    """A server that repeats no event id: the refusal of a busy conversation is still ours."""
    server = serve(calling(WEATHER), faults=Faults(NoEcho()))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        assert "Bonn" in text_of(answer(session))


def test_sessions_without_tools_load_nothing() -> None:
    """The rooms of tools are imported where they are used."""
    program = "import sys, meshapi_rt; print([name for name in sys.modules if name.startswith('meshapi_rt.tools')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert run.stdout == "[]\n"


def test_every_log_line_is_on_one_logger(serve: Callable[..., LocalServer], caplog: pytest.LogCaptureFixture) -> None:
    """meshapi_rt."""
    server = serve(calling(ToolCall("nope")))
    with server.client().realtime.connect(model="m", tools=[weather]) as session:
        answer(session)
    assert {record.name for record in caplog.records if record.levelno >= logging.WARNING} == {"meshapi_rt"}
