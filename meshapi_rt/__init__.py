"""Realtime speech-to-speech sessions through the Mesh API gateway, for plain synchronous Python."""

import logging

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
from .session import RealtimeSession
from .shapes import NOT_GIVEN, ResponseOptions
from .stats import SessionStats
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
    "ErrorKind",
    "EventError",
    "EventStream",
    "MeshAPI",
    "MeshAPIError",
    "MissingExtraError",
    "RealtimeConnectParams",
    "RealtimeError",
    "RealtimeMessage",
    "RealtimeSession",
    "ReconnectPolicy",
    "ResponseOptions",
    "SessionClosed",
    "SessionStats",
    "TimedOut",
    "__version__",
]

logging.getLogger("meshapi_rt").addHandler(logging.NullHandler())
