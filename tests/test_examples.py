"""Every example runs as it is: without a token, and with one against a server that the environment names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshapi_rt import audio_files
from meshapi_rt.local import LocalServer

from .faces import EXAMPLES, QUESTION, clip, environment, finish, likeness, start

NAMES = sorted(path.stem for path in EXAMPLES.glob("[a-z]*.py"))

# What each example is to print: its last line, or a line before it.
EXPECTED = {
    "configure_session": "voice: marin",
    "connect_and_close": "closed with code 1000",
    "error_handling": "the end: closed in good order",
    "events_pump": "the pump ended: in good order",
    "live_agent": "1 answers, first audio after",
    "live_captions": "  (3.5 s of speech)",
    "list_models": "a member is a plain string: True",
    "push_to_talk": "assistant: (4.",
    "receive_frames": "response.done, ",
    "send_audio": "5.75 s of audio became item_",
    "voice_agent": "s of audio in answer.wav",
}

Results = dict[str, tuple[int, str, str]]


def run_all(env: dict[str, str], folder: Path, *agents_arguments: Path) -> Results:
    """Run the examples side by side, each in a folder of its own."""
    running: dict[str, subprocess.Popen[str]] = {}
    for name in reversed(NAMES):  # voice_agent first: it takes the time that its question lasts
        cwd = folder / name
        cwd.mkdir()
        arguments = agents_arguments if name == "voice_agent" else ()
        running[name] = start([sys.executable, EXAMPLES / f"{name}.py", *arguments], env, cwd)
    return {name: finish(program) for name, program in running.items()}


def assert_all_well(results: Results) -> None:
    """Check exit codes and output of every example."""
    for name, (code, out, err) in results.items():
        assert (code, err) == (0, ""), f"{name}: {err}"
        assert any(EXPECTED[name] in line for line in out.splitlines()), f"{name}: {out}"


def test_every_example_is_tested() -> None:
    """An example without an expectation would be run for nothing."""
    assert sorted(EXPECTED) == NAMES


def test_examples_without_a_token(tmp_path: Path) -> None:
    """Without a token each example starts a local server, and the agent's answer is the question."""
    results = run_all(environment(), tmp_path)

    assert_all_well(results)
    answer = audio_files.read(tmp_path / "voice_agent" / "answer.wav")
    assert likeness(answer, audio_files.read(QUESTION)) > 0.9


@pytest.fixture
def gateway() -> Iterator[LocalServer]:
    """Stand in for the gateway: it takes one token, and knows one model."""
    with LocalServer(token="rsk_the-right-one", models=["openai/gpt-realtime-mini"]) as server:
        yield server


def test_examples_with_a_token(gateway: LocalServer, tmp_path: Path) -> None:
    """With a token each example talks to the server that the environment names, and never shows the token."""
    recording = clip(tmp_path / "clip.wav", 0.5)

    results = run_all(environment(gateway, token="rsk_the-right-one"), tmp_path, recording)

    assert_all_well(results)
    assert gateway.connections_total == len(NAMES)  # list_models opens none, connect_and_close two
    assert "rsk_the-right-one" not in str(results)
