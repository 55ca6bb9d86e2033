"""Small checks that are put together to whole schemas; each refuses with the full path of the field.

A rule takes a value and its path, and returns nothing or raises a :class:`Refusal`. Wrong types and values
out of range both read ``invalid_value``, the one code of protocol.md 1.9 for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .failures import Refusal

__all__ = [
    "Rule",
    "anything",
    "boolean",
    "const",
    "either",
    "integer",
    "list_of",
    "map_of",
    "nullable",
    "number",
    "obj",
    "one_of",
    "tagged",
    "text",
]

Rule = Callable[[Any, str], None]


def _kind(value: object) -> str:
    names = {bool: "a boolean", str: "a string", int: "an integer", float: "a number", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def anything(value: Any, path: str) -> None:
    """Take any JSON value."""


def boolean(value: Any, path: str) -> None:
    """Take ``true`` and ``false``."""
    if not isinstance(value, bool):
        raise Refusal.invalid(path, f"expected a boolean, got {_kind(value)}")


def text(longest: int | None = None, *, shortest: int = 0) -> Rule:
    """Take a string of a length within bounds."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise Refusal.invalid(path, f"expected a string, got {_kind(value)}")
        if len(value) < shortest:
            raise Refusal.invalid(path, "expected a string that is not empty")
        if longest is not None and len(value) > longest:
            raise Refusal.invalid(path, f"expected at most {longest} characters, got {len(value)}")

    return check


def integer(low: int | None = None, high: int | None = None) -> Rule:
    """Take an integer within bounds; a boolean is none."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refusal.invalid(path, f"expected an integer, got {_kind(value)}")
        _check_range(value, low, high, path)

    return check


def number(low: float | None = None, high: float | None = None) -> Rule:
    """Take a finite number within bounds."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Refusal.invalid(path, f"expected a number, got {_kind(value)}")
        _check_range(value, low, high, path)

    return check


def _check_range(value: float, low: float | None, high: float | None, path: str) -> None:
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"{low} to {high}"
        raise Refusal.invalid(path, f"expected {bounds}, got {value}")


def one_of(*allowed: str) -> Rule:
    """Take one of some words; the refusal lists them, as the live service does."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or value not in allowed:
            shown = f"'{value}'" if isinstance(value, str) else _kind(value)
            names = ", ".join(f"'{name}'" for name in allowed)
            raise Refusal("invalid_value", f"Invalid value: {shown}. Supported values are: {names}.", path)

    return check


def const(expected: object) -> Rule:
    """Take one value."""

    def check(value: Any, path: str) -> None:
        if type(value) is not type(expected) or value != expected:
            raise Refusal.invalid(path, f"expected {expected!r}")

    return check


def nullable(rule: Rule) -> Rule:
    """Take ``null`` too. Absent and ``null`` are two things (protocol.md 3.6)."""
    return lambda value, path: None if value is None else rule(value, path)


def list_of(rule: Rule, *, longest: int | None = None, shortest: int = 0) -> Rule:
    """Take an array whose entries all pass."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise Refusal.invalid(path, f"expected an array, got {_kind(value)}")
        if len(value) < shortest or (longest is not None and len(value) > longest):
            raise Refusal.invalid(path, f"an array of {len(value)} entries is not allowed here")
        for index, entry in enumerate(value):
            rule(entry, f"{path}[{index}]")

    return check


def map_of(rule: Rule, *, longest: int | None = None, longest_key: int | None = None) -> Rule:
    """Take an object with free keys whose values all pass."""

    def check(value: Any, path: str) -> None:
        _check_object(value, path)
        if longest is not None and len(value) > longest:
            raise Refusal.invalid(path, f"expected at most {longest} pairs, got {len(value)}")
        for key, entry in value.items():
            if longest_key is not None and len(key) > longest_key:
                raise Refusal.invalid(path, f"expected keys of at most {longest_key} characters")
            rule(entry, _join(path, key))

    return check


def _check_object(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise Refusal.invalid(path, f"expected an object, got {_kind(value)}")


def obj(fields: Mapping[str, Rule], *required: str) -> Rule:
    """Take an object of known fields; required ones are looked for first."""

    def check(value: Any, path: str) -> None:
        _check_object(value, path)
        for name in required:
            if name not in value:
                raise Refusal.missing(_join(path, name))
        for name, entry in value.items():
            if name not in fields:
                raise Refusal.unknown(_join(path, name))
            fields[name](entry, _join(path, name))

    return check


def tagged(variants: Mapping[str, Rule], tag: str = "type") -> Rule:
    """Take an object of one of several shapes, told apart by the field *tag*."""
    check_tag = one_of(*variants)

    def check(value: Any, path: str) -> None:
        _check_object(value, path)
        if tag not in value:
            raise Refusal.missing(_join(path, tag))
        check_tag(value[tag], _join(path, tag))
        variants[value[tag]](value, path)

    return check


def either(words: Rule, shape: Rule) -> Rule:
    """Take an object of one shape, or something that is no object."""
    return lambda value, path: (shape if isinstance(value, dict) else words)(value, path)
