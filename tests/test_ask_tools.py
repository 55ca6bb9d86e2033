"""Tools inside of ask(): the reply is the last response, and knows of every call on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from meshapi_rt import Reply, TimedOut
from meshapi_rt.local import LocalServer, ToolCall, Turn

from .peers import LIMIT

WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def caller(*rounds: Sequence[Any]) -> Any:
    """Answer with one list of pieces after the other, then say what the last outputs were."""

    def responder(turn: Turn) -> Iterator[Any]:
        done = sum(item.type == "function_call_output" for item in turn.items)
        for pieces in rounds:
            calls = sum(isinstance(piece, ToolCall) for piece in pieces)
            if done < calls:
                yield from pieces
                return
            done -= calls
        outputs = [item.output or "" for item in turn.items if item.type == "function_call_output"]
        yield " ".join(outputs) or "nothing"

    return responder


def weather(city: str) -> str:
    return f"sunny in {city}"


def test_the_reply_is_the_answer_that_read_the_outputs() -> None:
    """All calls are listed with what they returned, and the usage is that of all responses."""
    rounds: list[list[Any]] = [
        ["let me see", ToolCall("weather", {"city": "Bonn"})],
        [ToolCall("weather", {"city": "Rome"})],
    ]
    with LocalServer(responder=caller(*rounds)) as server:
        with server.client().realtime.connect(model="m") as session:
            session.receive(timeout=LIMIT)
            session.tool(weather, parameters=WEATHER)
            session.wait_for("session.updated", timeout=LIMIT)
            reply = session.ask("weather?", timeout=LIMIT)
            assert reply.transcript == "sunny in Bonn sunny in Rome"
            assert [(call.name, call.output) for call in reply.tool_calls] == [
                ("weather", "sunny in Bonn"),
                ("weather", "sunny in Rome"),
            ]
            assert reply.usage.responses == 3
            assert reply.usage == session.usage
            assert session.stats.unread_messages == 0


def test_parallel_calls() -> None:
    """Both run, and one response follows."""
    both = threading.Barrier(2, timeout=LIMIT)

    def meet(city: str) -> str:
        both.wait()
        return city

    calls = [ToolCall("meet", {"city": "Bonn"}), ToolCall("meet", {"city": "Rome"})]
    with LocalServer(responder=caller(calls)) as server, server.client().realtime.connect(model="m") as session:
        session.tool(meet, parameters=WEATHER)
        reply = session.ask("meet", timeout=LIMIT)
    assert sorted(reply.transcript.split()) == ["Bonn", "Rome"]
    assert sorted(call.output or "" for call in reply.tool_calls) == ["Bonn", "Rome"]


def test_pieces_of_every_response() -> None:
    """What is said before a call comes as well; the reply is the last one."""
    rounds = [["let me see", ToolCall("weather", {"city": "Bonn"})]]
    with LocalServer(responder=caller(*rounds)) as server:
        with server.client().realtime.connect(model="m") as session:
            session.tool(weather, parameters=WEATHER)
            *pieces, reply = session.ask_stream("weather?", timeout=LIMIT)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == "let me seesunny in Bonn"
    assert isinstance(reply, Reply)
    assert reply.transcript == "sunny in Bonn"
    assert reply.timings.first_text is not None
    assert reply.timings.first_text < reply.timings.total


@pytest.mark.parametrize("conversation", ["auto", "none"])
def test_beside_the_conversation_too(conversation: Any) -> None:
    """Outputs go with the follow-up there."""
    rounds = [[ToolCall("weather", {"city": "Bonn"})]]
    with LocalServer(responder=caller(*rounds)) as server:
        with server.client().realtime.connect(model="m") as session:
            session.tool(weather, parameters=WEATHER)
            reply = session.ask("weather?", conversation=conversation, timeout=LIMIT)
    assert reply.transcript == "sunny in Bonn"


def test_calls_of_others_end_the_reply() -> None:
    """What is not a tool of the session is for the caller to answer."""
    calls = [ToolCall("weather", {"city": "Bonn"}), ToolCall("mine", "{}", "call_mine")]
    schema = {"type": "function", "name": "mine", "parameters": {"type": "object", "properties": {}}}
    with LocalServer(responder=caller(calls)) as server, server.client().realtime.connect(model="m") as session:
        session.tool(weather, parameters=WEATHER)
        session.update(tools=[schema])
        reply = session.ask("both", timeout=LIMIT)
        assert {call.name: call.output for call in reply.tool_calls} == {"weather": "sunny in Bonn", "mine": None}
        session.conversation.item.create_function_output("call_mine", "done")
        assert session.ask(timeout=LIMIT).transcript == "sunny in Bonn done"


def test_time_is_up_while_a_tool_runs() -> None:
    """What would follow is not wanted any more, and the next question is answered."""
    release = threading.Event()

    def slow(city: str) -> str:
        release.wait(LIMIT)
        return city

    def responder(turn: Turn) -> Iterator[Any]:
        if turn.text == "slow" and not turn.outputs:
            yield ToolCall("slow", {"city": "Bonn"})
        else:
            yield "after " + turn.text

    with LocalServer(responder=responder) as server, server.client().realtime.connect(model="m") as session:
        session.receive(timeout=LIMIT)
        session.tool(slow, parameters=WEATHER)
        session.wait_for("session.updated", timeout=LIMIT)
        with pytest.raises(TimedOut):
            session.ask("slow", timeout=0.2)
        release.set()
        for _ in range(3):
            assert session.ask("next", timeout=LIMIT).transcript == "after next"
        assert session.stats.unread_messages == 0


def test_two_hundred_questions_with_tools() -> None:
    """From several threads, and none of them gets another one's calls."""

    def responder(turn: Turn) -> Iterator[Any]:
        asked = [item.text for item in turn.items if item.role == "user"][-1]
        if turn.outputs:
            yield turn.outputs[-1].output or ""
        else:
            yield ToolCall("weather", {"city": asked})

    with LocalServer(responder=responder) as server, server.client().realtime.connect(model="m") as session:
        session.tool(weather, parameters=WEATHER)
        session.wait_for("session.updated", timeout=LIMIT)
        session.update(output_modalities="text")
        wrong = []

        def work(name: str) -> None:
            for number in range(50):
                reply = session.ask(f"{name}{number}", timeout=LIMIT)
                if reply.text != f"sunny in {name}{number}" or len(reply.tool_calls) != 1:
                    wrong.append(reply)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3 * LIMIT)
            assert not thread.is_alive()
        assert not wrong
        assert session.stats.unread_messages == 0
