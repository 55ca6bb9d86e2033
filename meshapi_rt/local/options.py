"""What a local server can be told, checked when it is made."""

from __future__ import annotations

import math
import ssl
from collections.abc import Collection
from typing import Any

import attrs

from ..errors import ConfigurationError
from .faults import Faults
from .responder import Responder, parrot

__all__ = ["ServerOptions"]


def _refuse(attribute: attrs.Attribute[Any], value: object, wanted: str) -> None:
    raise ConfigurationError(f"LocalServer({attribute.name}={value!r}): {wanted}")


def _seconds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        _refuse(attribute, value, "takes seconds above 0, or None to switch it off")


def _name(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        _refuse(attribute, value, "takes a string that is not empty")


def _optional_token(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not (isinstance(value, str) and value and value == value.strip()):
        raise ConfigurationError(  # without the value: no token in any text
            f"LocalServer({attribute.name}=...): takes a string without outer space, or None for any token"
        )


def _port(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        _refuse(attribute, value, "takes 0 (any free port) to 65535")


def _callable(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not callable(value):
        _refuse(attribute, value, "takes a callable, responder(turn) -> iterable")


def _count(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        _refuse(attribute, value, "takes a number of sessions, or None for any number")


def _flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        _refuse(attribute, value, "takes True or False")


def _failure_form(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in ("frame", "status"):
        _refuse(attribute, value, 'takes "frame" or "status"')


def _context(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, ssl.SSLContext):
        _refuse(attribute, value, "takes an ssl.SSLContext with a certificate, or None for no TLS")


def _faults(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Faults):
        _refuse(attribute, value, "takes Faults(Drop(after=3), ...), or None for none")


def _models(value: Collection[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, str) or not all(isinstance(model, str) for model in value):
        raise ConfigurationError(f"LocalServer(models={value!r}): takes a list of model ids, or None for any id")
    return frozenset(value)


def _responder(value: Responder | None) -> Responder:
    return parrot if value is None else value


@attrs.frozen(kw_only=True)
class ServerOptions:
    """The keyword arguments of :class:`LocalServer`; told there."""

    host: str = attrs.field(default="127.0.0.1", validator=_name)
    port: int = attrs.field(default=0, validator=_port)
    responder: Responder = attrs.field(default=None, converter=_responder, validator=_callable)
    token: str | None = attrs.field(default=None, validator=_optional_token, repr=False)
    models: frozenset[str] | None = attrs.field(default=None, converter=_models)
    idle_timeout: float | None = attrs.field(default=60.0, validator=_seconds)
    session_limit: float | None = attrs.field(default=1800.0, validator=_seconds)
    ping_interval: float | None = attrs.field(default=20.0, validator=_seconds)
    ping_timeout: float | None = attrs.field(default=60.0, validator=_seconds)
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=_context)
    binary_audio: bool = attrs.field(default=False, validator=_flag)
    auth_failure: str = attrs.field(default="frame", validator=_failure_form)
    max_sessions: int | None = attrs.field(default=None, validator=_count)
    record: bool = attrs.field(default=False, validator=_flag)
    faults: Faults | None = attrs.field(default=None, validator=_faults)
