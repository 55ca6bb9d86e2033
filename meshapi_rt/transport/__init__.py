"""The one room that knows websocket-client, sockets, TLS and proxies: whole messages in and out.

A ``websocket.WebSocket`` reads the URL, asks for the upgrade and checks the answer; its opcodes name ours. The
rest of it is replaced, each part for a reason (figures: messages per second against its own frame path):

- ``frames``: its frames are read with one ``recv`` per header, length and payload, its UTF-8 check is written
  in Python, it has no size limit and sends no close codes for violations. Ours is 2.5 times as fast and strict.
- ``connection`` and ``outgoing``: its ``close()`` beside a blocked reader hangs, and its timeout cuts frames in half.
- ``channel``: it reads and writes one SSL object from two threads at once, a data race inside OpenSSL.
- ``dial``: its name look-up, TCP, proxy and TLS steps share no deadline and cannot be cancelled.
- ``handshake`` and ``http_head``: its redirects, its cookie jar, its ``Origin`` and its trace, which shows the
  token, are kept out; an answer is bounded in size and an error's body is read.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from ..secret import Secret
from ..stats import Counters
from ..waiting import Wait
from .connection import Connection, Ended, Ending
from .dial import default_context, dial, find_proxy, is_loopback
from .handshake import Upgrade, upgrade
from .outgoing import CutOff, NotSent

__all__ = [
    "Connection",
    "CutOff",
    "Ended",
    "Ending",
    "NotSent",
    "default_context",
    "is_loopback",
    "open_connection",
]


def open_connection(
    url: str,
    *,
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
) -> Connection:
    """Open a WebSocket; every step of it under *wait*.

    Args:
        url: ``ws://`` or ``wss://``, without the token.
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
            max_message_size=max_message_size,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            counters=counters,
        )
    except BaseException:
        channel.shutdown()
        channel.close()
        raise
