"""The types of the events against the catalogue of the protocol, both ways, so that they cannot drift apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from meshapi_rt import RealtimeMessage, event_types
from meshapi_rt.revival import Revived, reconnected_message

from .peers import LIMIT

CATALOGUE = json.loads((Path(__file__).parent / "data" / "protocol_events.json").read_text(encoding="utf-8"))
OBJECTS: dict[str, Any] = CATALOGUE["objects"]
EVENTS: dict[str, Any] = {**CATALOGUE["client"], **CATALOGUE["server"]}

_MCP = {
    "AllowedToolsMcpToolFilter": "McpToolFilter",
    "RequireApprovalMcpToolApprovalFilter": "McpToolApprovalFilter",
    "RequireApprovalMcpToolApprovalFilterAlways": "McpToolFilter",
    "RequireApprovalMcpToolApprovalFilterNever": "McpToolFilter",
}
_COMPLETED = "ConversationItemInputAudioTranscriptionCompletedEvent."
_TOLD = "RealtimeSessionCreateResponse."
# Where the name is not the catalogue's without its dots: one for what is the same in several places, or a shorter one.
NAMES = {
    f"{_COMPLETED}UsageTranscriptTextUsageDuration": "TranscriptTextUsageDuration",
    f"{_COMPLETED}UsageTranscriptTextUsageTokens": "TranscriptTextUsageTokens",
    f"{_COMPLETED}UsageTranscriptTextUsageTokensInputTokenDetails": "TranscriptTextUsageInputTokenDetails",
    "ConversationItemInputAudioTranscriptionFailedEvent.Error": "TranscriptionError",
    "RateLimitsUpdatedEvent.RateLimit": "RateLimit",
    "RealtimeError": "RealtimeErrorObject",  # RealtimeError is the exception
    "RealtimeAudioFormats.AudioPCM": "AudioPCM",
    "RealtimeAudioFormats.AudioPCMU": "AudioPCMU",
    "RealtimeAudioFormats.AudioPCMA": "AudioPCMA",
    "RealtimeAudioConfigInput.NoiseReduction": "NoiseReduction",
    "RealtimeTranscriptionSessionAudioInput.NoiseReduction": "NoiseReduction",
    "RealtimeTranscriptionSessionCreateResponse.AudioInputNoiseReduction": "NoiseReduction",
    f"{_TOLD}AudioInputNoiseReduction": "NoiseReduction",
    "RealtimeAudioConfigOutput.VoiceID": "VoiceID",
    "RealtimeResponseCreateAudioOutput.OutputVoiceID": "VoiceID",
    "RealtimeAudioInputTurnDetection.SemanticVad": "SemanticVad",
    "RealtimeTranscriptionSessionAudioInputTurnDetection.SemanticVad": "SemanticVad",
    f"{_TOLD}AudioInputTurnDetectionSemanticVad": "SemanticVad",
    "RealtimeAudioInputTurnDetection.ServerVad": "ServerVad",
    "RealtimeTranscriptionSessionAudioInputTurnDetection.ServerVad": "ServerVad",
    f"{_TOLD}AudioInputTurnDetectionServerVad": "ServerVad",
    f"{_TOLD}AudioInput": "RealtimeAudioConfigInput",
    "RealtimeTracingConfig.TracingConfiguration": "TracingConfiguration",
    f"{_TOLD}TracingTracingConfiguration": "TracingConfiguration",
    "RealtimeMcphttpError": "RealtimeMcpHttpError",
    "RealtimeToolsConfigUnion.Mcp": "RealtimeMcpTool",
    "RealtimeResponseCreateMcpTool": "RealtimeMcpTool",
    f"{_TOLD}ToolMcpTool": "RealtimeMcpTool",
    **{f"RealtimeToolsConfigUnion.Mcp{theirs}": ours for theirs, ours in _MCP.items()},
    **{f"RealtimeResponseCreateMcpTool.{theirs}": ours for theirs, ours in _MCP.items()},
    **{f"{_TOLD}ToolMcpTool{theirs}": ours for theirs, ours in _MCP.items()},
    "ResponseContentPartAddedEvent.Part": "ContentPart",
    "ResponseContentPartDoneEvent.Part": "ContentPart",
    "ResponseInputFile.PromptCacheBreakpoint": "PromptCacheBreakpoint",
    "ResponseInputImage.PromptCacheBreakpoint": "PromptCacheBreakpoint",
    "ResponseInputText.PromptCacheBreakpoint": "PromptCacheBreakpoint",
}

Shape = frozenset[Any]  # the arms of a type: names, constants, ("list", arms), ("dict", arms)
Fields = dict[str, tuple[bool, Shape]]  # whether it is required, and its type
_TEXT, _NUMBER = frozenset({"str"}), frozenset({"int"})
_SESSION = frozenset({"RealtimeSession", "RealtimeTranscriptionSession"})
# What is known beside the catalogue, and where from; None takes the catalogue's type.
BESIDE: dict[str, dict[str, tuple[bool, Shape | None]]] = {
    # The gateway's own errors: protocol.md 1.7.
    "ErrorEvent": {"event_id": (False, _TEXT), "request_id": (False, _TEXT)},
    "RealtimeErrorObject": {"type": (False, None)},
    # protocol.md 1.6, 2.4.
    "RealtimeConversationItemAssistantMessage": {"phase": (False, frozenset({"'commentary'", "'final_answer'"}))},
    # The catalogue's notes: undeclared_fields_seen.
    "ResponseOutputTextDeltaEvent": {"obfuscation": (False, _TEXT)},
    "ResponseOutputAudioTranscriptDeltaEvent": {"obfuscation": (False, _TEXT)},
    "ConversationItemInputAudioTranscriptionDeltaEvent": {"obfuscation": (False, _TEXT)},
    # The same: the session is told with what only the server knows of it.
    "SessionCreatedEvent": {"session": (True, _SESSION)},
    "SessionUpdatedEvent": {"session": (True, _SESSION)},
}


def class_name(kind: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"[._]", kind)) + "Event"


def our_name(theirs: str) -> str:
    return NAMES.get(theirs, theirs.replace(".", ""))


def typed_dicts() -> dict[str, Any]:
    """Return the classes of the package by name."""
    named = {name: getattr(event_types, name) for name in event_types.__all__}
    return {name: value for name, value in named.items() if typing.is_typeddict(value)}


# -- what the catalogue says ---


def arms(text: str) -> list[str]:
    """Split ``a | b<c | d>`` at its outer bars."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "<(") - (char in ">)")
        if char == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def declared(text: str) -> Shape:
    plain = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "any": "object"}
    found: set[Any] = set()
    for arm in arms(text):
        head, inner = re.fullmatch(r"(\w+)[<(](.*)[>)]|.*", arm).groups()  # type: ignore[union-attr]
        if head in ("enum", "const"):
            found.update(repr(value) for value in inner.split("|"))
        elif head in ("array", "map"):
            found.add(({"array": "list", "map": "dict"}[head], declared(inner)))
        else:
            found.add(our_name(arm.removeprefix("object:")) if arm.startswith("object:") else plain[arm])
    return frozenset(found)


