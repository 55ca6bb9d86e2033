"""From a host name to a connected channel: names, TCP, an HTTP proxy's CONNECT, TLS, under one deadline.

websocket-client could open the socket too. It is replaced here because its ``getaddrinfo`` and its blocking
calls can neither be cancelled nor share one deadline, its dead first address eats the whole timeout, its
environment look-up overlooks ``host:port`` without a scheme, its trace prints proxy passwords, and its error
for a proxy's refusal has no status.
"""

from __future__ import annotations

import base64
import errno
import ipaddress
import itertools
import math
import os
import queue
import selectors
import socket
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from ..errors import ConfigurationError, ConnectError
from ..hosts import is_loopback
from ..waiting import Deadline, Wait, taken
from .channel import Channel, TLSChannel
from .http_head import pause, read_response

__all__ = ["Proxy", "default_context", "dial", "find_proxy", "resolve"]

_STAGGER = 0.25  # seconds before the next address is tried beside one that has not answered (RFC 8305)
_resolver_numbers = itertools.count(1)

_Address = tuple[int, int, int, Any]  # family, type, protocol, socket address


@attrs.frozen(kw_only=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT."""

    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read ``[http://][user:password@]host[:port]``."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError:  # whose text may hold a part of the password
            raise ConfigurationError(
                "the proxy's address cannot be read: write http://host:port or http://user:password@host:port, with % "
                "escapes for special characters in the password"
            ) from None
        if parts.scheme != "http":
            raise ConfigurationError(
                f"only http:// proxies are supported, not {parts.scheme}://: name an HTTP proxy that takes CONNECT"
            )
        if not host:
            raise ConfigurationError("the proxy's address names no host: write http://host:port")
        authorization = None
        if user is not None:
            pair = f"{unquote(user)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(host=host, port=port or 80, authorization=authorization)


def find_proxy(host: str, port: int, *, secure: bool, given: str | bool | None) -> Proxy | None:
    """Choose the proxy for *host*.

    Args:
        host: The server's name.
        port: Its port; an entry of ``no_proxy`` may name one.
        secure: Whether TLS will be spoken.
        given: A proxy's URL; ``None`` to look into the environment (``https_proxy``, ``http_proxy``,
            ``all_proxy``, ``no_proxy``); ``False`` for none.
    """
    if given is False:
        return None
    if isinstance(given, str):
        return Proxy.parse(given)
    if given is not None:
        raise ConfigurationError(f"proxy must be a URL, False or None, not {given!r}")
    import urllib.request  # noqa: PLC0415 - it takes longer to import than the rest of this package

    # Unknown to typeshed, but documented by its use of no_proxy.
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    if is_loopback(host) or bypass(f"{host}:{port}"):
        return None
    found = urllib.request.getproxies_environment()
    url = found.get("https" if secure else "http") or found.get("all")
    return Proxy.parse(url) if url else None


def default_context() -> ssl.SSLContext:
    """Return a verifying context, TLS 1.2 at least, with certifi's authorities where the system has none."""
    context = ssl.create_default_context()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    if not _has_authorities(context):
        try:
            import certifi  # noqa: PLC0415 - optional
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def _has_authorities(context: ssl.SSLContext) -> bool:
    if context.cert_store_stats()["x509_ca"]:
        return True
    # Folders are read only when a certificate is checked, so they are not counted.
    paths = ssl.get_default_verify_paths()
    folders = os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(os.pathsep)
    return any(_has_entries(Path(folder)) for folder in folders if folder)


