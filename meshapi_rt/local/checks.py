"""Checks of what faults are given; each error names the fault and the argument."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import ConfigurationError

__all__ = [
    "close_code",
    "close_reason",
    "count",
    "fields",
    "flag",
    "frame",
    "headers",
    "optional_count",
    "rate",
    "refuse",
    "retry_after",
    "seconds",
    "status",
    "text",
]


def refuse(fault: object, attribute: attrs.Attribute[Any], value: object, wanted: str) -> None:
    """Say which argument of which fault cannot work."""
    raise ConfigurationError(f"{type(fault).__name__}({attribute.name}={reprlib.repr(value)}): {wanted}")


def seconds(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check a time; ``None`` is for the class to explain."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        refuse(fault, attribute, value, "takes seconds, 0 or more")


def count(least: int) -> Any:
    """Make a check for numbers of things."""

    def check(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            refuse(fault, attribute, value, f"takes a whole number, {least} or more")

    return check


def optional_count(least: int) -> Any:
    """Make a check for numbers of things, or ``None``."""
    return attrs.validators.optional(count(least))


def text(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check a word or a sentence, or ``None``."""
    if value is not None and not (isinstance(value, str) and value):
        refuse(fault, attribute, value, "takes a string that is not empty")


def close_code(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check a close code, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535):
        refuse(fault, attribute, value, "takes a close code, 0 to 65535")


def close_reason(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check the reason of a close frame."""
    if not isinstance(value, str) or len(value.encode()) > 123:  # RFC 6455, 5.5: 125 bytes with the code
        refuse(fault, attribute, value, "takes text of at most 123 bytes")


def status(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check an HTTP status."""
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        refuse(fault, attribute, value, "takes an HTTP status, 200 to 599")


def rate(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check a rate, or ``None``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        refuse(fault, attribute, value, "takes bytes per second, above 0")


def flag(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check a switch."""
    if not isinstance(value, bool):
        refuse(fault, attribute, value, "takes True or False")


def frame(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check what is to be sent."""
    if isinstance(value, Mapping):
        if not isinstance(value.get("type"), str):
            refuse(fault, attribute, value, "an event needs a `type`")
    elif not isinstance(value, (str, bytes)):
        refuse(fault, attribute, value, "takes an event, or the text or bytes of a frame")


def retry_after(value: float | str | None) -> str | None:
    """Write seconds as a header does; a date is one already."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return f"{value:g}"
    return value  # type: ignore[return-value]  # the validator follows


def headers(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check headers."""
    words = [word for pair in value.items() for word in pair] if isinstance(value, Mapping) else [None]
    if not all(isinstance(word, str) and "\r" not in word and "\n" not in word for word in words):
        refuse(fault, attribute, value, "takes names and values of headers")


def fields(fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check fields of events, or ``None``."""
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        refuse(fault, attribute, value, "takes a mapping of fields")
