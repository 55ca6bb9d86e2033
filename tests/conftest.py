"""Fixtures for every test: nothing of ours may outlive one."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest

from meshapi_rt import MeshAPI

from .peers import LIMIT, Peer

TOKEN = "rsk_a-token-that-must-show-nowhere"


def ours() -> list[str]:
    """Return the names of living threads of the package; resolvers may outlive their call."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("meshapi-rt-") and "resolver" not in name]


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread of the package outlives a test, and the environment names no token, server or proxy."""
    for name in ("MESHAPI_TOKEN", "MESHAPI_BASE_URL", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    if ours():
        gc.collect()  # a session that nobody closed
    end = time.monotonic() + LIMIT
    while ours() and time.monotonic() < end:
        for thread in threading.enumerate():
            if thread.name in ours():
                thread.join(0.05)
    assert not ours()


def client_of(running: Peer, **settings: object) -> MeshAPI:
    """Return a client of a peer."""
    return MeshAPI(TOKEN, running.url, **settings)  # type: ignore[arg-type]