def _has_entries(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def dial(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None,
    proxy: Proxy | None,
    wait: Wait,
) -> Channel:
    """Connect, through *proxy* if one is given, and speak TLS if *context* is.

    Raises:
        ConnectError: With the step that failed and what to do; ``ConnectTimeout`` where *wait* ran out.
        Cancelled: The caller's cancel event was set.
    """
    to = (proxy.host, proxy.port) if proxy else (host, port)
    what = f"the proxy {to[0]}:{to[1]}" if proxy else f"{host}:{port}"
    sock = _connect_any(resolve(*to, wait), what, wait)
    try:
        if proxy:
            _tunnel(Channel(sock), proxy, host, port, wait)
        return _secured(sock, host, context, wait) if context else Channel(sock)
    except BaseException:
        sock.close()
        raise


# -- names ---


def resolve(host: str, port: int, wait: Wait) -> list[_Address]:
    """Look a name up, on a thread that is left behind where that takes longer than *wait*.

    Raises:
        ConnectError: Nobody knows it; likewise ``ConnectTimeout`` and ``Cancelled``.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _resolve_name(host, port, wait)
    try:
        return _look_up(host, port)
    except OSError as exc:
        raise ConnectError(f"the address {host} cannot be used ({exc}): check the base URL") from exc


def _look_up(host: str, port: int) -> list[_Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _resolve_name(host: str, port: int, wait: Wait) -> list[_Address]:
    """Look *host* up on a daemon thread of its own: ``getaddrinfo`` can be neither interrupted nor timed."""
    answers: queue.SimpleQueue[list[_Address] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_look_up(host, port))
        except (OSError, UnicodeError) as exc:
            answers.put(exc)

    # Owns nothing but its answer; ends when the system's resolver returns, which may be after this call.
    threading.Thread(target=look_up, name=f"meshapi-rt-resolver-{next(_resolver_numbers)}", daemon=True).start()
    while True:
        try:
            answer = taken(answers, pause(f"looking up {host}", wait))
        except queue.Empty:
            continue
        if isinstance(answer, Exception):
            raise ConnectError(
                f"the name {host} cannot be resolved ({answer}): check the base URL and the network"
            ) from answer
        return answer


# -- TCP ---


def _interleaved(addresses: list[_Address]) -> list[_Address]:
    """Order addresses so that the families take turns, the system's first choice first."""
    first = [a for a in addresses if a[0] == addresses[0][0]]
    other = [a for a in addresses if a[0] != addresses[0][0]]
    paired = itertools.zip_longest(first, other)
    return [a for pair in paired for a in pair if a is not None]


def _connect_any(addresses: list[_Address], what: str, wait: Wait) -> socket.socket:
    """Connect to the first address that answers; the next one starts 250 ms later, or at once on a refusal."""
    remaining = _interleaved(addresses)
    trying: list[socket.socket] = []
    failure: OSError | None = None
    next_start = Deadline(0)
    try:
        while remaining or trying:
            if remaining and (not trying or next_start.left() == 0):
                try:
                    trying.append(_start(remaining.pop(0)))
                except OSError as exc:
                    failure = exc
                    continue
                next_start = Deadline(_STAGGER)
            longest = pause(f"connecting to {what}", wait)
            if remaining:
                longest = min(next_start.left(), math.inf if longest is None else longest)
            for sock in _settled(trying, longest):
                trying.remove(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return sock
                sock.close()
                failure, next_start = OSError(code, os.strerror(code)), Deadline(0)
    finally:
        for sock in trying:
            sock.close()
    raise ConnectError(
        f"no connection to {what} ({failure}): check the base URL, the network and any firewall"
    ) from failure


def _start(address: _Address) -> socket.socket:
    family, kind, protocol, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(where)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _settled(trying: list[socket.socket], longest: float | None) -> list[socket.socket]:
    """Wait for connections under way to succeed or fail."""
    with selectors.DefaultSelector() as selector:
        for sock in trying:
            selector.register(sock, selectors.EVENT_WRITE)
        ready = {key.fd for key, _ in selector.select(longest)}
    return [sock for sock in trying if sock.fileno() in ready]


# -- proxy and TLS ---


def _tunnel(channel: Channel, proxy: Proxy, host: str, port: int, wait: Wait) -> None:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    step = f"waiting for the proxy {proxy.host}:{proxy.port}"
    answer = read_response(channel, memoryview("\r\n".join([*lines, "", ""]).encode()), step, wait, tunnel=True)
    if answer.status == 407:
        what = "its user name and password were refused" if proxy.authorization else "it wants a user name"
        raise ConnectError(
            f"the proxy {proxy.host}:{proxy.port} answered 407: {what}; write them as http://user:password@host:port",
            status=407,
        )
    if not 200 <= answer.status < 300:
        raise ConnectError(
            f"the proxy {proxy.host}:{proxy.port} refused a tunnel to {where} with {answer.status} "
            f"{answer.reason}: ask its operator, or name the host in NO_PROXY",
            status=answer.status,
        )


def _secured(sock: socket.socket, host: str, context: ssl.SSLContext, wait: Wait) -> Channel:
    try:
        channel = TLSChannel(context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False))
        try:
            while not channel.handshake_step():
                channel.reading.wait(pause(f"waiting for the TLS handshake with {host}", wait))
        except BaseException:
            channel.close()
            raise
    except ConnectError:
        raise
    except ssl.SSLCertVerificationError as exc:
        raise ConnectError(_certificate_advice(host, exc, context)) from exc
    except OSError as exc:
        if isinstance(exc, ssl.SSLError) and exc.reason in _TOO_OLD:
            raise ConnectError(
                f"{host} speaks no version of TLS that is safe: TLS 1.2 at least is wanted; have the server updated, "
                "and check that no device in between interferes"
            ) from exc
        raise ConnectError(
            f"the TLS handshake with {host} failed ({_told(exc)}): check that the port speaks TLS and that no "
            "device in between interferes"
        ) from exc
    return channel


# OpenSSL's reasons: ours, and the server's alert.
_TOO_OLD = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"}


def _told(exc: OSError) -> str:
    return (exc.reason if isinstance(exc, ssl.SSLError) and exc.reason else str(exc)) or type(exc).__name__


def _certificate_advice(host: str, exc: ssl.SSLCertVerificationError, context: ssl.SSLContext) -> str:
    told = f"the certificate of {host} is not accepted: {exc.verify_message.rstrip('.')}"
    if exc.verify_code == 10:
        return f"{told}; check this machine's clock, else the server's operator must renew it"
    if exc.verify_code in (62, 64):
        return f"{told}; check the host in the base URL"
    if not _has_authorities(context):
        return f"{told}; this Python found no certificate authorities: pip install certifi, or set SSL_CERT_FILE"
    return f"{told}; if you trust its authority, set SSL_CERT_FILE to it or pass ssl_context="
