"""What the tests of the faces share: running programs as a user does, and hearing whether two recordings agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt import audio_files, pcm
from meshapi_rt.local import LocalServer

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
QUESTION = EXAMPLES / "question.wav"
LIMIT = 20.0  # seconds for a program that works in one or two
CLI = (sys.executable, "-m", "meshapi_rt")

_OURS = re.compile(r"MESHAPI_.*|.*_proxy|PYTHON.*|COV_.*", re.IGNORECASE)


def environment(server: LocalServer | None = None, *, token: str = "local", **more: str) -> dict[str, str]:  # noqa: S107
    """Return an environment that names no server, or this one; every warning is an error."""
    env = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
    env.update(PYTHONPATH=str(ROOT), PYTHONWARNINGS="error", PYTHONDONTWRITEBYTECODE="1")
    if server is not None:
        env.update(MESHAPI_BASE_URL=server.url, MESHAPI_TOKEN=token)
    return env | more


def start(command: Sequence[str | Path], env: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Start a program in a process group of its own, so that Ctrl-C can be sent to it alone."""
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def finish(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr; a program that hangs is ended and fails the test."""
    try:
        out, err = program.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        program.kill()
        out, err = program.communicate(timeout=LIMIT)
        pytest.fail(f"{program.args!r} hangs; it said {out!r} and {err!r}")
    return program.returncode, out, err


def likeness(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """Return the peak of the normalised cross-correlation: 1 for the same sound at any delay and level."""
    a, b = pcm.to_float(one), pcm.to_float(other)
    size = a.size + b.size
    correlation = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    return float(correlation.max() / (np.linalg.norm(a) * np.linalg.norm(b)))


def clip(path: Path, seconds: float = 1.0) -> Path:
    """Write the beginning of the question to a file."""
    audio_files.write(path, audio_files.read(QUESTION)[: round(seconds * pcm.SAMPLE_RATE)])
    return path
