"""From keywords as people think of them to the shapes of the protocol: ``session`` and ``response`` objects. Pure."""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypedDict

import attrs

from .errors import ConfigurationError

__all__ = ["NOT_GIVEN", "UPDATE_KEYWORDS", "NotGiven", "ResponseOptions", "response_shape", "session_shape"]


class NotGiven(enum.Enum):
    """The type of ``NOT_GIVEN``: a setting that is left as it is, which ``None`` is not."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


class ResponseOptions(TypedDict, total=False):
    """What one response may have that differs from the session (protocol.md 2.1); each is as in ``session.update``.

    Attributes:
        instructions: Replace those of the session.
        output_modalities: ``"audio"`` or ``"text"``.
        voice: Refused once the session has spoken with another one.
        output_format: ``"pcm"``, ``"pcmu"`` or ``"pcma"``.
        tools: Instead of the session's; ``[]`` for none.
        tool_choice: ``"auto"``, ``"none"``, ``"required"`` or a function's name.
        max_output_tokens: 1 to 4096, or ``"inf"``.
        metadata: At most 16 pairs of strings, which come back on the response.
        prompt: A stored prompt: its id, or a mapping.
        reasoning: An effort such as ``"low"``, or a mapping; reasoning models only.
        parallel_tool_calls: Reasoning models only.
        input: Items, and references to items, that the model sees instead of the conversation.
        response: The raw object, into which the others are merged.
    """

    instructions: str | None
    output_modalities: str | Sequence[str] | None
    voice: str | Mapping[str, Any]
    output_format: str | Mapping[str, Any] | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    max_output_tokens: int | str | None
    metadata: Mapping[str, str] | None
    prompt: str | Mapping[str, Any] | None
    reasoning: str | Mapping[str, Any] | None
    parallel_tool_calls: bool
    input: Sequence[Mapping[str, Any]]
    response: Mapping[str, Any]


# -- one value each ---


def _as_it_is(_: str, value: Any) -> Any:
    return value


def _one_key(key: str) -> Callable[[str, Any], Any]:
    """Let a plain string stand for an object with one field."""

    def convert(name: str, value: Any) -> Any:
        if isinstance(value, str):
            return {key: value}
        return _mapping(name, value)

    return convert


def _mapping(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be a string or a mapping, not {value!r}")
    return value


def _turn_detection(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("server_vad", "semantic_vad"):
            raise ConfigurationError(
                f'{name} must be "server_vad", "semantic_vad", None for manual turns, or a mapping; not {value!r}'
            )
        return {"type": value}
    return _mapping(name, value)


_FORMATS = {"pcm": "audio/pcm", "pcmu": "audio/pcmu", "pcma": "audio/pcma"}


def _audio_format(name: str, value: Any) -> Any:
    """Return the format object that a name stands for; PCM is always at 24 kHz (protocol.md 3.3).

    Raises:
        ConfigurationError: There is no such format.
    """
    if not isinstance(value, str):
        return _mapping(name, value)
    kind = _FORMATS.get(value, value)
    if kind not in _FORMATS.values():
        raise ConfigurationError(
            f'{name} must be "pcm", "pcmu" (G.711 µ-law), "pcma" (A-law) or a mapping; not {value!r}'
        )
    return {"type": kind, "rate": 24000} if kind == "audio/pcm" else {"type": kind}


def _list(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence):
        raise ConfigurationError(f"{name} must be a list, not {value!r}")
    return list(value)


def _tools(name: str, value: Any) -> Any:
    tools = _list(name, value)
    wrong = next((tool for tool in tools if not isinstance(tool, Mapping)), None)
    if wrong is not None:
        raise ConfigurationError(f"{name} must be a list of mappings such as a function's schema; it holds {wrong!r}")
    return tools


def _tool_choice(_: str, value: Any) -> Any:
    """Let the name of a function stand for the choice of it."""
    if isinstance(value, str) and value not in ("auto", "none", "required"):
        return {"type": "function", "name": value}
    return value


def _voice(_: str, value: Any) -> Any:
    return {"id": value} if isinstance(value, str) and value.startswith("voice_") else value


def _truncation(_: str, value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"type": "retention_ratio", "retention_ratio": value}
    return value


# -- the objects ---

_KEPT: Final = object()  # cannot be cleared


@attrs.frozen
class _Field:
    """Where a keyword goes, how its value is written, and what ``None`` stands for (protocol.md 3.6)."""

    path: str
    convert: Callable[[str, Any], Any] = _as_it_is
    cleared: Any = None


_PCM = {"type": "audio/pcm", "rate": 24000}
_COMMON = {
    "instructions": _Field("instructions", cleared=""),
    "output_modalities": _Field("output_modalities", _list, ["audio"]),
    "voice": _Field("audio.output.voice", _voice, _KEPT),
    "output_format": _Field("audio.output.format", _audio_format, _PCM),
    "tools": _Field("tools", _tools, []),
    "tool_choice": _Field("tool_choice", _tool_choice, "auto"),
    "max_output_tokens": _Field("max_output_tokens", cleared="inf"),
    "reasoning": _Field("reasoning", _one_key("effort")),
    "prompt": _Field("prompt", _one_key("id")),
    "parallel_tool_calls": _Field("parallel_tool_calls"),
}
_SESSION = _COMMON | {
    "turn_detection": _Field("audio.input.turn_detection", _turn_detection),
    "transcription": _Field("audio.input.transcription", _one_key("model")),
    "noise_reduction": _Field("audio.input.noise_reduction", _one_key("type")),
    "input_format": _Field("audio.input.format", _audio_format, _PCM),
    "speed": _Field("audio.output.speed", cleared=1.0),
    "truncation": _Field("truncation", _truncation, "auto"),
    "tracing": _Field("tracing"),
    "include": _Field("include", _list),
}
_RESPONSE = _COMMON | {
    "metadata": _Field("metadata", cleared={}),
    "input": _Field("input", _list),
    "conversation": _Field("conversation", cleared="auto"),
}


UPDATE_KEYWORDS = frozenset(_SESSION)


def session_shape(kind: str, raw: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``session`` object of a ``session.update``.

    Args:
        kind: ``realtime`` or ``transcription``; every update must say so (protocol.md 3.2, O).
        raw: What to merge the keywords into.
        given: The keywords, those that are ``NOT_GIVEN`` too.

    Raises:
        ConfigurationError: A keyword cannot be meant.
    """
    return {"type": kind, **_shape("session", _SESSION, raw, given)}


