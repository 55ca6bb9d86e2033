"""Tools in a live session: what runs, what the server gets, and what follows."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshapi_rt import (
    MissingExtraError,
)
from meshapi_rt.local import Fail, LocalServer, Send, Text, ToolCall, Turn
from meshapi_rt.tools import Tool
from meshapi_rt.tools.turn import FOLLOWS, ToolTurn

from ..peers import LIMIT
from .bench import (
    WEATHER,
    answer,
    calling,
    create,
    done,
    followed,
    sent,
    text_of,
    turn_of,
    until,
    weather,
)

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
