"""What the tests of tools in live sessions share: tools, responses that call them, and what became of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from meshapi_rt import (
    RealtimeMessage,
    RealtimeSession,
    ReconnectPolicy,
)
from meshapi_rt.local import LocalServer, Text, ToolCall, Turn
from meshapi_rt.local.responder import Responder
from meshapi_rt.tools.turn import ToolTurn

from ..peers import LIMIT, Line

QUICK = ReconnectPolicy(delay=0.01, max_delay=0.05)
BUSY = "conversation_already_has_active_response"
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
RAW = {"type": "function", "name": "raw", "description": "By hand.", "parameters": NOTHING}
MANUAL = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}


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


def turn_of_later(session: RealtimeSession, response_id: str) -> ToolTurn:
    until(lambda: session._tool_desk().turns.turn_of(response_id))
    return turn_of(session, response_id)


def names(session: RealtimeSession) -> list[str]:
    return [tool["name"] for tool in session.settings["tools"]]
