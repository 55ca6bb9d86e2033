"""Servers for tests: every event that they sent is held against the typed models afterwards."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from meshapi_rt.local import LocalServer

from .lifecycle import assert_lifecycles
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
        sent: dict[str | None, list[Mapping[str, Any]]] = {}
        for record in server.transcript:
            if record.sender == "server" and record.event is not None:
                sent.setdefault(record.session_id, []).append(record.event)
        for session_id, events in sent.items():
            assert_valid_server_events(events)
            if session_id is not None:
                assert_lifecycles(events)


@pytest.fixture
def server(make_server: ServerFactory) -> LocalServer:
    """A server with the default options."""
    return make_server()
