"""The end of a session, a process or a fork while tools run; and what tools leave alone."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable

import pytest

from meshapi_rt import (
    SessionClosed,
)
from meshapi_rt.local import Faults, LocalServer, NoEcho, ToolCall

from ..clock import Stopwatch
from ..conftest import ours
from ..peers import LIMIT
from .bench import (
    NOTHING,
    WEATHER,
    answer,
    calling,
    create,
    done,
    text_of,
    turn_of,
    until,
    weather,
)


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
        with Stopwatch() as watch:
            session.close()
        assert watch.took < 1
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
        with Stopwatch() as watch:
            assert program.wait(LIMIT) == 0
        assert watch.took < 5


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
