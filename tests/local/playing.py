"""Shorthands for tests of scripted faults."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from meshapi_rt.local import Faults, LocalServer, faults

from .plain import Plain, types_of

__all__ = ["end_of", "playing"]


def playing(*script: faults.Fault, **options: Any) -> LocalServer:
    """Return a server with a script."""
    return LocalServer(faults=Faults(*script), **options)


def end_of(client: Plain) -> tuple[list[str], BaseException | None, int | None]:
    """Receive to the end: the types of events, what broke the line if anything, and the close code."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv()
    received = caught.value.rcvd
    return types_of(client.events), caught.value.__cause__, received.code if received else None
