"""An echo client on our transport, for the Autobahn WebSocket suite: ``echo(url, timeout)``."""

from __future__ import annotations

from meshapi_rt.secret import Secret
from meshapi_rt.stats import Counters
from meshapi_rt.transport import BINARY, Ended
from meshapi_rt.transport.frames import Payloads
from meshapi_rt.transport.opening import open_connection
from meshapi_rt.waiting import Wait


def echo(url: str, timeout: float) -> None:
    """Connect, send every message back with the same type, return when the peer has closed."""
    connection = open_connection(
        url,
        maker=Payloads(),
        secret=Secret("unused"),
        auth="header",
        headers=(),
        context=None,
        proxy=False,
        wait=Wait(timeout),
        max_message_size=64 * 1024 * 1024,
        ping_interval=None,
        ping_timeout=None,
        counters=Counters(),
    )
    try:
        while True:
            for payload in connection.receive(timeout):
                if isinstance(payload, str):
                    connection.send(payload.encode(), Wait(timeout))
                else:
                    connection.send(payload, Wait(timeout), opcode=BINARY)
    except Ended as exc:
        if exc.ending.problem:
            raise
    finally:
        connection.finish()
