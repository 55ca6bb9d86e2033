"""Realtime speech-to-speech sessions through the Mesh API gateway, for plain synchronous Python."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from .client import MeshAPI, RealtimeConnectParams
from .errors import (
    AudioFileError,
    AudioFormatError,
    Cancelled,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    DeviceError,
    ErrorKind,
    EventError,
    MeshAPIError,
    MissingExtraError,
    RealtimeError,
    SessionClosed,
    TimedOut,
)
from .models import MODELS
from .policy import ReconnectPolicy
from .version import __version__

if TYPE_CHECKING:
    from .conversation import ContentPart, ConversationItem, ConversationView
    from .message import RealtimeMessage
    from .reply import Reply, Timings
    from .reply_stream import ReplyStream
    from .session import RealtimeSession
    from .shapes import NOT_GIVEN, ResponseOptions
    from .stats import SessionStats
    from .streams import EventStream
    from .tools import ToolCall
    from .transcribing import SpokenTurn, Transcription
    from .usage import Rates, Tokens, Usage

__all__ = [
    "MODELS",
    "NOT_GIVEN",
    "AudioFileError",
    "AudioFormatError",
    "Cancelled",
    "ConfigurationError",
    "ConnectError",
    "ConnectRefused",
    "ConnectTimeout",
    "ConnectionLost",
    "ContentPart",
    "ConversationItem",
    "ConversationView",
    "DeviceError",
    "ErrorKind",
    "EventError",
    "EventStream",
    "MeshAPI",
    "MeshAPIError",
    "MissingExtraError",
    "Rates",
    "RealtimeConnectParams",
    "RealtimeError",
    "RealtimeMessage",
    "RealtimeSession",
    "ReconnectPolicy",
    "Reply",
    "ReplyStream",
    "ResponseOptions",
    "SessionClosed",
    "SessionStats",
    "SpokenTurn",
    "TimedOut",
    "Timings",
    "Tokens",
    "ToolCall",
    "Transcription",
    "Usage",
    "__version__",
]

logging.getLogger("meshapi_rt").addHandler(logging.NullHandler())

# What only sessions need is loaded when it is asked for: by its name here, or by the first call that makes one.
_LATER = {
    "EventStream": "streams",
    "NOT_GIVEN": "shapes",
    "Rates": "usage",
    "RealtimeMessage": "message",
    "RealtimeSession": "session",
    "ResponseOptions": "shapes",
    "SessionStats": "stats",
    "Tokens": "usage",
    "Usage": "usage",
    "ContentPart": "conversation",
    "ConversationItem": "conversation",
    "ConversationView": "conversation",
    "Reply": "reply",
    "ReplyStream": "reply_stream",
    "SpokenTurn": "transcribing",
    "Timings": "reply",
    "ToolCall": "tools",
    "Transcription": "transcribing",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
