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
from .session import RealtimeSession
from .version import __version__

__all__ = [
    "MODELS",
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
    "SessionClosed",
    "TimedOut",
    "__version__",
]

logging.getLogger("meshapi_rt").addHandler(logging.NullHandler())
