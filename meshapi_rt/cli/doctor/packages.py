"""Python and the packages: is what is installed what is asked for?"""

from __future__ import annotations

import importlib
import platform
import re
import sys
import sysconfig
from collections.abc import Sequence
from functools import partial
from importlib import metadata

from ...version import __version__
from ...waiting import Wait
from .checkup import Check, Finding, fail, ok, skip, warn

__all__ = ["CORE", "EXTRAS", "package_checks"]

_OLDEST, _NEWEST = (3, 10), (3, 14)

# As in setup.cfg, which a test compares: an installed package does not always come with its metadata.
CORE = ("attrs>=23.1", "numpy>=1.24", "websocket-client>=1.8,<2")
EXTRAS = {
    "local": ("websockets>=15",),
    "audio": ("sounddevice>=0.4.6", "soundfile>=0.12", "soxr>=0.3.7"),
    "tools": ("msgspec>=0.19",),
    "speed": ("msgspec>=0.19", "pybase64>=1.3", "websockets>=15"),
}
_BRINGS = {
    "local": "a server of one's own",
    "audio": "microphone and speaker, and files other than WAV",
    "tools": "functions as tools",
    "speed": "faster JSON, base64 and masks",
}
_MODULES = {"attrs": "attr", "websocket-client": "websocket"}  # where the name is another one


def package_checks() -> list[Check]:
    """Return the checks of Python, this package and what it uses."""
    extras = [Check(f"[{extra}]", partial(_look_at_extra, extra)) for extra in EXTRAS]
    return [Check("python", _look_at_python), Check("meshapi-rt", _look_at_core), *extras]


def _look_at_python(_wait: Wait) -> Finding:
    version, kind = platform.python_version(), platform.python_implementation()
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    told = f"{kind} {version} on {platform.system()} {platform.machine()}"
    if free:
        lock = getattr(sys, "_is_gil_enabled", lambda: True)()
        told += f", free-threaded build, GIL {'on' if lock else 'off'}"
    facts = {"implementation": kind, "version": version, "free_threaded": free, "platform": platform.platform()}
    supported = f"{_text(_OLDEST)} to {_text(_NEWEST)}"
    if sys.version_info[:2] < _OLDEST:
        return fail(f"{told}: too old; install one of Python {supported}", **facts)
    if sys.version_info[:2] > _NEWEST:
        return warn(f"{told}: newer than what this version was tested with, {supported}; look for an update", **facts)
    if kind != "CPython":
        return warn(f"{told}: this version was tested with CPython only; if anything is odd, try that", **facts)
    return ok(told, **facts)


def _look_at_core(_wait: Wait) -> Finding:
    found, problems = _compare(CORE)
    told = f"{__version__} with {_listed(found)}"
    if problems:
        remedy = "pip install --upgrade meshapi-rt"
        return fail(f"{told}: {'; '.join(problems)}: {remedy}", version=__version__, packages=found)
    return ok(told, version=__version__, packages=found)


def _look_at_extra(extra: str, _wait: Wait) -> Finding:
    found, problems = _compare(EXTRAS[extra])
    remedy = f"pip install 'meshapi-rt[{extra}]'"
    if not problems:
        return ok(_listed(found), packages=found)
    if not any(found.values()):
        return skip(f"not installed; for {_BRINGS[extra]}: {remedy}", packages=found)
    return warn(f"{_listed(found)}: {'; '.join(problems)}; for {_BRINGS[extra]}: {remedy} --upgrade", packages=found)


def _compare(wanted: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """Return the versions found, and what is wrong with them."""
    found: dict[str, str | None] = {}
    problems: list[str] = []
    for requirement in wanted:
        name = re.split("[<>=]", requirement)[0]
        module = _MODULES.get(name, name)
        try:
            found[name] = version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
            problems.append(f"{name} is missing")
            continue
        if not _satisfies(version, requirement):
            problems.append(f"{requirement} is needed")
            continue
        try:
            importlib.import_module(module)
        except Exception as exc:  # noqa: BLE001 - whatever a broken package raises
            problems.append(f"{name} does not load ({type(exc).__name__}: {exc})")
    return found, problems


def _satisfies(version: str, requirement: str) -> bool:
    have = _numbers(version)
    for sign, bound in re.findall(r"(>=|<)([\d.]+)", requirement):
        if (have < _numbers(bound)) if sign == ">=" else (have >= _numbers(bound)):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: enough for bounds such as ours."""
    digits = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in digits.group().split(".")) if digits else ()


def _listed(found: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or '(none)'}" for name, version in found.items())


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
