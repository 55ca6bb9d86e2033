"""The example with a tool, against a server whose model calls it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshapi_rt.local import LocalServer, Text, ToolCall, Turn

from ..faces import EXAMPLES, clip, environment, finish, start


def test_the_agent_of_the_example_uses_its_tool(tmp_path: Path) -> None:
    """A spoken question leads to a call, and the answer tells what the function returned."""

    def responder(turn: Turn) -> Iterator[Any]:
        if turn.outputs:
            yield Text(f"It is {turn.outputs[0].output}")
        else:
            yield ToolCall("current_time")

    with LocalServer(responder=responder) as server:
        recording = clip(tmp_path / "clip.wav", 0.8)
        code, out, err = finish(
            start([sys.executable, EXAMPLES / "live_agent.py", recording], environment(server), tmp_path)
        )

    assert (code, err) == (0, "")
    lines = out.splitlines()
    states = [line for line in lines if line.startswith("(") and line.endswith(")")]
    assert states == [
        f"({state})"
        for state in (
            "listening",
            "user_speaking",
            "thinking",
            "tool_running",
            "thinking",
            "speaking",
            "listening",
            "stopped",
        )
    ]
    assert any(line.startswith("assistant: It is ") for line in lines)
    assert lines[-1].startswith("1 answers, first audio after ")
