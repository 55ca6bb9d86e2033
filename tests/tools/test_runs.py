"""One call of a tool: its thread, its approval, its time, and what a model and the log are told."""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshapi_rt.tools import Tool, Toolbox, ToolCall
from meshapi_rt.tools.runs import Run, ToolRunner

from ..peers import LIMIT

SECRET = "the-token"
NOTHING = {"type": "object", "properties": {}}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets every tool that hangs go at the end."""
    event = threading.Event()
    yield event
    event.set()


def start(
    function: Callable[..., Any], arguments: str = "{}", *, name: str | None = None, **runner: Any
) -> tuple[Run, threading.Event]:
    tool = function if isinstance(function, Tool) else Tool.of(function)
    told = threading.Event()
    runs = ToolRunner(Toolbox([tool]), redact=lambda text: text.replace(SECRET, "***"), **runner)
    return runs.start(ToolCall(call_id="call_1", name=name or tool.name, arguments=arguments), told.set), told


def ended(run: Run, told: threading.Event) -> ToolCall:
    end = time.monotonic() + LIMIT
    while (call := run.ended) is None:
        assert time.monotonic() < end
        told.wait(min(0.05, run.left()))
        told.clear()
    return call


def outcome(function: Callable[..., Any], arguments: str = "{}", **more: Any) -> ToolCall:
    call = ended(*start(function, arguments, **more))
    for thread in threading.enumerate():
        if thread.name.startswith("meshapi-rt-tool-"):
            thread.join(LIMIT)
    return call


def double(number: int) -> dict[str, int]:
    return {"twice": 2 * number}


def test_a_call() -> None:
    """It has a thread of its own, a daemon; the result says what was asked and what was told."""
    threads: list[threading.Thread] = []

    def work(number: int) -> dict[str, int]:
        threads.append(threading.current_thread())
        return double(number)

    call = outcome(work, '{"number": "4"}')
    assert (call.call_id, call.name, call.arguments) == ("call_1", "work", '{"number": "4"}')
    assert (call.output, call.error) == ('{"twice": 8}', None)
    assert call.values == {"number": 4}
    assert 0 < call.duration < LIMIT
    assert threads[0].daemon
    assert threads[0].name.startswith("meshapi-rt-tool-")


def fail() -> None:
    raise ValueError(f"no {SECRET} here")


def silent() -> None:
    raise RuntimeError


def leave() -> None:
    sys.exit(3)


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def rude() -> None:
    raise Rude


def unserialisable() -> object:
    return {"a": threading.Event()}


async def later() -> None: ...


def hidden_coroutine() -> object:
    return later()


# A function, what a model writes, and what it is told.
FAILURES: dict[str, tuple[Callable[..., Any], str, str]] = {
    "exception": (fail, "{}", "ValueError: no *** here"),
    "exception without text": (silent, "{}", "RuntimeError"),
    "exception that cannot be told": (rude, "{}", "Rude"),
    "exit": (leave, "{}", "SystemExit: 3"),
    "no JSON": (double, '{"number": ', "the arguments do not fit: Input data was truncated"),
    "bad argument": (
        double,
        '{"number": "x"}',
        "the arguments do not fit: Expected `int`, got `str` - at `$.number`",
    ),
    "result": (unserialisable, "{}", "the result cannot be told as JSON: Event has no JSON form"),
    "coroutine": (hidden_coroutine, "{}", "the result cannot be told as JSON: coroutine has no JSON form"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each is a short output that a model can read, without traceback or secret, and a line in the log."""
    function, arguments, told = FAILURES[name]
    with caplog.at_level(logging.WARNING, "meshapi_rt"):
        call = outcome(function, arguments)
    assert call.error == told
    assert json.loads(call.output or "") == {"error": told}
    (record,) = caplog.records
    assert f"the call call_1 of the tool {function.__name__}: {told}" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_the_log_has_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """The model does not."""
    call = outcome(fail)
    assert "Traceback" in caplog.text
    assert 'raise ValueError(f"no' in caplog.text
    assert "Traceback" not in (call.output or "")


