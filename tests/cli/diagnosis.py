"""What the tests of `meshapi-rt doctor` share: a run of it, judged as a program would."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from meshapi_rt.cli import main

from ..conftest import TOKEN

__all__ = ["ROUTE", "SERVICE", "Diagnosis", "diagnose", "patient"]

ROUTE = ["server", "proxy", "names", "tcp", "tls"]
SERVICE = ["token", "model", "session", "first audio"]


@attrs.frozen
class Diagnosis:
    """What came of it: the exit code and the results by the names of the checks."""

    code: int
    results: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, name: str) -> str:
        return f"{self.results[name]['status']}: {self.results[name]['message']}"

    def facts(self, name: str) -> Any:
        """Return what a check tells to programs."""
        return self.results[name]["facts"]

    def with_status(self, status: str) -> list[str]:
        """Return the names of the checks that ended so; those of packages and devices depend on the machine."""
        return [name for name in ROUTE + SERVICE if self.results.get(name, {}).get("status") == status]


def diagnose(capsys: pytest.CaptureFixture[str], *arguments: str) -> Diagnosis:
    """Run `meshapi-rt doctor --json`; the token must not be in what it says."""
    code = main(["doctor", "--json", *arguments])
    told = capsys.readouterr()
    assert TOKEN not in told.out + told.err
    assert told.err == ""
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert all("\n" not in line["message"] for line in lines)
    return Diagnosis(code, {line["check"]: line for line in lines})


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the machine one with a token, and without sound devices: those are looked at in tests of their own."""
    monkeypatch.setenv("MESHAPI_TOKEN", TOKEN)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
