"""Every program in the README does what it says, and the README stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshapi_rt import audio_files
from meshapi_rt.local import LocalServer

from .faces import ROOT, clip, likeness

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _name(block: str) -> str:
    calls = [line.strip() for line in block.splitlines() if not line.startswith(("from ", "import "))]
    return next(filter(None, calls))[:40]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand where a reader would: a token and a server in the environment, question.wav in the folder."""
    with LocalServer() as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        monkeypatch.setenv("MESHAPI_TOKEN", "local")
        monkeypatch.chdir(tmp_path)
        clip(tmp_path / "question.wav", 0.5)
        yield tmp_path
        assert server.wait_idle(5), "a program of the README leaves its session open"


def run(block: str) -> dict[str, Any]:
    """Run a program in a namespace of its own, which is returned."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - that is the test
    return namespace


@pytest.mark.parametrize("block", BLOCKS, ids=_name)
def test_block_runs(there: Path, block: str) -> None:
    """Each block runs as it stands."""
    run(block)


def test_first_program_saves_the_answer(there: Path) -> None:
    """The first program leaves the speech in answer.wav."""
    run(BLOCKS[0])

    assert likeness(audio_files.read("answer.wav"), audio_files.read("question.wav")) > 0.9


def test_voice_agent_ends_in_good_order(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent's pump brings audio, and ends because the agent closes the session."""
    agent = next(block for block in BLOCKS if "def speak" in block)

    run(agent)

    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ended by None"
    assert any("bytes for the speaker" in line for line in lines)


def test_own_responder_is_heard(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The block on testing shows what its responder says."""
    run(BLOCKS[-1])

    assert capsys.readouterr().out == "You said: Hi\n"


def test_readme_is_short() -> None:
    """Under 150 lines, and none wider than the code, but for the tables, which cannot be wrapped."""
    lines = README.splitlines()

    assert len(lines) < 150
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120


def test_every_file_named_exists() -> None:
    """What the README sends a reader to is there."""
    named = set(re.findall(r"`((?:examples/)?\w+\.(?:py|wav))`", README)) - {"answer.wav"}

    assert named
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "examples" / name).exists(), name
