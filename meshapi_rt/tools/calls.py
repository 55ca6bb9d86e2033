"""``ToolCall``: what a model asked for and what it was told, and how a result becomes that text. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

__all__ = ["ToolCall", "error_output", "output_of"]

_LONGEST_ERROR = 500  # characters of an exception's text that a model is told


@attrs.frozen(kw_only=True)
class ToolCall:
    """One call of a tool. An approval hook gets it before it runs, with the last four fields still empty.

    Attributes:
        call_id: The server's name for it.
        name: The tool's name, as the model wrote it.
        arguments: The arguments as the model wrote them: JSON text, if it was careful.
        response_id: The response that it is part of.
        values: The arguments as the function gets them; ``None`` where they do not fit.
        output: What the model is told, JSON or text; ``None`` until the call has ended.
        error: Why there is no result, or ``None``; ``output`` says the same as ``{"error": ...}``.
        duration: Seconds that the function ran; 0 where it did not.
    """

    call_id: str
    name: str
    arguments: str
    response_id: str | None = None
    values: Mapping[str, Any] | None = attrs.field(default=None, repr=False, eq=False)
    output: str | None = None
    error: str | None = None
    duration: float = 0.0


def error_output(why: str) -> str:
    """Return what a model is told of a failure; half surrogates are replaced, as JSON on the wire has none."""
    short = why if len(why) <= _LONGEST_ERROR else f"{why[:_LONGEST_ERROR]}…"
    return json.dumps({"error": short.encode(errors="replace").decode()}, ensure_ascii=False)


def output_of(result: object) -> str:
    """Return what a model is told of a result: a text as it is, anything else as JSON.

    Raises:
        ValueError: It has no JSON form: the message says what of it.
    """
    if isinstance(result, enum.Enum):
        result = result.value
    if isinstance(result, str):
        text = str(result)
    else:
        try:
            text = json.dumps(result, default=_plain, ensure_ascii=False, allow_nan=False)
        except RecursionError as exc:
            raise ValueError("it is nested too deep") from exc
        except Exception as exc:  # a user's own classes may do anything
            raise ValueError(str(exc) or type(exc).__name__) from exc
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("a text holds half of a surrogate pair") from exc
    return text


def _plain(value: Any) -> object:
    """Turn what ``json`` does not know into what it does."""
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "__struct_fields__"):  # of msgspec
        return {name: getattr(value, name) for name in value.__struct_fields__}
    for kinds, form in _FORMS:
        if isinstance(value, kinds):
            return form(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _listed(values: Iterable[Any]) -> list[Any]:
    return list(values)


_FORMS: tuple[tuple[Any, Any], ...] = (
    (Mapping, dict),
    ((set, frozenset, type({}.keys()), type({}.values())), _listed),
    (enum.Enum, lambda value: value.value),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    ((decimal.Decimal, uuid.UUID, pathlib.PurePath), str),
    (datetime.timedelta, lambda value: value.total_seconds()),
    ((np.generic, np.ndarray), lambda value: value.tolist()),
)
