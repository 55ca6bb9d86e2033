"""Realtime speech-to-speech sessions through the Mesh API gateway, for plain synchronous Python."""

import logging

from .asking import ReplyStream
from .client import MeshAPI, RealtimeConnectParams
from .conversation import ContentPart, ConversationItem, ConversationView
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
from .handover import EventStream
from .message import RealtimeMessage
from .models import MODELS
from .policy import ReconnectPolicy
from .reply import Reply, Timings, ToolCall
from .session import RealtimeSession
from .shapes import NOT_GIVEN, ResponseOptions
from .stats import SessionStats
from .transcribing import SpokenTurn, Transcription
from .usage import Rates, Tokens, Usage
from .version import __version__

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
