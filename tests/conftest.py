"""Fixtures for every test: nothing of ours may outlive one."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshapi_rt import MeshAPI, MeshAPIError

from .peers import LIMIT, Peer

TOKEN = "rsk_a-token-that-must-show-nowhere"


class TokenWatch(logging.Handler):
    """Looks at every log record and every exception of the package, in the whole run, for a token."""

    pattern = re.compile(r"rsk_[A-Za-z0-9][A-Za-z0-9_-]{5,}")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record as it would be printed."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            text += "".join(traceback.format_exception(record.exc_info[1]))
        self.look(text)

    def look(self, text: str) -> None:
        """Note a token in *text*."""
        if self.pattern.search(text):
            self.leaks.append(text)


@pytest.fixture(autouse=True, scope="session")
def token_watch() -> Iterator[None]:
    """No log line, of ours or of websocket-client, and no exception shows a token, in any test."""
    watch, loggers = TokenWatch(), [logging.getLogger(name) for name in ("meshapi_rt", "websocket")]
    plain = MeshAPIError.__init__

    def watched(self: MeshAPIError, *args: Any) -> None:
        watch.look(repr(args))
        plain(self, *args)

    for logger in loggers:
        logger.addHandler(watch)
    logging.getLogger("meshapi_rt").setLevel(logging.DEBUG)
    MeshAPIError.__init__ = watched  # type: ignore[method-assign, assignment]
    yield
    del MeshAPIError.__init__
    for logger in loggers:
        logger.removeHandler(watch)
    assert not watch.leaks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have tests called as a user's threads would call: there, consumers may read in the reader's place."""
    parser.addoption("--aside", action="store_true", help="call each test on a thread other than the main one")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a test on a thread of its own, if asked to."""
    if not pyfuncitem.config.getoption("aside"):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    with ThreadPoolExecutor(1, thread_name_prefix="test") as aside:
        aside.submit(pyfuncitem.obj, **wanted).result()
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that go by the clock of a sound card: they have the machine to themselves."""
    for item in items:
        if "card" in getattr(item, "fixturenames", ()):
            item.add_marker("card")


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
