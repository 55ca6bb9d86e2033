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


def end_of(client: Plain) -> tuple[list[str], str | int]:
    """Receive to the end: the types of all events so far, and the close code, or ``dropped`` or ``reset``."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv()
    types = types_of(client.events)
    if caught.value.rcvd is not None:
        return types, caught.value.rcvd.code
    return types, "reset" if isinstance(caught.value.__cause__, ConnectionResetError) else "dropped"
