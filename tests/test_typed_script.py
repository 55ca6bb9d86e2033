"""A user's script with types: what mypy says of it, and that it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshapi_rt.local import LocalServer

from .typed_script import main

SCRIPT = Path(__file__).with_name("typed_script.py")


@pytest.mark.timeout(300)  # mypy reads numpy's types, when it has not before
def test_mypy_narrows() -> None:
    """Strict mypy accepts the script, for the oldest Python too, and finds each of the mistakes marked in it."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--python-version",
        "3.10",
        str(SCRIPT),
    ]

    done = subprocess.run(command, cwd=SCRIPT.parents[1], capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stdout + done.stderr


def test_it_runs() -> None:
    """The types are those of what really comes."""
    with LocalServer() as server:
        seen = main(server.client())

    assert "realtime" in seen
    assert seen.count("completed") == 2
