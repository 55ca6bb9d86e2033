"""The way to the server, step by step: its address, the proxy, names, TCP, TLS. Nothing secret goes over it.

The steps are those of ``transport.dial``, which a session takes too.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
import time
import urllib.request
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from ...client import DEFAULT_BASE_URL
from ...endpoint import realtime_url
from ...errors import ConfigurationError, ConnectError
from ...hosts import is_loopback
from ...transport import dial as dialling
from ...transport.channel import Channel, TLSChannel
from ...transport.http_head import read_response
from ...waiting import Wait
from .certificate import Certificate
from .checkup import Check, Finding, fail, ok, skip, warn

__all__ = ["Route"]

_SLOW_NAME = 1.0  # seconds
_SKEW = 60.0  # seconds between the clocks; beyond it certificates and tokens begin to fail
_CLOCK_SECONDS = 3.0  # for the server to tell the time: it need not
_EXPIRES_SOON = 14  # days
# Whose authorities issue certificates for servers that are not theirs, on the way or on the machine itself.
_INTERCEPTORS = re.compile(
    r"\b(avast|avg|bitdefender|blue coat|burp|charles proxy|check point|cisco umbrella|eset|fiddler|forcepoint|"
    r"fortinet|kaspersky|mcafee|mitmproxy|netskope|palo alto|portswigger|sophos|watchguard|zscaler)\b",
    re.IGNORECASE,
)
_INTERCEPTED = "a program or device that opens TLS on its way"


class Route:
    """Leads to the realtime endpoint below a base URL.

    Args:
        base_url: As a client takes it; ``None`` for the gateway's.
        given: It comes from the command line, not from the environment.

    Attributes:
        base_url: The one that is meant.
    """

    def __init__(self, base_url: str | None, *, given: bool) -> None:
        self.base_url = base_url or DEFAULT_BASE_URL
        self._source = "from --base-url" if given else "from MESHAPI_BASE_URL" if base_url else "the gateway"
        self._path = ""
        self._host = ""
        self._port = 0
        self._secure = True
        self._proxy: dialling.Proxy | None = None

    @property
    def leads_here(self) -> bool:
        """Whether the server is on this machine, as far as its URL tells."""
        try:
            return is_loopback(urlsplit(self.base_url).hostname or "")
        except ValueError:
            return False

    def checks(self) -> list[Check]:
        """Return the checks of the way, each of which needs the ones before."""
        return [
            Check("server", self._look_at_url),
            Check("proxy", self._choose_proxy, ("server",)),
            Check("names", self._resolve, ("server", "proxy")),
            Check("tcp", self._connect, ("server", "proxy", "names")),
            Check("tls", self._speak_tls, ("server", "proxy", "names", "tcp")),
        ]

    def _look_at_url(self, _wait: Wait) -> Finding:
        parts = urlsplit(realtime_url(self.base_url, {}, allow_insecure=False))
        self._host, self._secure = parts.hostname or "", parts.scheme == "wss"
        self._port = parts.port or (443 if self._secure else 80)
        self._path = parts.path
        shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        return ok(f"{shown}, {self._source}", url=shown)

    def _choose_proxy(self, _wait: Wait) -> Finding:
        try:
            self._proxy = dialling.find_proxy(self._host, self._port, secure=self._secure, given=None)
        except ConfigurationError as exc:
            return fail(f"{exc} (in https_proxy, http_proxy or all_proxy)")
        if self._proxy is None:
            return ok(f"none{self._why_no_proxy()}", proxy=None)
        where = f"{self._proxy.host}:{self._proxy.port}"
        login = "with a user name" if self._proxy.authorization else "without a user name"
        return ok(
            f"{where}, from the environment, {login}; NO_PROXY={self._host} would go round it",
            proxy=where,
            user=self._proxy.authorization is not None,
        )

    def _why_no_proxy(self) -> str:
        if is_loopback(self._host):
            return ""
        if urllib.request.getproxies_environment().keys() & {"https", "http", "all"}:
            return ": the environment names one, but not for this host (NO_PROXY)"
        # Without one in the environment these are what Windows and macOS have in their settings.
        if urllib.request.getproxies().keys() & {"https", "http"}:
            return ": the system's settings name one, which counts only if https_proxy is set to it"
        return "; if this network needs one, set https_proxy=http://host:port"

    def _resolve(self, wait: Wait) -> Finding:
        host, port = (self._proxy.host, self._proxy.port) if self._proxy else (self._host, self._port)
        if _is_address(host):
            return ok(f"{host} is an address: there is nothing to look up", addresses=[host])
        began = time.monotonic()
        found = [str(address[3][0]) for address in dialling.resolve(host, port, wait)]
        took = time.monotonic() - began
        whose = "the proxy " if self._proxy else ""
        told = f"{whose}{host} is {', '.join(found[:4])}{' and more' if len(found) > 4 else ''}, after {_ms(took)}"
        if took > _SLOW_NAME:
            return warn(f"{told}: slow; look at the DNS servers that this machine asks", addresses=found)
        return ok(told, addresses=found)

    def _connect(self, wait: Wait) -> Finding:
        began = time.monotonic()
        channel = dialling.dial(self._host, self._port, context=None, proxy=self._proxy, wait=wait)
        took = time.monotonic() - began
        channel.close()
        through = f" through the proxy {self._proxy.host}:{self._proxy.port}" if self._proxy else ""
        return ok(f"connected to {self._host}:{self._port}{through} after {_ms(took)}")

    # -- TLS ---

    def _speak_tls(self, wait: Wait) -> Finding:
        if not self._secure:
            return skip("not used: the server is on this machine, and its URL says so")
        try:
            channel = self._dial(dialling.default_context(), wait)
        except ConnectError as exc:
            if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
                return self._why_refused(exc, wait)
            raise
        try:
            version = channel.version
            certificate = _certificate(channel)
            skew = self._skew(channel, wait)
        finally:
            channel.close()
        facts = {"version": version, **_facts(certificate), "clock_skew": skew}
        told = f"{version}; certificate by {certificate.issuer}, valid until {certificate.not_after:%Y-%m-%d}"
        if _intercepts(certificate):
            told += f" ({_INTERCEPTED}, and whose authority this machine trusts)"
        left = certificate.not_after - datetime.now(timezone.utc)
        if skew is not None and abs(skew) > _SKEW:
            return warn(f"{told}; {_clocks(skew)}", **facts)
        if left.days < _EXPIRES_SOON:
            return warn(f"{told}: in {left.days} days; have the server's operator renew it", **facts)
        return ok(told, **facts)

    def _why_refused(self, refusal: ConnectError, wait: Wait) -> Finding:
        """Look at the certificate that was refused, over a connection which trusts nobody and is told nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            channel = self._dial(context, wait)
        except ConnectError:
            return fail(str(refusal))
        try:
            certificate = _certificate(channel)
            skew = self._skew(channel, wait)
        finally:
            channel.close()
        told = (
            f"{refusal}. It was issued by {certificate.issuer}, "
            f"for {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
        )
        if _intercepts(certificate):
            told += (
                f": {_INTERCEPTED}; export its authority's certificate, or ask whoever runs it for that, and set "
                "SSL_CERT_FILE to a file that holds it"
            )
        if skew is not None and abs(skew) > _SKEW:
            told += f"; {_clocks(skew)}"
        return fail(told, **_facts(certificate), clock_skew=skew)

    def _dial(self, context: ssl.SSLContext, wait: Wait) -> TLSChannel:
        channel = dialling.dial(self._host, self._port, context=context, proxy=self._proxy, wait=wait)
        assert isinstance(channel, TLSChannel)
        return channel

    def _skew(self, channel: Channel, wait: Wait) -> float | None:
        """Return how many seconds the server's clock is ahead of this machine's, as far as it tells the time.

        It is asked for the endpoint without an upgrade, which has an answer of its own (protocol.md 1.3, G).
        """
        request = f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode()
        try:
            step = "waiting for the server's clock"
            answer = read_response(channel, memoryview(request), step, wait.within(_CLOCK_SECONDS))
            told = parsedate_to_datetime(answer.headers.get("Date") or "")
            return round(told.timestamp() - time.time(), 1)
        except (ConnectError, ValueError, TypeError, OverflowError):  # it is not obliged to
            return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _certificate(channel: TLSChannel) -> Certificate:
    return Certificate.read(channel.certificate)


def _facts(certificate: Certificate) -> dict[str, object]:
    return {
        "issuer": certificate.issuer,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "intercepted": _intercepts(certificate),
    }


def _intercepts(certificate: Certificate) -> bool:
    return _INTERCEPTORS.search(certificate.issuer) is not None


def _clocks(skew: float) -> str:
    late = "behind" if skew > 0 else "ahead of"
    return f"this machine's clock is {abs(skew):.0f} s {late} the server's: set it by the network's time"


def _ms(seconds: float) -> str:
    return f"{round(1000 * seconds)} ms"
