"""A real server on loopback that speaks the gateway's protocol: to develop, demonstrate and test on.

::

    from meshapi_rt.local import LocalServer

    with LocalServer() as server:
        client = server.client()
"""

from __future__ import annotations

from .record import Record, SessionInfo
from .responder import Responder, parrot
from .server import LocalServer, run
from .turn import Turn, TurnItem
from .values import Audio, Fail, Text, ToolCall

__all__ = [
    "Audio",
    "Fail",
    "LocalServer",
    "Record",
    "Responder",
    "SessionInfo",
    "Text",
    "ToolCall",
    "Turn",
    "TurnItem",
    "parrot",
    "run",
]
