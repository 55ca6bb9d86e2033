"""From a base URL and the caller's additions to the URL and headers of the realtime endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from .errors import ConfigurationError
from .hosts import is_loopback
from .version import __version__

__all__ = ["headers_to_send", "realtime_url"]

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_PATH = "/v1/realtime"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = {"upgrade", "connection", "content-length", "transfer-encoding", "x-meshapi-sdk"}


def realtime_url(base_url: str, query: Mapping[str, str], *, allow_insecure: bool) -> str:
    """Return the WebSocket URL of the realtime endpoint.

    Args:
        base_url: ``http(s)://`` or ``ws(s)://``, with or without a path, ``/v1`` or ``/v1/realtime``; a query
            that it has is kept.
        query: Further parameters.
        allow_insecure: Whether a host other than this machine may be reached without TLS.

    Raises:
        ConfigurationError: It is no such URL, or would show the token on the network.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError("base_url cannot be read as a URL: write https://host[:port][/path]") from None
    if parts.username is not None:
        raise ConfigurationError("base_url must hold no user name or password: give the token as token=")
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not host or re.search(r"[\s\x00-\x1f]", base_url):
        # What stands in its place may be the token.
        seen = "another scheme" if scheme is None else "white space" if host else "no host"
        raise ConfigurationError(f"base_url must look like https://host[:port][/path]; this one has {seen}")
    if port == 0:
        raise ConfigurationError(f"base_url names the port 0, which nothing can listen on, of {host}")
    if scheme == "ws" and not (allow_insecure or is_loopback(host)):
        raise ConfigurationError(
            f"a connection to {host} without TLS would show the token to everybody on the way: use https://, or "
            "say allow_insecure=True"
        )
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path = path.removesuffix("/v1") + _PATH
    pairs = [f"{quote(str(name), safe='')}={quote(str(value), safe='')}" for name, value in query.items()]
    return urlunsplit((scheme, parts.netloc, path, "&".join(filter(None, [parts.query, *pairs])), ""))


def headers_to_send(given: Mapping[str, str], auth: str) -> tuple[tuple[str, str], ...]:
    """Check the caller's request headers and add ours.

    Raises:
        ConfigurationError: A name or a value that HTTP does not allow, or one that belongs to the handshake.
    """
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"a header's name must be letters, digits and dashes, not {name!r}")
        if not isinstance(value, str) or not value.isprintable() or not value.isascii():
            raise ConfigurationError(f"the value of the header {name} must be printable ASCII")
        low = name.lower()
        if low in _OURS or low.startswith("sec-websocket-") or (low == "authorization" and auth == "header"):
            raise ConfigurationError(f"the header {name} is made by the handshake itself: leave it out")
        if low == "openai-beta" and "realtime" in value:
            raise ConfigurationError(
                f"the header {name}: {value} selects the retired beta protocol, whose sessions are closed: leave it out"
            )
    return (*given.items(), ("X-MeshAPI-SDK", f"python/{__version__}"))
