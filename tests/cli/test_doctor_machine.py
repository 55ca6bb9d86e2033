"""The doctor and the machine: Python, packages, the shape of a token, what hangs, and how it all looks."""

from __future__ import annotations

import configparser
import contextlib
import datetime
import os
import platform
import re
import ssl
import subprocess
import sys
import sysconfig
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import trustme

import meshapi_rt
from meshapi_rt.cli import main
from meshapi_rt.cli.doctor import certificate, packages, service, sound
from meshapi_rt.cli.doctor.checkup import Check, Status, examine, ok
from meshapi_rt.errors import DeviceError
from meshapi_rt.waiting import Wait

from ..conftest import TOKEN
from ..faces import CLI, LIMIT, ROOT, environment
from .diagnosis import diagnose

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave sound devices alone."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)


# -- Python and packages ---


def test_this_machine(capsys: Capture) -> None:
    """The versions that run here."""
    found = diagnose(capsys, "--offline")

    assert f"CPython {sys.version.split()[0]}" in found["python"]
    assert isinstance(found.facts("python")["free_threaded"], bool)
    assert found["meshapi-rt"].startswith(f"ok: {meshapi_rt.__version__} with attrs ")
    assert found.facts("[tools]")["packages"] == {"msgspec": metadata.version("msgspec")}
    assert found["[local]"].startswith("ok: websockets ")


def test_the_table_is_that_of_the_package() -> None:
    """What is asked for here is what setup.cfg asks for."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")

    def listed(section: str, option: str) -> tuple[str, ...]:
        return tuple(line for line in setup[section][option].split("\n") if line)

    assert listed("options", "install_requires") == packages.CORE
    assert {extra: listed("options.extras_require", extra) for extra in packages.EXTRAS} == packages.EXTRAS
    classifiers = re.findall(r"Python :: (3\.\d+)$", setup["metadata"]["classifiers"], re.MULTILINE)
    supported = [".".join(map(str, version)) for version in (packages._OLDEST, packages._NEWEST)]
    assert [classifiers[0], classifiers[-1]] == supported


@pytest.mark.parametrize(
    ("version", "status", "told"),
    [((3, 9), "fail", "too old; install"), ((3, 10), "ok", ""), ((3, 14), "ok", ""), ((3, 99), "warn", "newer than")],
)
def test_versions_of_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], status: str, told: str) -> None:
    """Older than supported is a failure, newer a warning."""
    monkeypatch.setattr(sys, "version_info", (*version, 1, "final", 0))

    finding = packages._look_at_python(Wait(1.0))

    assert finding.status == status
    assert told in finding.told


def test_other_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another implementation is a warning; a free-threaded build is told, with what became of the lock."""
    monkeypatch.setattr(platform, "python_implementation", lambda: "PyPy")
    assert packages._look_at_python(Wait(1.0)).status is Status.WARN

    monkeypatch.undo()
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: 1)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert "free-threaded build, GIL off" in packages._look_at_python(Wait(1.0)).told


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Return what is to be taken for the versions of packages; ``None`` for one that is not there."""
    told: dict[str, str | None] = {}
    real = metadata.version

    def version(name: str) -> str:
        if name not in told:
            return real(name)
        if told[name] is None:
            raise metadata.PackageNotFoundError(name)
        return str(told[name])

    monkeypatch.setattr(metadata, "version", version)
    return told


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("attrs", "22.2.0", "attrs>=23.1 is needed"),
        ("attrs", "23.1.0", None),
        ("attrs", "23.1rc1", None),
        ("numpy", "1.9", "numpy>=1.24 is needed"),
        ("websocket-client", "2.0.1", "websocket-client>=1.8,<2 is needed"),
        ("websocket-client", "1.9.2", None),
        ("websocket-client", None, "websocket-client is missing"),
    ],
)
def test_core(
    capsys: Capture, versions: dict[str, str | None], name: str, version: str | None, told: str | None
) -> None:
    """A package that is needed and too old, too new or absent is a failure with the pip line."""
    versions[name] = version

    found = diagnose(capsys, "--offline")

    assert found.code == (1 if told else 0)
    assert not told or f"{told}: pip install --upgrade meshapi-rt" in found["meshapi-rt"]


def test_extras(capsys: Capture, versions: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is absent is told with its pip line; one that is too old, half there or broken is a warning."""
    versions.update({"msgspec": "0.20", "pybase64": None, "websockets": "14.2"})
    versions.update(dict.fromkeys(("sounddevice", "soundfile", "soxr")))

    found = diagnose(capsys, "--offline")

    assert found.code == 0
    assert found["[audio]"].startswith("skip: not installed; for microphone and speaker, and files other than WAV: pip")
    assert "pip install 'meshapi-rt[audio]'" in found["[audio]"]
    assert found["[speed]"].startswith(
        "warn: msgspec 0.20, pybase64 (none), websockets 14.2: pybase64 is missing; webs"
    )
    assert "for faster JSON, base64 and masks: pip install 'meshapi-rt[speed]'" in found["[speed]"]
    assert "pip install 'meshapi-rt[local]' --upgrade" in found["[local]"]
    assert found["[tools]"].startswith("ok: msgspec 0.20")

    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert "warn: msgspec 0.20: msgspec does not load (ModuleNotFoundError" in diagnose(capsys, "--offline")["[tools]"]