def response_shape(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``response`` object of a ``response.create``.

    Args:
        given: The keywords of :class:`ResponseOptions`, and ``conversation``.

    Raises:
        ConfigurationError: A keyword cannot be meant.
        TypeError: A keyword is unknown.
    """
    keywords = dict(given)
    return _shape("response", _RESPONSE, keywords.pop("response", None), keywords)


def _shape(
    what: str, fields: Mapping[str, _Field], raw: Mapping[str, Any] | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    if raw is not None and not isinstance(raw, Mapping):
        raise ConfigurationError(f"{what} must be a mapping, not {raw!r}")
    shape = copy.deepcopy(dict(raw or {}))
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise TypeError(f"there is no keyword {', '.join(unknown)}; known are {', '.join(sorted(fields))}, {what}")
    for name, value in given.items():
        if value is not NOT_GIVEN:
            field = fields[name]
            _put(shape, what, field.path, _cleared(name, field) if value is None else field.convert(name, value))
    return shape


def _cleared(name: str, field: _Field) -> Any:
    if field.cleared is _KEPT:
        raise ConfigurationError(f"{name} cannot be cleared: leave it out to keep it as it is")
    return copy.deepcopy(field.cleared)


def _put(shape: dict[str, Any], what: str, path: str, value: Any) -> None:
    *above, last = path.split(".")
    node = shape
    for name in above:
        inner = node.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{what} has {inner!r} where {path} belongs: it must be a mapping there")
        node = inner
    node[last] = value
