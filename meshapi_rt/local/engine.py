"""The asyncio side of the server: listens, judges requests, keeps the links."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import weakref
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from .armed import Armed
from .failures import Terminal, terminal_event
from .faults import Fault, Refuse
from .handshake import SUBPROTOCOL, Verdict, judge
from .link import Link
from .options import ServerOptions
from .record import Record
from .script import DRAINING, Script
from .wire import Connection, Wire

__all__ = ["Engine"]

log = logging.getLogger("meshapi_rt")
# The library's own log shows headers, and so keys, at its debug level: it is kept shut.
_wire_log = logging.getLogger("meshapi_rt.local.websockets")
_wire_log.setLevel(logging.CRITICAL)

_RECEIVE_LIMIT = 32 * 1024 * 1024  # protocol.md 1.5: an append of the documented size takes 20 MiB
_STOP_SECONDS = 1.0


class Engine:
    """One run of a server, on one loop.

    Threads:
        :meth:`main` runs on the server's thread; all other methods are called on it, through the loop.
    """

    def __init__(self, options: ServerOptions, responders: str) -> None:
        self.options = options
        self.responders = responders  # the name of the threads that answer
        self.links: dict[Link, None] = {}  # an ordered set
        self.on_change: Callable[[], None] = lambda: None
        self.on_record: Callable[[Record], None] | None = None
        self.connections_total = 0
        self._script = Script(options.faults)
        self._stopping = asyncio.Event()
        self._connections: weakref.WeakSet[ServerConnection] = weakref.WeakSet()  # also half open ones
        self._verdicts: weakref.WeakKeyDictionary[ServerConnection, Verdict] = weakref.WeakKeyDictionary()

    async def main(self, started: Callable[[int], None]) -> None:
        """Serve until :meth:`stop`.

        Args:
            started: Told the port as soon as connections are accepted.

        Raises:
            OSError: The address cannot be listened on.
        """
        asyncio.get_running_loop().set_exception_handler(_log_loop_error)
        server = await serve(
            self._handle,
            self.options.host,
            self.options.port,
            ssl=self.options.ssl_context,
            process_request=self._process_request,
            select_subprotocol=_select_subprotocol,
            compression=None,
            max_size=_RECEIVE_LIMIT,
            ping_interval=None,  # the link pings: it tells a missing pong in the gateway's words
            close_timeout=_STOP_SECONDS,
            logger=_wire_log,
            create_connection=cast("type[ServerConnection]", self._create_connection),  # any factory does
        )
        started(next(iter(server.sockets)).getsockname()[1])
        await self._stopping.wait()
        server.close(close_connections=False)
        await self._close_links()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(server.wait_closed(), _STOP_SECONDS / 4)

    async def _close_links(self) -> None:
        closing = [asyncio.ensure_future(link.go_away()) for link in self.links]
        if closing:
            await asyncio.wait(closing, timeout=_STOP_SECONDS)
        for link in tuple(self.links):
            link.cut()
        for connection in tuple(self._connections):
            if hasattr(connection, "transport"):  # those that never finished their handshake have no link
                connection.transport.abort()
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def stop(self) -> None:
        """Let :meth:`main` return, within about a second."""
        self._stopping.set()

    def drain_all(self) -> None:
        """End every session as a gateway does that is being replaced."""
        for link in tuple(self.links):
            link.end(DRAINING)

    def cut_all(self) -> None:
        """End every connection without a close frame."""
        for link in tuple(self.links):
            link.cut()

    async def inject(self, fault: Fault) -> int:
        """Let a fault happen in, or wait on, every open session; return how many it concerns."""
        if isinstance(fault, Refuse):
            self._script.arm(fault)
            return 0
        links = [link for link in self.links if fault.concerns(link.number)]
        done = [future for link in links for future in link.arm([Armed(fault)])]
        if done:
            await asyncio.wait(done, timeout=2 * _STOP_SECONDS)
        return len(links)

    # -- one connection ----------------------------------------------------------------------------------

    def _create_connection(self, *args: Any, **kwargs: Any) -> ServerConnection:
        connection = Connection(*args, **kwargs)
        self._connections.add(connection)
        return connection

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = list(request.headers.raw_items())
        verdict = judge(request.path, headers, self.options)
        if verdict.refusal is None and verdict.status is None and self._full():
            verdict = Verdict(refusal=Terminal("concurrent_sessions_exceeded", "Too many sessions are open."))
        if verdict.status is not None:
            return _plain_response(connection, verdict.status)
        assert isinstance(connection, Connection)
        connection.number = self._script.count()
        refusal = self._script.refusal(connection.number)
        if refusal is not None:
            return _refused_response(connection, refusal)
        connection.wire = Wire(connection)
        self._script.watch_bytes(connection.number, connection.wire)
        by_status = self.options.auth_failure == "status"
        if verdict.refusal is not None and by_status and verdict.refusal.close_code != 4000:
            return _json_response(connection, verdict.refusal)
        # The key is no legal subprotocol: it goes before the library looks (protocol.md 1.2).
        if "Sec-WebSocket-Protocol" in request.headers:
            del request.headers["Sec-WebSocket-Protocol"]
        if verdict.subprotocols:
            request.headers["Sec-WebSocket-Protocol"] = ", ".join(verdict.subprotocols)
        self._verdicts[connection] = verdict
        return None

    def _full(self) -> bool:
        return self.options.max_sessions is not None and len(self.links) >= self.options.max_sessions

    async def _handle(self, connection: ServerConnection) -> None:
        verdict = self._verdicts.pop(connection)
        if verdict.refusal is not None:
            await self._refuse(connection, verdict.refusal)
            return
        assert isinstance(connection, Connection)
        link = Link(connection, verdict, self.options, self.on_record, self.responders)
        self.links[link] = None
        self.connections_total += 1
        self.on_change()
        try:
            await link.run(self._script.faults(link.number))
        except Exception:
            log.exception("a session of the local server failed")
            link.cut()
        finally:
            del self.links[link]
            connection.wire = None  # a circle less
            self.on_change()

    async def _refuse(self, connection: ServerConnection, terminal: Terminal) -> None:
        event = terminal_event(terminal)
        if self.on_record is not None:
            self.on_record(Record(None, "server", event, 0))
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps(event))
            await connection.close(terminal.close_code, terminal.code)


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _plain_response(connection: ServerConnection, status: int) -> Response:
    response = connection.respond(HTTPStatus(status), f"{HTTPStatus(status).phrase}\n")
    if status == HTTPStatus.UPGRADE_REQUIRED:
        response.headers["Upgrade"] = "websocket"
    return response


def _json_response(connection: ServerConnection, terminal: Terminal) -> Response:
    body = terminal_event(terminal)
    del body["type"]
    response = connection.respond(HTTPStatus(terminal.status), json.dumps(body))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    if terminal.status == HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["Retry-After"] = "1"
    return response


def _refused_response(connection: ServerConnection, refusal: Refuse) -> Response:
    name = HTTPStatus(refusal.status).phrase if refusal.status in set(HTTPStatus) else "Unknown"
    body, kind = refusal.body if refusal.body is not None else f"{name}\n", "text/plain; charset=utf-8"
    if refusal.code is not None:
        envelope = terminal_event(Terminal(refusal.code, "Refused, as the local server's script demands."))
        body, kind = json.dumps(envelope), "application/json"
    response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, body)
    response.status_code, response.reason_phrase = refusal.status, name
    headers = {"Content-Type": kind, **refusal.headers}
    if refusal.retry_after is not None:
        headers["Retry-After"] = refusal.retry_after
    for header, value in headers.items():
        if header in response.headers:
            del response.headers[header]
        response.headers[header] = value
    return response


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # TLS handshakes that fail and the like: the peer's matter, told to whoever looks.
    log.debug("local server: %s", context.get("message"), exc_info=context.get("exception"))
