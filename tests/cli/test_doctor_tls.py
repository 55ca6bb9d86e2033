"""The doctor and TLS: certificates, clocks, and who else opens what should be secret."""

from __future__ import annotations

import datetime
import ssl
import sys
import time
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from meshapi_rt.local import LocalServer

from ..conftest import TOKEN
from ..faces import LIMIT
from ..peers import Line, peer
from ..test_proxy import Tunnel
from .diagnosis import ROUTE, SERVICE, diagnose, patient

Capture = pytest.CaptureFixture[str]
__all__ = ["patient"]  # a fixture
pytestmark = pytest.mark.usefixtures("patient")
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return the authority that this machine trusts, alone."""
    return trusted(trustme.CA(), tmp_path, monkeypatch)


def trusted(made: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    if sys.platform == "win32":
        pytest.skip("authorities come from the system's store there")
    made.cert_pem.write_to_path(str(folder / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    return made


def tls(authority: trustme.CA, host: str = "127.0.0.1", **validity: Any) -> ssl.SSLContext:
    """Return the context of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **validity).configure_cert(context)
    return context


def telling(ahead: datetime.timedelta = datetime.timedelta(0)) -> Callable[[Line], object]:
    """Return the script of a server with a clock of its own, which opens no sessions."""

    def script(line: Line) -> None:
        date = format_datetime(datetime.datetime.now(datetime.timezone.utc) + ahead, usegmt=True)
        line.refuse("426 Upgrade Required", b"", f"Date: {date}")

    return script


def test_a_healthy_server(capsys: Capture, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy and TLS to a server that knows token and model: every check is fine, and the exit code is 0."""
    context = tls(authority, "some.host.invalid")
    with LocalServer(token=TOKEN, models=["openai/gpt-realtime"], ssl_context=context) as server:
        target: Any = type("Target", (), {"port": int(server.url.rpartition(":")[2])})
        with peer(Tunnel(target, "user:pa55word")) as proxy:
            monkeypatch.setenv("https_proxy", f"http://user:pa55word@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("MESHAPI_BASE_URL", "https://some.host.invalid")
            found = diagnose(capsys, "--model", "openai/gpt-realtime")

    assert found.with_status("ok") == ROUTE + SERVICE, found.results
    assert found.code == 0
    assert found["server"] == "ok: wss://some.host.invalid/v1/realtime, from MESHAPI_BASE_URL"
    assert f"127.0.0.1:{proxy.port}, from the environment, with a user name" in found["proxy"]
    assert "pa55word" not in str(found)
    assert f"through the proxy 127.0.0.1:{proxy.port}" in found["tcp"]
    assert found.facts("tls")["version"] == "TLSv1.3"
    assert found.facts("tls")["issuer"].startswith("trustme")
    assert abs(found.facts("tls")["clock_skew"]) < 5
    assert found["token"] == f"ok: MESHAPI_TOKEN holds {len(TOKEN)} characters, and has the shape of a key"
    assert 0 < found.facts("first audio")["first_audio"] <= found.facts("first audio")["total"]


def test_unknown_authority(capsys: Capture, authority: trustme.CA) -> None:
    """Whose certificate it is, and how to trust it."""
    stranger = trustme.CA(organization_name="Bücher & Söhne")
    with peer(telling(), tls(stranger)) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert (found.code, found.with_status("fail")) == (1, ["tls"])
    assert "set SSL_CERT_FILE" in found["tls"]
    assert "It was issued by Bücher & Söhne" in found["tls"]
    assert found.facts("tls")["intercepted"] is False
    assert found.with_status("skip") == ["session", "first audio"]


def test_interception(capsys: Capture, authority: trustme.CA) -> None:
    """A company's device that opens TLS is known by its name; the remedy is its certificate."""
    with peer(telling(), tls(trustme.CA(organization_name="Zscaler Inc."))) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert found.with_status("fail") == ["tls"]
    assert "issued by Zscaler Inc." in found["tls"]
    assert "a program or device that opens TLS on its way; export its authority's certificate" in found["tls"]


def test_trusted_interception(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its authority is installed that is told, and no failure."""
    company = trusted(trustme.CA(organization_name="Zscaler Inc."), tmp_path, monkeypatch)
    with LocalServer(ssl_context=tls(company)) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert found.code == 0
    assert "opens TLS on its way, and whose authority this machine trusts" in found["tls"]


def test_expired_certificate(capsys: Capture, authority: trustme.CA) -> None:
    """Its dates are told, beside the advice to look at the clock."""
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    context = tls(authority, not_before=past, not_after=past + datetime.timedelta(days=90))
    with peer(telling(), context) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert (found.code, found.with_status("fail")) == (1, ["tls"])
    assert "expired" in found["tls"]
    assert "for 2020-01-01 to 2020-03-31" in found["tls"]
    assert "this machine's clock is" not in found["tls"]


def test_wrong_clock(capsys: Capture, authority: trustme.CA) -> None:
    """Where the server's clock agrees with a certificate that seems expired, it is this machine's that is wrong."""
    then = datetime.datetime(2020, 1, 31, tzinfo=datetime.timezone.utc)
    month = datetime.timedelta(days=30)
    with peer(telling(then - NOW), tls(authority, not_before=then - month, not_after=then + month)) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert found.with_status("fail") == ["tls"]
    assert "s ahead of the server's: set it by the network's time" in found["tls"]


def test_clock_that_is_off_a_little(capsys: Capture, authority: trustme.CA) -> None:
    """Minutes are a warning: certificates are still accepted."""
    with peer(telling(datetime.timedelta(minutes=10)), tls(authority)) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert found["tls"].startswith("warn: TLSv1.3")
    assert "s behind the server's" in found["tls"]
    assert 500 < found.facts("tls")["clock_skew"] < 700


def test_certificate_that_expires_soon(capsys: Capture, authority: trustme.CA) -> None:
    """A warning with the days left, and the session opens."""
    soon = NOW + datetime.timedelta(days=3, hours=12)
    with LocalServer(ssl_context=tls(authority, not_before=NOW - datetime.timedelta(1), not_after=soon)) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert (found.code, found.with_status("warn")) == (0, ["tls"])
    assert "in 3 days" in found["tls"]


def test_certificate_of_another_host(capsys: Capture, authority: trustme.CA) -> None:
    """The name in the URL is wrong."""
    with peer(telling(), tls(authority, "other.example")) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert found.with_status("fail") == ["tls"]
    assert "check the host in the base URL" in found["tls"]


def test_port_without_tls(capsys: Capture) -> None:
    """A server that speaks something else there."""
    with peer(lambda line: line.sock.sendall(b"220 mail.example ESMTP\r\n")) as server:
        found = diagnose(capsys, "--base-url", server.url.replace("http:", "https:"))

    assert found.with_status("fail") == ["tls"]
    assert "check that the port speaks TLS" in found["tls"]


def test_server_that_is_deaf_to_tls(capsys: Capture) -> None:
    """It accepts connections and says nothing: the step has its limit."""
    with peer(lambda line: line.stopping.wait(LIMIT)) as server:
        began = time.monotonic()
        found = diagnose(capsys, "--base-url", server.url.replace("http:", "https:"), "--timeout", "1")

    assert found.with_status("fail") == ["tls"]
    assert "within 1 s: time ran out while waiting for the TLS handshake" in found["tls"]
    assert time.monotonic() - began < LIMIT
