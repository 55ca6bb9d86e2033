"""Servers with responders, and tools that hang until they may go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshapi_rt.local import LocalServer
from meshapi_rt.local.responder import Responder

from ..local.validation import assert_valid_client_events


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets every tool that hangs go at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def serve() -> Iterator[Callable[..., LocalServer]]:
    """Start a server with a responder; every event that it got is held against the schema."""
    servers: list[LocalServer] = []

    def start(responder: Responder, **options: Any) -> LocalServer:
        servers.append(LocalServer(responder=responder, record=True, **options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert_valid_client_events(r.event for r in server.transcript if r.sender == "client" and r.event)
