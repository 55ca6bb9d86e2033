"""``Tool``: a plain function that a model may call."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from ..codecs import plain_loads
from ..errors import ConfigurationError
from ..waiting import seconds
from .calls import ToolCall
from .docstrings import read_docstring
from .schema import BadArguments, derive, taken_by, unreachable

__all__ = ["Approve", "Limit", "Tool"]

Approve: TypeAlias = Callable[[ToolCall], object]
"""Decides on a call before it runs: true lets it, false refuses, and a text refuses with that reason for the model."""
Limit: TypeAlias = float | Literal["default"] | None
"""Seconds, ``None`` for without limit, or ``"default"`` for what holds for all tools of the session."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what the realtime API takes


@attrs.frozen(kw_only=True, repr=False, eq=False)
class Tool:
    """A function with what a model must know of it. Made by :meth:`of`; ``session.tool`` makes them too.

    Attributes:
        function: What is called, with keyword arguments, on a thread of its own.
        name: What the model calls it.
        description: What the model reads about it.
        parameters: The JSON schema of the arguments: an object.
        timeout: Seconds that the function may take, counted from its approval; ``None`` for without limit,
            ``"default"`` for the session's ``tool_timeout``.
        approve: Decides on each call; ``None`` for the session's ``approve``.
    """

    function: Callable[..., Any]
    name: str
    description: str
    parameters: Mapping[str, Any]
    timeout: Limit = "default"
    approve: Approve | None = None
    _convert: Callable[[str], dict[str, Any]]

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: Limit = "default",
        approve: Approve | None = None,
    ) -> Tool:
        """Make a tool of a function, a bound method, a ``functools.partial`` or an object that can be called.

        The schema follows from the annotations: ``str``, ``int``, ``float``, ``bool``, enums, ``Literal``,
        ``Optional``, unions, lists, dicts, ``TypedDict``, dataclasses, attrs classes, dates and more, by msgspec.
        Without an annotation anything is taken. What has a default need not be given. What a partial has bound
        is hidden from the model. ``Annotated[str, "a text"]`` describes a parameter, and so does the docstring.

        Args:
            function: What is to be called. No coroutine function.
            name: 1 to 64 letters, digits, underscores and dashes; the function's name if not given.
            description: The text of the docstring before its first section, if not given.
            parameters: A JSON schema of an object, for functions without annotations or without msgspec; the
                arguments are then passed on as JSON gives them.
            timeout: As above.
            approve: As above.

        Raises:
            ConfigurationError: It cannot be a tool; the message says why.
            MissingExtraError: A schema is to be derived, and msgspec is not installed.
        """
        plain = _checked(function)
        name = name or getattr(plain, "__name__", None) or type(plain).__name__
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"a tool's name must be 1 to 64 letters, digits, underscores or dashes, not {name!r}: give name="
            )
        if timeout != "default":
            seconds("timeout", timeout)
        if approve is not None and not callable(approve):
            raise ConfigurationError(f"approve must be a function of one call, not {type(approve).__name__}")
        described = read_docstring(_docstring(plain))
        convert: Callable[[str], dict[str, Any]]
        if parameters is not None:
            schema, convert = _own_schema(parameters, name), functools.partial(_bound, _signature(function, name))
        else:
            named = f"the tool {name!r}"
            derived = derive(taken_by(function, named), described, named)
            schema, convert = derived.parameters, derived.convert
        return cls(
            function=function,
            name=name,
            description=described.summary if description is None else description,
            parameters=schema,
            timeout=timeout,
            approve=approve,
            convert=convert,
        )

    def definition(self) -> dict[str, Any]:
        """Return the entry for the ``tools`` of a session or a response (protocol.md 3.5); a new one each time."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": copy.deepcopy(dict(self.parameters)),
        }

    def convert(self, arguments: str) -> dict[str, Any]:
        """Turn the JSON text of a model into keyword arguments.

        Raises:
            BadArguments: A ``ValueError``: it does not fit. The text is for the model.
        """
        return self._convert(arguments if arguments.strip() else "{}")

    def __repr__(self) -> str:
        return f"<Tool {self.name}({', '.join(self.parameters.get('properties') or ())})>"


def _checked(function: Any) -> Any:
    """Refuse what cannot be called as it should; return what is inside of partials."""
    if inspect.isclass(function) or not callable(function):
        what = f"the class {function.__name__}" if inspect.isclass(function) else type(function).__name__
        raise ConfigurationError(f"a tool must be a function, a method or an object that can be called, not {what}")
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    for called in (plain, getattr(plain, "__call__", None)):  # noqa: B004 - an object's own method
        if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
            raise ConfigurationError(
                f"{getattr(plain, '__name__', type(plain).__name__)} is a coroutine function, and there is no event "
                "loop here: write it with plain `def`; each call has a thread of its own and may block"
            )
        if inspect.isgeneratorfunction(called):
            raise ConfigurationError(
                f"{getattr(plain, '__name__', type(plain).__name__)} is a generator function, whose result is no "
                "value: return a list"
            )
    return plain


def _docstring(plain: Any) -> str | None:
    if inspect.isroutine(plain) or hasattr(plain, "__wrapped__"):
        return inspect.getdoc(plain)
    return inspect.getdoc(type(plain).__call__) or inspect.getdoc(type(plain))


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions written in C
        return None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise ConfigurationError(unreachable(f"the tool {name!r}", parameter))
    return signature


def _own_schema(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        schema: Any = json.loads(json.dumps(parameters, allow_nan=False, default=dict))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigurationError(f"the parameters of the tool {name!r} are no JSON: {exc}") from exc
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ConfigurationError(
            f"the parameters of the tool {name!r} must be the JSON schema of an object: "
            '{"type": "object", "properties": {...}}'
        )
    schema.setdefault("properties", {})
    return schema


def _bound(signature: inspect.Signature | None, arguments: str) -> dict[str, Any]:
    """Parse arguments and see that the function takes them."""
    try:
        values = plain_loads(arguments)
    except (ValueError, RecursionError) as exc:
        raise BadArguments(f"the arguments are no JSON: {exc}") from exc
    if not isinstance(values, dict):
        raise BadArguments("the arguments must be a JSON object")
    if signature is not None:
        try:
            signature.bind(**values)
        except TypeError as exc:
            raise BadArguments(str(exc)) from exc
    return values