def test_an_unknown_tool() -> None:
    """Is told as such; nothing runs."""
    call = outcome(double, name="treble")
    assert call.error == "there is no tool named 'treble'"


# What an approval hook returns, and what the model is told then.
VERDICTS: dict[str, tuple[object, str | None]] = {
    "true": (True, None),
    "truthy": (1, None),
    "false": (False, "the call was refused"),
    "nothing": (None, "the call was refused"),
    "a reason": ("too dear", "the call was refused: too dear"),
    "an empty reason": ("", "the call was refused"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_approval(name: str) -> None:
    """The hook sees the call with its converted arguments, on the call's thread, before it runs."""
    verdict, told = VERDICTS[name]
    seen: list[tuple[ToolCall, str]] = []
    ran: list[int] = []

    def approve(call: ToolCall) -> object:
        seen.append((call, threading.current_thread().name))
        return verdict

    call = outcome(paying(ran), '{"number": 5}', approve=approve)
    assert call.error == told
    assert ran == ([5] if told is None else [])
    asked, thread = seen[0]
    assert (asked.call_id, asked.name, asked.values, asked.output) == ("call_1", "pay", {"number": 5}, None)
    assert thread.startswith("meshapi-rt-tool-")


def paying(paid: list[int]) -> Callable[..., Any]:
    def pay(number: int) -> None:
        paid.append(number)

    return pay


def test_an_approval_that_fails_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """And is logged."""
    call = outcome(double, '{"number": 1}', approve=lambda _: 1 / 0)
    assert call.error == "the call could not be approved"
    assert "ZeroDivisionError" in caplog.text


def test_bad_arguments_need_no_approval() -> None:
    """Nobody is bothered with them."""
    asked: list[ToolCall] = []
    outcome(double, "{}", approve=asked.append)
    assert asked == []


def test_a_tool_has_its_own_approval_and_limit(release: threading.Event) -> None:
    """They go before those of all tools."""
    tool: Any = Tool.of(release.wait, parameters=NOTHING, approve=lambda _: True, timeout=0.05)
    call = ended(*start(tool, approve=lambda _: False, timeout=None))
    assert call.error == "the tool did not end within 0.05 s"


def test_a_late_result_is_dropped_and_logged(release: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    """The call stays what it was told to be."""
    threads: list[threading.Thread] = []

    def hang() -> str:
        threads.append(threading.current_thread())
        release.wait(LIMIT)
        return "late"

    run, told = start(hang, timeout=0.05)
    call = ended(run, told)
    assert call.error == "the tool did not end within 0.05 s"
    assert 0.05 <= call.duration < LIMIT
    release.set()
    threads[0].join(LIMIT)
    assert run.ended is call
    assert "when nobody waited for it any more: its result is dropped" in caplog.text


def test_the_clock_starts_with_the_approval(release: threading.Event) -> None:
    """Whoever decides takes as long as they need."""
    run, told = start(double, '{"number": 1}', timeout=0.05, approve=lambda _: release.wait(LIMIT))
    assert not told.wait(0.2)
    assert run.left() == math.inf
    release.set()
    assert ended(run, told).error is None


def test_a_call_that_nobody_wants_does_not_start(release: threading.Event) -> None:
    """Approved too late, it is left alone."""
    ran: list[int] = []
    deciding = threading.Event()

    def approve(call: ToolCall) -> bool:
        deciding.set()
        return release.wait(LIMIT)

    run, _ = start(paying(ran), '{"number": 1}', approve=approve)
    deciding.wait(LIMIT)
    (thread,) = [one for one in threading.enumerate() if one.name.startswith("meshapi-rt-tool-")]
    run.abandon()
    release.set()
    thread.join(LIMIT)
    assert ran == []
    assert run.ended is None


def test_calls_run_side_by_side() -> None:
    """Each waits for all others."""
    together = threading.Barrier(5)

    def meet() -> bool:
        return together.wait(LIMIT) >= 0

    begun = [start(meet) for _ in range(5)]
    assert [ended(*one).output for one in begun] == ["true"] * 5


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is told."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert outcome(double).error == "the tool could not be started: can't start new thread"