# -- tokens ---


@pytest.mark.parametrize(
    ("token", "status", "told"),
    [
        ("rsk_" + "a1B2" * 8, "ok", "holds 36 characters, and has the shape of a key"),
        (" rsk_a1B2a1B2", "fail", "with white space at an end"),
        ("rsk_a1B2a1B2\r", "fail", "with white space at an end"),
        ('"rsk_a1B2a1B2"', "fail", "with quotes around it"),
        ("\u201crsk_a1B2a1B2\u201d", "fail", "with quotes around it"),
        ("Bearer rsk_a1B2a1B2", "fail", "begins with the word Bearer"),
        ("rsk_a1B2 a1B2", "fail", "white space or characters that no key has"),
        ("rsk_a1B2\u00e9a1B2", "fail", "white space or characters that no key has"),
        (" ", "fail", "white space"),
        ("rsk_...", "warn", "looks like a placeholder"),
        ("rsk_", "warn", "looks like a placeholder"),
        ("<your key>", "fail", "white space"),
        ("$MESHAPI_TOKEN", "warn", "looks like a placeholder"),
        ("your_token_here", "warn", "looks like a placeholder"),
        ("rsk_XXXXXXXXXXXX", "warn", "looks like a placeholder"),
        ("None", "warn", "looks like a placeholder"),
        ("sk-a1B2a1B2a1B2", "warn", "does not begin as keys of the gateway do"),
    ],
)
def test_shapes_of_tokens(token: str, status: str, told: str) -> None:
    """What is wrong with a token is told by its shape; no part of it that would be secret shows."""
    finding = service.look_at_token(token, anything_goes=False)

    assert finding.status == status
    assert told in finding.told
    assert "a1B2" not in str(finding)


def test_tokens_of_other_servers() -> None:
    """They may look like anything, but for what no token looks like."""
    assert service.look_at_token("local", anything_goes=True).status is Status.OK
    assert service.look_at_token("'local'", anything_goes=True).status is Status.FAIL


# -- certificates ---