def declared_fields(fields: dict[str, Any]) -> Fields:
    def shape(field: dict[str, Any]) -> Shape:
        if "const" in field or "enum" in field:
            return frozenset(repr(value) for value in field.get("enum", [field.get("const")]))
        return declared(field["type"])

    return {name: (field["required"], shape(field)) for name, field in fields.items()}


def expected(name: str, fields: dict[str, Any]) -> Fields:
    told = declared_fields(fields)
    for field, (required, shape) in BESIDE.get(name, {}).items():
        told[field] = (required, told[field][1] if shape is None else shape)
    return told


# -- what the types say ---


def written(hint: Any) -> Iterator[Any]:
    """Yield the arms of a type."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        for arm in get_args(hint):
            yield from written(arm)
    elif origin is Literal:
        yield from map(repr, get_args(hint))
    elif origin in (list, dict):
        yield (origin.__name__, frozenset(written(get_args(hint)[-1])))
    else:
        yield "None" if hint is type(None) else hint.__name__


def written_fields(cls: Any) -> Fields:
    hints = typing.get_type_hints(cls)
    return {name: (name in cls.__required_keys__, frozenset(written(hint))) for name, hint in hints.items()}


def agree(ours: Fields, theirs: Fields, beside: set[str]) -> None:
    """Compare; what is not required may be ``None``, unless it is not declared at all."""
    assert set(ours) == set(theirs)
    for name, (required, shape) in theirs.items():
        nullable = shape if required or name in beside else shape | {"None"}
        assert ours[name][1] == nullable, name
        if sys.version_info >= (3, 11):  # before, Python does not know the marks at run time
            assert ours[name][0] == required, name


# -- the comparison ---


@pytest.mark.parametrize("kind", EVENTS)
def test_event(kind: str) -> None:
    """The type of each event has the fields of the catalogue, with their types, required or not; no more, no less."""
    name = class_name(kind)
    beside = {field for field, (_, shape) in BESIDE.get(name, {}).items() if shape is not None}

    agree(written_fields(getattr(event_types, name)), expected(name, EVENTS[kind]), beside)


@pytest.mark.parametrize("theirs", OBJECTS)
def test_object(theirs: str) -> None:
    """So has the type of each object in an event."""
    name = our_name(theirs)
    beside = {field for field, (_, shape) in BESIDE.get(name, {}).items() if shape is not None}

    agree(written_fields(getattr(event_types, name)), expected(name, OBJECTS[theirs]), beside)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("RealtimeSession", "RealtimeSessionCreateRequest"),
        ("RealtimeTranscriptionSession", "RealtimeTranscriptionSessionCreateRequest"),
    ],
)
def test_told_session(name: str, base: str) -> None:
    """A session is told with the fields of its request, and with those that were seen beside them."""
    seen = {field.removeprefix("session.") for field in CATALOGUE["notes"]["undeclared_fields_seen"]["session.created"]}

    ours, request = written_fields(getattr(event_types, name)), written_fields(getattr(event_types, base))

    assert {field: ours[field] for field in request} == request
    assert set(ours) - set(request) == seen
    assert ours["id"][1] == _TEXT
    assert ours["expires_at"][1] == _NUMBER


def test_undeclared_fields() -> None:
    """Every undeclared field that the catalogue notes has its place."""
    noted = CATALOGUE["notes"]["undeclared_fields_seen"]

    for kind, fields in noted.items():
        for field in fields:
            assert field.split(".")[0] in BESIDE[class_name(kind)]


def test_nothing_else() -> None:
    """There is no type that the catalogue does not know, but for what the server tells of sessions and our own."""
    known = {class_name(kind) for kind in EVENTS} | {our_name(theirs) for theirs in OBJECTS}
    own = {"RealtimeSession", "RealtimeTranscriptionSession", "ReconnectedEvent", "ReconnectedEventRestored"}

    assert set(typed_dicts()) == known | own


def test_unions() -> None:
    """The unions hold each event of their side, and the server's the one that the SDK adds."""
    client = {arm.__name__ for arm in get_args(event_types.ClientEvent)}
    server = {arm.__name__ for arm in get_args(event_types.ServerEvent)}

    assert client == {class_name(kind) for kind in CATALOGUE["client"]}
    assert server == {class_name(kind) for kind in CATALOGUE["server"]} | {"ReconnectedEvent"}


def test_retired_names() -> None:
    """What is retired has no type, unless the catalogue still declares it."""
    types = {get_args(typing.get_type_hints(arm)["type"])[0] for arm in get_args(event_types.ServerEvent)}

    assert not (set(CATALOGUE["notes"]["retired_names"]) - set(EVENTS)) & types


def test_reconnected_event() -> None:
    """The type of our own message has the fields that the message has."""
    connection: Any = None
    revived = Revived(connection, RealtimeMessage(), None, [], [], set(), [], 1)

    event: Any = reconnected_message(revived, reason="gone", planned=False, gap=0.5, cut=[], dropped=0).event

    assert set(event) == set(typing.get_type_hints(event_types.ReconnectedEvent))
    assert set(event["restored"]) == set(typing.get_type_hints(event_types.ReconnectedEventRestored))


def test_types_cost_nothing() -> None:
    """The package does without them at run time; they are loaded where a program imports them."""
    told = "import sys, meshapi_rt; sys.exit('meshapi_rt.event_types' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", told], timeout=LIMIT, check=False).returncode == 0
