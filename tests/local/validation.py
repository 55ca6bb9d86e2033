"""Hold events against the typed models of the ``openai`` package, strictly.

The models themselves let unknown fields pass, so every key is looked up here as well. What the wire has and
the models lack is listed in :data:`EXTRA`, each with its source.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent

__all__ = ["assert_valid_client_events", "assert_valid_server_events", "problems"]

_READ_ONLY = {"id", "object", "expires_at"}  # protocol.md 3.1: on the wire, not in the model
EXTRA: Mapping[str, set[str]] = {
    "RealtimeSessionCreateRequest": _READ_ONLY,
    "RealtimeTranscriptionSessionCreateRequest": _READ_ONLY,
    # protocol.md 1.6 and 2.4
    "ResponseTextDeltaEvent": {"obfuscation"},
    "ResponseAudioTranscriptDeltaEvent": {"obfuscation"},
    "ConversationItemInputAudioTranscriptionDeltaEvent": {"obfuscation"},
    "RealtimeConversationItemAssistantMessage": {"phase"},
    "RealtimeConversationItemFunctionCall": {"phase"},
}
_REFERENCE_KEYS = {"type", "id"}  # item_reference: protocol.md 2.1; the client event model lacks it


def _models(union: Any) -> dict[str, type[pydantic.BaseModel]]:
    found = {}
    for model in get_args(get_args(union)[0]):
        found[get_args(model.model_fields["type"].annotation)[0]] = model
    return found


_SERVER = _models(RealtimeServerEvent)
_CLIENT = _models(RealtimeClientEvent)


def assert_valid_server_events(events: Iterable[Mapping[str, Any]]) -> None:
    """Fail with every problem of every event; the gateway's own terminal envelope is known."""
    found = [problem for event in events for problem in problems(event, sender="server")]
    assert not found, "\n".join(found)


def assert_valid_client_events(events: Iterable[Mapping[str, Any]]) -> None:
    """Fail with every problem of every event."""
    found = [problem for event in events for problem in problems(event, sender="client")]
    assert not found, "\n".join(found)


def problems(event: Mapping[str, Any], *, sender: Literal["server", "client"]) -> list[str]:
    """List what is wrong with an event, each with its path."""
    models = _SERVER if sender == "server" else _CLIENT
    kind = event.get("type")
    if sender == "server" and kind == "error" and "request_id" in event:
        return _terminal_problems(event)
    model = models.get(str(kind))
    if model is None:
        return [f"{kind!r} is no {sender} event"]
    found = list(_check(event, model, str(kind)))
    plain = _without_references(event)
    try:
        model.model_validate_json(json.dumps(plain), strict=True)
    except pydantic.ValidationError as exc:
        found.append(f"{kind}: {exc}")
    return found


def _terminal_problems(event: Mapping[str, Any]) -> list[str]:
    # protocol.md 1.7: request_id, error.code and error.message; no event_id
    good = set(event) == {"type", "error", "request_id"} and set(event["error"]) == {"code", "message"}
    texts = [event["request_id"], *event["error"].values()]
    return [] if good and all(isinstance(text, str) and text for text in texts) else [f"envelope: {event}"]


def _without_references(event: Mapping[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(event))
    response = plain.get("response")
    if plain["type"] == "response.create" and isinstance(response, dict) and "input" in response:
        response["input"] = [item for item in response["input"] if item.get("type") != "item_reference"]
    return typing.cast(dict[str, Any], plain)


def _check(value: Any, expected: Any, path: str) -> list[str]:
    origin = get_origin(expected)
    if origin is Annotated:
        return _check(value, get_args(expected)[0], path)
    if origin is Union or origin is types.UnionType:
        return _check_union(value, get_args(expected), path)
    if origin is Literal:
        fits = any(type(value) is type(word) and value == word for word in get_args(expected))
        return [] if fits else [f"{path}: {value!r} is none of {get_args(expected)}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        inner = get_args(expected)[0]
        return [p for at, entry in enumerate(value) for p in _check(entry, inner, f"{path}[{at}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no object"]
        inner = get_args(expected)[1]
        return [p for key, entry in value.items() for p in _check(entry, inner, f"{path}.{key}")]
    if inspect.isclass(expected) and issubclass(expected, pydantic.BaseModel):
        return _check_model(value, expected, path)
    return _check_plain(value, expected, path)


def _check_plain(value: Any, expected: Any, path: str) -> list[str]:
    if expected is Any or expected is object:
        return []
    if expected is None or expected is type(None):
        return [] if value is None else [f"{path}: {value!r} is not null"]
    if expected is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        fits = type(value) is expected
    return [] if fits else [f"{path}: {value!r} is no {expected}"]


def _check_union(value: Any, members: tuple[Any, ...], path: str) -> list[str]:
    if isinstance(value, dict) and value.get("type") == "item_reference" and set(value) == _REFERENCE_KEYS:
        return []
    attempts = [_check(value, member, path) for member in members]
    if any(not attempt for attempt in attempts):
        return []
    models = [member for member in members if _matches(value, member)]
    return _check(value, models[0], path) if models else [f"{path}: {value!r} fits none of {members}"]


def _matches(value: Any, member: Any) -> bool:
    """Tell whether an object has the discriminators of a model: the literals that it requires."""
    if not (inspect.isclass(member) and issubclass(member, pydantic.BaseModel) and isinstance(value, dict)):
        return False
    for name, field in member.model_fields.items():
        literal = get_origin(field.annotation) is Literal
        if literal and field.is_required() and value.get(name) not in get_args(field.annotation):
            return False
    return True


def _check_model(value: Any, model: type[pydantic.BaseModel], path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    found = [f"{path}.{name}: missing" for name, field in fields.items() if field.is_required() and name not in value]
    for name, entry in value.items():
        if name in fields:
            found += _check(entry, fields[name].annotation, f"{path}.{name}")
        elif name not in EXTRA.get(model.__name__, ()):
            found.append(f"{path}.{name}: not in {model.__name__}")
    return found
