"""From a signature to a JSON schema, and from JSON text to the arguments of a call: by msgspec."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..errors import ConfigurationError, MissingExtraError
from .docstrings import Described

__all__ = ["BadArguments", "Derived", "Taken", "derive", "taken_by", "unreachable"]

_REF = "#/$defs/"
_ABSENT = object()  # an argument that the model left out: the function's own default holds
_Schema = dict[str, Any]


class BadArguments(ValueError):
    """What a model wrote does not fit; the text is for the model."""


@attrs.frozen
class Taken:
    """One parameter that a model fills in.

    Attributes:
        hint: Its annotation, ``Any`` without one.
        default: What the function takes without it; ``inspect.Parameter.empty`` where it is required.
    """

    name: str
    hint: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether the model must give it."""
        return self.default is inspect.Parameter.empty


@attrs.frozen
class Derived:
    """What follows from a signature: the schema, and what turns JSON text into keyword arguments."""

    parameters: _Schema
    convert: Callable[[str], dict[str, Any]]


def taken_by(function: Callable[..., Any], named: str) -> list[Taken]:
    """List what a model can fill in: every parameter that is not bound by a partial.

    Args:
        function: What will be called.
        named: How an error calls it.

    Raises:
        ConfigurationError: It has parameters that keywords cannot reach, or annotations that name nothing.
    """
    bound: set[str] = set()
    plain: Any = function
    while hasattr(plain, "func") and hasattr(plain, "keywords"):  # functools.partial
        bound.update(plain.keywords)
        plain = plain.func
    hints = _hints(plain, named)
    taken = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(unreachable(named, parameter))
        if parameter.name not in bound:
            taken.append(Taken(parameter.name, hints.get(parameter.name, Any), parameter.default))
    return taken


def unreachable(named: str, parameter: inspect.Parameter) -> str:
    """Say that a parameter cannot be given by keyword."""
    return f"{named} takes {parameter}, which a model cannot fill in: arguments come by keyword, each with its own name"


def _hints(function: Any, named: str) -> dict[str, Any]:
    if not (inspect.isroutine(function) or hasattr(function, "__wrapped__")):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as exc:
        raise ConfigurationError(
            f"an annotation of {named} cannot be resolved ({exc}): define what it names at the top of its module, "
            "or give parameters="
        ) from exc


def derive(taken: list[Taken], described: Described, named: str) -> Derived:
    """Make the schema of some parameters.

    Definitions are written where they are used, because a model reads that best and not every server follows
    references; only what contains itself stays in ``$defs``.

    Raises:
        MissingExtraError: msgspec is not installed.
        ConfigurationError: An annotation has no JSON schema.
    """
    try:
        import msgspec  # noqa: PLC0415 - optional
    except ImportError as exc:
        raise MissingExtraError(f"{named} without an explicit parameters= schema", "tools") from exc
    for one in taken:
        _check(msgspec, one, named)
    fields = [
        (one.name, one.hint) if one.required else (one.name, one.hint, msgspec.field(default_factory=lambda: _ABSENT))
        for one in taken
    ]
    struct = msgspec.defstruct("arguments", fields, kw_only=True, forbid_unknown_fields=True)
    decoder = msgspec.json.Decoder(struct, strict=False)  # a model may write "5" where 5 is meant

    def convert(arguments: str) -> dict[str, Any]:
        try:
            filled = decoder.decode(arguments)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:  # the first is a ValueError only since 0.21
            raise BadArguments(str(exc)) from exc
        values = {one.name: getattr(filled, one.name) for one in taken}
        return {name: value for name, value in values.items() if value is not _ABSENT}

    _, known = msgspec.json.schema_components([struct], ref_template=_REF + "{name}")
    schema = _Inliner(known).whole("arguments")
    for one in taken:
        _describe(msgspec, schema["properties"][one.name], one, described)
    return Derived(schema, convert)


def _check(msgspec: Any, one: Taken, named: str) -> None:
    try:
        msgspec.json.schema(one.hint)
        msgspec.json.Decoder(one.hint)
    except Exception as exc:
        why = str(exc).strip().splitlines()[-1]
        raise ConfigurationError(
            f"the parameter {one.name!r} of {named} has an annotation without a JSON schema: {why}; "
            "annotate it otherwise, or give parameters="
        ) from exc


def _describe(msgspec: Any, schema: _Schema, one: Taken, described: Described) -> None:
    """Add to a property what its schema does not know: its description and its default."""
    noted = [note for note in getattr(one.hint, "__metadata__", ()) if isinstance(note, str)]
    told = noted[-1] if noted else described.parameters.get(one.name)
    if told:
        schema["description"] = told
    if not one.required:
        try:
            default = msgspec.to_builtins(one.default, str_keys=True)
            msgspec.json.encode(default)
        except Exception:  # noqa: BLE001 - a default that JSON cannot tell is still one
            return
        schema.setdefault("default", default)


class _Inliner:
    """Writes definitions in the place of their references."""

    def __init__(self, known: Mapping[str, _Schema]) -> None:
        self._known = known
        self._recursive = {name for name in known if name in self._reach(name)}

    def whole(self, name: str) -> _Schema:
        """Return a definition that stands for itself."""
        schema: _Schema = self._rewritten(self._known[name])
        kept = self._reach(name) & self._recursive
        if kept:
            schema["$defs"] = {one: self._rewritten(self._known[one]) for one in sorted(kept)}
        return schema

    def _reach(self, name: str) -> set[str]:
        """Return every definition that one leads to."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            new = set(_references(self._known[waiting.pop()])) - found
            found |= new
            waiting += new
        return found

    def _rewritten(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._rewritten(one) for one in node]
        if not isinstance(node, dict):
            return node
        reference = str(node.get("$ref", "")).removeprefix(_REF)
        if reference and reference not in self._recursive:
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return {**self._rewritten(self._known[reference]), **self._rewritten(beside)}
        return {
            key: {name: self._rewritten(one) for name, one in value.items()}
            if key == "properties"
            else value
            if key in ("default", "enum", "const", "examples")
            else self._rewritten(value)
            for key, value in node.items()
            if key != "title" and not (key == "required" and not value)
        }


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix(_REF)] if isinstance(node.get("$ref"), str) else []
        return own + [name for value in node.values() for name in _references(value)]
    return [name for one in node for name in _references(one)] if isinstance(node, list) else []
