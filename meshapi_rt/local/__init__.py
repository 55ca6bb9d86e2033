"""A real server on loopback that speaks the gateway's protocol: to develop, demonstrate and test on.

::

    from meshapi_rt.local import LocalServer

    with LocalServer() as server:
        client = server.client()
"""

from __future__ import annotations

from .faults import (
    Close,
    Delay,
    Drain,
    Drop,
    ExtraFields,
    Faults,
    LateDeltas,
    LateTranscription,
    NoEcho,
    Refuse,
    Reset,
    Send,
    Skip,
    Slow,
    Stall,
    Terminate,
)
from .record import Record, SessionInfo
from .responder import Responder, parrot
from .server import LocalServer, run
from .turn import Turn, TurnItem
from .values import Audio, Fail, Text, ToolCall

__all__ = [
    "Audio",
    "Close",
    "Delay",
    "Drain",
    "Drop",
    "ExtraFields",
    "Fail",
    "Faults",
    "LateDeltas",
    "LateTranscription",
    "LocalServer",
    "NoEcho",
    "Record",
    "Refuse",
    "Reset",
    "Responder",
    "Send",
    "SessionInfo",
    "Skip",
    "Slow",
    "Stall",
    "Terminate",
    "Text",
    "ToolCall",
    "Turn",
    "TurnItem",
    "parrot",
    "run",
]