def test_reading_certificates() -> None:
    """Issuer and dates, also of years that UTCTime cannot tell; what is none is told, however it is cut."""
    begin = datetime.datetime(1999, 12, 31, 23, 59, 58, tzinfo=datetime.timezone.utc)
    end = datetime.datetime(2051, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    authority = trustme.CA(organization_name="Ünïcode", organization_unit_name="Unit")
    pem = authority.issue_cert("host.example", not_before=begin, not_after=end).cert_chain_pems[0].bytes()

    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    read = certificate.Certificate.read(der)

    assert read == certificate.Certificate("Ünïcode", begin, end)
    for cut in range(len(der)):
        with contextlib.suppress(ValueError):
            certificate.Certificate.read(der[:cut])


# -- what hangs, and what nobody foresaw ---


def test_a_device_that_hangs(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call into a driver that does not return is given up, and the next check is done."""
    monkeypatch.setattr("meshapi_rt.cli.doctor.checkup._GRACE", 0.0)
    come_back = threading.Event()

    def choose(_: object, kind: str) -> Any:
        if kind == "input":
            come_back.wait(LIMIT)
        raise DeviceError("there is no speaker on this machine")

    monkeypatch.setattr(sound, "choose", choose)
    found = diagnose(capsys, "--offline", "--timeout", "2")
    come_back.set()

    assert found.code == 0
    assert found["microphone"] == "warn: it hangs, and was given up: nothing came of it in time; see --timeout"
    assert found["speaker"] == "warn: there is no speaker on this machine"


def test_a_bug(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is told as one failure among the other results."""
    monkeypatch.setattr(service, "look_at_token", lambda *_, **__: 1 / 0)
    monkeypatch.setenv("MESHAPI_TOKEN", TOKEN)

    found = diagnose(capsys, "--offline")

    assert found.code == 1
    assert found["token"] == "fail: ZeroDivisionError: division by zero (a bug of meshapi-rt: please report it)"
    assert found["session"].startswith("ok")


def test_only_the_roots_of_a_problem_are_named() -> None:
    """A check behind one that was left out names the failure at the root of both."""

    def broken(_: Wait) -> Any:
        raise DeviceError("broken")

    def fine(_: Wait) -> Any:
        return ok("fine")

    checks = [Check("a", broken), Check("b", fine, ("a",)), Check("c", fine, ("a", "b")), Check("d", fine)]
    begun: list[str] = []
    results = list(examine(checks, 1.0, threading.Event(), begun.append))

    assert [result.finding.told for result in results] == [
        "broken",
        "left out: it needs what failed above (a)",
        "left out: it needs what failed above (a)",
        "fine",
    ]
    assert begun == ["a", "d"]


# -- how it looks ---


@pytest.mark.parametrize("arguments", [["--timeout", "0"], ["--auth", "none"], ["now"]])
def test_wrong_usage(capsys: Capture, arguments: list[str]) -> None:
    """Exit code 2, and nothing is looked at."""
    assert main(["doctor", *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_plain_when_piped() -> None:
    """A line each on stdout, no codes, nothing on stderr; the last line sums up."""
    run = subprocess.run(
        [*CLI, "doctor", "--offline"], env=environment(), capture_output=True, timeout=LIMIT, check=False
    )

    assert (run.returncode, run.stderr) == (0, b"")
    assert b"\x1b" not in run.stdout
    assert b"\r" not in run.stdout.replace(b"\r\n", b"\n")
    *lines, last = run.stdout.decode().splitlines()
    assert all(re.fullmatch(r"(ok|warn|FAIL|skip) +\S.{9,} \S.*", line) for line in lines), lines
    assert re.match(r"Everything that is needed works\. Worth a look: (\[audio\], )?token", last)  # without PortAudio


def test_the_last_line_names_what_is_wrong(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the checks."""
    monkeypatch.setenv("MESHAPI_TOKEN", "'quoted'")

    assert main(["doctor", "--offline"]) == 1

    told = capsys.readouterr().out
    assert "FAIL  token        MESHAPI_TOKEN holds 8 characters, with quotes around it" in told
    assert told.splitlines()[-1].startswith("Something is wrong with: token.")


def on_a_terminal(**more: str) -> str:
    """Return what a terminal shows."""
    import pty

    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [*CLI, "doctor", "--offline"],
        env=environment() | {"TERM": "xterm", "COLUMNS": "100"} | more,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=Path.cwd(),
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: EIO at the end
        while more_shown := os.read(ours, 4096):
            shown += more_shown
    os.close(ours)
    assert program.wait(LIMIT) == 0
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_on_a_terminal() -> None:
    """The check under way stands in the line that its result replaces, and the first word has a colour."""
    shown = on_a_terminal()

    for line in shown.replace("\r\n", "\n").split("\n"):
        assert not line.rstrip(" ").endswith(" ..."), line  # what stays
    assert "session ...\r" in re.sub(" +\r", "\r", shown)
    assert "\x1b[32mok  \x1b[0m  session" in shown
    assert "\x1b[33mwarn\x1b[0m  token" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
@pytest.mark.parametrize("wish", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colours(wish: dict[str, str]) -> None:
    """Where nobody wants any, or the terminal has none."""
    assert "\x1b" not in on_a_terminal(**wish)
