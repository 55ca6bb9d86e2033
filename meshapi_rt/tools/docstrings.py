"""What a docstring tells a model: the text before its first section, and a description for each parameter. Pure."""

from __future__ import annotations

import inspect
import re

import attrs

__all__ = ["Described", "read_docstring"]

_WORDS = (
    "args|arguments|parameters|params|other parameters|keyword args|keyword arguments|returns|return|yields|raises|"
    "examples?|notes?|see also|warnings?|warns|attributes|references|todo"
)
_GOOGLE = re.compile(rf"({_WORDS}):\s*$", re.IGNORECASE)
_NUMPY = re.compile(rf"({_WORDS})\s*$", re.IGNORECASE)
_SPHINX = re.compile(r":(param|parameter|arg|argument|type|returns?|rtype|raises?)\b([^:]*):\s*(.*)$")
_FIELD = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:(?:\s+(.*))?$")  # of a Google section
_ENTRY = re.compile(r"(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")  # of a numpy section: one name, or several
_TAKEN = ("args", "arguments", "parameters", "params", "other parameters", "keyword args", "keyword arguments")


@attrs.frozen
class Described:
    """A docstring, read.

    Attributes:
        summary: What stands before the first section; paragraphs as they are, lines of one joined.
        parameters: Descriptions by name.
    """

    summary: str = ""
    parameters: dict[str, str] = attrs.field(factory=dict)


def read_docstring(text: str | None) -> Described:
    """Read a docstring in the manner of Google, numpy or Sphinx, or a plain one."""
    lines = inspect.cleandoc(text or "").splitlines()
    summary: list[str] = []
    parameters: dict[str, list[str]] = {}
    at, begun = 0, False
    while at < len(lines):
        section = _section(lines, at)
        if section is not None:
            begun = True
            name, first, indented = section
            body, at = _body(lines, first, indented=indented)
            if name in _TAKEN:
                _collect(body, parameters, _FIELD if indented else _ENTRY)
        elif field := _SPHINX.match(lines[at]):
            begun = True
            body, at = _body(lines, at + 1, indented=True)
            if field[1] in ("param", "parameter", "arg", "argument"):
                parameters[(field[2].split() or [""])[-1]] = [field[3], *body]
        else:
            if not begun:
                summary.append(lines[at])
            at += 1
    return Described(_paragraphs(summary), {name: _paragraphs(told) for name, told in parameters.items() if any(told)})


def _section(lines: list[str], at: int) -> tuple[str, int, bool] | None:
    """Return a section that begins here: its name, its first line, and whether it is told by indentation."""
    if found := _GOOGLE.match(lines[at]):
        return found[1].lower(), at + 1, True
    underlined = at + 1 < len(lines) and re.fullmatch(r"-{3,}\s*", lines[at + 1])
    if underlined and (found := _NUMPY.match(lines[at])):
        return found[1].lower(), at + 2, False
    return None


def _body(lines: list[str], first: int, *, indented: bool) -> tuple[list[str], int]:
    """Return the lines of a section without their common indentation, and where the next thing begins."""
    end = first
    while end < len(lines):
        line = lines[end]
        if indented and line.strip() and not line[0].isspace():
            break
        if not indented and _section(lines, end) is not None:
            break
        end += 1
    return inspect.cleandoc("\n".join(["", *lines[first:end]])).splitlines(), end


def _collect(body: list[str], parameters: dict[str, list[str]], entry: re.Pattern[str]) -> None:
    """Take the descriptions out of a section: an entry begins at the margin, what is indented continues it."""
    named: list[list[str]] = []
    for line in body:
        if line.strip() and not line[0].isspace() and (found := entry.match(line)):
            names = [name.strip() for name in found[1].split(",")]
            named = [parameters.setdefault(name, []) for name in names]
            line = (found[2] or "") if entry is _FIELD else ""  # noqa: PLW2901 - what is left of it
        for told in named:
            told.append(line)


def _paragraphs(lines: list[str]) -> str:
    """Join the lines of each paragraph."""
    text = "\n".join(line.strip() for line in lines).strip()
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n{2,}", text) if part.strip())
