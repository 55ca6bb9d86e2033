"""Servers for tests: every event that they sent is held against the typed models afterwards."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshapi_rt.local import LocalServer

from .validation import assert_valid_server_events

ServerFactory = Callable[..., LocalServer]


@pytest.fixture(scope="package", autouse=True)
def quick_collection() -> Iterator[None]:
    """Collecting garbage after each test takes 0.1 s with the typed models loaded, and 1 ms without them."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def make_server() -> Iterator[ServerFactory]:
    """Start servers with options; they are recorded, stopped, and their events validated."""
    servers = []
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> LocalServer:
            server = stack.enter_context(LocalServer(**{"record": True, **options}))
            servers.append(server)
            return server

        yield make
    for server in servers:
        sent = [record.event for record in server.transcript if record.sender == "server" and record.event]
        assert_valid_server_events(sent)
        ids = [event["event_id"] for event in sent if "event_id" in event]
        assert len(set(ids)) == len(ids)


@pytest.fixture
def server(make_server: ServerFactory) -> LocalServer:
    """A server with the default options."""
    return make_server()
