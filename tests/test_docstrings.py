"""What the docstrings promise: every public name has one, and what they show as code runs."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import re
import textwrap
import threading
import typing
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meshapi_rt
from meshapi_rt import MODELS, MeshAPI, RealtimeSession, agent, devices
from meshapi_rt.local import LocalServer

from .faces import ROOT

PACKAGE = ROOT / "meshapi_rt"
ROOMS = ["", ".agent", ".audio_files", ".devices", ".event_types", ".local", ".pcm", ".tools"]
TONE = np.zeros(2400, np.int16)


# -- every public name ---


def public() -> Iterator[tuple[str, Any]]:
    """Give each public name that can carry a docstring."""
    for room in ROOMS:
        module = importlib.import_module("meshapi_rt" + room)
        for name in module.__all__:
            thing = getattr(module, name)
            alias = typing.get_origin(thing) is not None  # which 3.10 takes for a class
            if inspect.isfunction(thing) or (inspect.isclass(thing) and not alias):
                yield f"{module.__name__}.{name}", thing


def members(thing: Any) -> Iterator[tuple[str, Any]]:
    """Give the public methods and properties that a class of ours defines."""
    for name, member in inspect.getmembers(thing):
        function = member.fget if isinstance(member, property) else getattr(member, "func", member)
        ours = str(getattr(function, "__module__", "")).startswith("meshapi_rt") and inspect.isroutine(function)
        if ours and not name.startswith("_"):
            yield name, member


@pytest.mark.parametrize(("name", "thing"), list(public()), ids=[name for name, _ in public()])
def test_every_public_name_says_what_it_is(name: str, thing: Any) -> None:
    """Classes, functions, methods and properties; event types are named after their event."""
    if not name.startswith("meshapi_rt.event_types"):
        assert thing.__doc__, name
    if inspect.isclass(thing):
        assert [member for member, found in members(thing) if not inspect.getdoc(found)] == []


# -- what is shown as code ---


def shown() -> Iterator[tuple[str, str]]:
    """Give each piece of code in a docstring, and where it stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                continue
            text = ast.get_docstring(node) or ""
            blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
            blocks += re.findall(r"::\n\n((?:    .*\n|\n)+)", text + "\n")
            for block in blocks:
                yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'name', '')}", textwrap.dedent(block)


class Recording(devices.FileMicrophone):
    """What speaks in place of a sound device, and of a user who never stops."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(TONE, speed=math.inf, tail=0)


class Played(devices.FileSpeaker):
    """What plays in place of a sound device."""

    def __init__(self) -> None:
        super().__init__(speed=math.inf)


def surroundings(server: LocalServer, session: RealtimeSession, opened: ExitStack) -> dict[str, Any]:
    """Return the names that docstrings take for granted."""

    def voice_agent(given: RealtimeSession, **more: Any) -> agent.VoiceAgent:
        microphone, speaker = opened.enter_context(Recording()), opened.enter_context(Played())
        return agent.VoiceAgent(given, microphone=microphone, speaker=speaker, **more)

    return {
        "client": server.client(),
        "session": session,
        "MeshAPI": MeshAPI,
        "MODELS": MODELS,
        "Microphone": Recording,
        "FileMicrophone": Recording,
        "Speaker": Played,
        "VoiceAgent": voice_agent,
        "msg": session.wait_for("response.done", timeout=10),
        "math": math,
        "meshapi_rt": meshapi_rt,
    }


@pytest.mark.parametrize(("where", "code"), list(shown()), ids=[where for where, _ in shown()])
def test_what_is_shown_runs(where: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it stands, with the names that the text around it takes for granted."""
    monkeypatch.chdir(tmp_path)
    with LocalServer(responder=lambda turn: turn.text or "a word") as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        monkeypatch.setenv("MESHAPI_TOKEN", "local")
        with server.client().realtime.connect(model="m") as session, ExitStack() as opened:
            session.response.create()
            names = surroundings(server, session, opened)
            session.response.create()
            # A loop over everything that comes ends when the session does.
            closing = threading.Timer(1.0, session.close)
            closing.start()
            exec(compile(code, where, "exec"), names)  # noqa: S102 - that is the test
            closing.cancel()
            closing.join()
