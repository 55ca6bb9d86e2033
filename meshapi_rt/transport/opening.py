"""How a connection is opened. Here websocket-client, ``http`` and ``email`` are loaded: 20 ms of the first connect."""

from __future__ import annotations

import ssl
from typing import TypeVar
from urllib.parse import urlsplit

from ..secret import Secret
from ..stats import Counters
from ..waiting import Wait
from .connection import Connection
from .dial import default_context, dial, find_proxy
from .frames import Maker
from .handshake import Upgrade, upgrade

__all__ = ["default_context", "open_connection"]

_M = TypeVar("_M")


def open_connection(
    url: str,
    *,
    maker: Maker[_M],
    secret: Secret,
    auth: str,
    headers: tuple[tuple[str, str], ...],
    context: ssl.SSLContext | None,
    proxy: str | bool | None,
    wait: Wait,
    max_message_size: int,
    ping_interval: float | None,
    ping_timeout: float | None,
    counters: Counters,
) -> Connection[_M]:
    """Open a WebSocket; every step of it under *wait*.

    Args:
        url: ``ws://`` or ``wss://``, without the token.
        maker: Makes the messages that it returns.
        secret: The token.
        auth: Where it goes: ``subprotocol``, ``query`` or ``header``.
        headers: Further request headers.
        context: For ``wss://``.
        proxy: A proxy's URL, ``None`` for the environment's, ``False`` for none.
        wait: The deadline and cancel event of ``connect``.
        max_message_size: Bytes; a larger message ends the connection with 1009.
        ping_interval: Seconds between pings, ``None`` for none.
        ping_timeout: Seconds of silence after a ping until the line counts as dead, ``None`` for never.
        counters: Where frames and bytes are counted.

    Raises:
        ConnectError: With the step that failed and what to do.
        Cancelled: The cancel event was set.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    channel = dial(
        host,
        port,
        context=context if secure else None,
        proxy=find_proxy(host, port, secure=secure, given=proxy),
        wait=wait,
    )
    try:
        surplus = upgrade(channel, Upgrade(url=url, secret=secret, auth=auth, headers=headers), wait)
        return Connection(
            channel,
            surplus,
            maker,
            max_message_size=max_message_size,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            counters=counters,
        )
    except BaseException:
        channel.shutdown()
        channel.close()
        raise
