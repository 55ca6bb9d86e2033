"""The doctor and the server: each thing that can be wrong on the way to a first answer, over real sockets."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from meshapi_rt.local import Fail, Faults, LocalServer, Refuse, Stall

from ..clock import Stopwatch
from ..conftest import TOKEN
from ..faces import CLI, LIMIT, environment, finish, start
from ..peers import Line, peer, silent
from .diagnosis import ROUTE, diagnose, patient

Capture = pytest.CaptureFixture[str]
__all__ = ["patient"]  # a fixture
pytestmark = pytest.mark.usefixtures("patient")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# -- nothing wrong ---


@pytest.mark.parametrize("auth", ["subprotocol", "query", "header"])
def test_a_local_server(capsys: Capture, monkeypatch: pytest.MonkeyPatch, auth: str) -> None:
    """On this machine neither TLS nor a token is needed; --base-url goes before the environment."""
    monkeypatch.delenv("MESHAPI_TOKEN")
    monkeypatch.setenv("MESHAPI_BASE_URL", "https://elsewhere.invalid")
    with LocalServer(record=True) as server:
        found = diagnose(capsys, "--base-url", server.url, "--auth", auth, "--model", "any/model")
        assert server.connections_total == 1

    assert found.code == 0
    assert "from --base-url" in found["server"]
    assert found["tls"].startswith("skip: not used")
    assert found["token"] == "ok: none, and none is needed: a local server takes any"
    assert found["model"].startswith("warn: any/model is not among the models that this version knows (openai/gpt")


def test_without_a_token(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the gateway is looked at, the missing token is a failure, and a local server shows the rest."""
    monkeypatch.delenv("MESHAPI_TOKEN")
    monkeypatch.setattr("meshapi_rt.cli.doctor.route.DEFAULT_BASE_URL", "https://gateway.invalid")

    found = diagnose(capsys)

    assert found.code == 1
    assert found["server"] == "ok: wss://gateway.invalid/v1/realtime, the gateway"
    assert found.with_status("fail") == ["names", "token"]
    assert "set the environment variable MESHAPI_TOKEN" in found["token"]
    assert found.with_status("ok")[-2:] == ["session", "first audio"]
    assert "with a local server, as there is no token" in found["session"]
    assert found.facts("first audio")["local"] is True


@pytest.mark.parametrize("present", [True, False])
def test_offline(capsys: Capture, monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    """--offline looks at everything but the network; a missing token is a warning then."""
    monkeypatch.setenv("MESHAPI_BASE_URL", "https://gateway.invalid")
    if not present:
        monkeypatch.delenv("MESHAPI_TOKEN")

    found = diagnose(capsys, "--offline")

    assert found.code == 0
    assert not set(ROUTE) & set(found.results)
    assert found["token"].startswith("ok" if present else "warn: none")
    assert "with a local server, to stay offline" in found["session"]


def test_without_the_local_server() -> None:
    """Where that extra is missing there is nobody to talk to, which is no further failure."""
    code = "import sys; sys.modules['websockets'] = None; from meshapi_rt.cli import main; sys.exit(main(sys.argv[1:]))"
    program = start([sys.executable, "-c", code, "doctor", "--offline"], environment(), Path.cwd())

    exit_code, out, err = finish(program)

    assert (exit_code, err) == (0, "")
    assert "skip  session      nobody to talk to: no token, and the local server needs an optional package: pip" in out
    assert "skip  first audio  there is no session" in out


# -- names, TCP, proxies ---


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://host", "must look like https://"),
        ("https://user:secret@host", "must hold no user name"),
        ("http://elsewhere.invalid", "without TLS would show the token"),
        ("https://[", "cannot be read as a URL"),
    ],
)
def test_no_url(capsys: Capture, url: str, told: str) -> None:
    """A base URL that cannot be meant is the one failure."""
    found = diagnose(capsys, "--base-url", url)

    assert (found.code, found.with_status("fail")) == (1, ["server"])
    assert told in found["server"]
    assert found["session"] == "skip: left out: it needs what failed above (server)"


def test_no_name(capsys: Capture) -> None:
    """A name that nobody knows; what needs it is left out and says so."""
    found = diagnose(capsys, "--base-url", "https://no.such.host.invalid")

    assert (found.code, found.with_status("fail")) == (1, ["names"])
    assert "no.such.host.invalid cannot be resolved" in found["names"]
    assert found.with_status("skip") == ["tcp", "tls", "session", "first audio"]
    assert found["tls"] == "skip: left out: it needs what failed above (names)"


def test_refused_port(capsys: Capture) -> None:
    """Nothing listens there."""
    found = diagnose(capsys, "--base-url", f"https://127.0.0.1:{unused_port()}")

    assert (found.code, found.with_status("fail")) == (1, ["tcp"])
    assert "check the base URL, the network and any firewall" in found["tcp"]


def test_a_dead_proxy(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is named, and its password is not."""
    port = unused_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pa55word@127.0.0.1:{port}")

    found = diagnose(capsys, "--base-url", "https://some.host.invalid")

    assert (found.code, found.with_status("fail")) == (1, ["tcp"])
    assert f"no connection to the proxy 127.0.0.1:{port}" in found["tcp"]
    assert "pa55word" not in str(found)


def test_a_proxy_that_wants_a_password(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to write it."""
    with peer(lambda line: line.refuse("407 Proxy Authentication Required")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        found = diagnose(capsys, "--base-url", "https://some.host.invalid")

    assert (found.code, found.with_status("fail")) == (1, ["tcp"])
    assert "http://user:password@host:port" in found["tcp"]


def test_why_there_is_no_proxy(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all, one that is not for this host, and one that only the system knows."""

    def told() -> str:
        return diagnose(capsys, "--base-url", "https://some.host.invalid")["proxy"]

    assert told() == "ok: none; if this network needs one, set https_proxy=http://host:port"
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy.example:3128"})
    assert told() == "ok: none: the system's settings name one, which counts only if https_proxy is set to it"
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", ".invalid")
    assert told() == "ok: none: the environment names one, but not for this host (NO_PROXY)"


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "http://user:pa55/word@127.0.0.1:80", "http://"])
def test_a_proxy_that_cannot_be_meant(capsys: Capture, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Also where a password breaks its URL in two, no part of that shows."""
    monkeypatch.setenv("https_proxy", url)

    found = diagnose(capsys, "--base-url", "https://some.host.invalid")

    assert (found.code, found.with_status("fail")) == (1, ["proxy"])
    assert "pa55" not in str(found)


# -- the session ---


def refusal(capsys: Capture, fault: Refuse | None = None, **options: Any) -> str:
    """Return what is said of a session that the server refuses."""
    with LocalServer(faults=None if fault is None else Faults(fault), **options) as server:
        found = diagnose(capsys, "--base-url", server.url)
    assert (found.code, found.with_status("fail")) == (1, ["session"])
    assert found["first audio"] == "skip: left out: it needs what failed above (session)"
    return found["session"]


@pytest.mark.parametrize("form", ["frame", "status"])
def test_token_refused(capsys: Capture, form: str) -> None:
    """By a first frame, or by the status 401."""
    told = refusal(capsys, token="another", auth_failure=form)

    assert "invalid_api_key" in told
    assert "check the token" in told
    assert ("401" in told) == (form == "status")


@pytest.mark.parametrize("form", ["frame", "status"])
def test_unknown_model(capsys: Capture, form: str) -> None:
    """By a first frame, or by the status 404."""
    told = refusal(capsys, models=["openai/gpt-realtime"], auth_failure=form)

    assert "model_not_found" in told
    assert "check the model id against meshapi_rt.MODELS" in told


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Refuse(403, code="forbidden"), "the token has no permission for this"),
        (Refuse(403), "no permission for this model or for realtime"),
        (Refuse(403, code="feature_not_enabled"), "ask for realtime to be enabled"),
        (Refuse(402, code="insufficient_quota"), "add credit (10 USD at least)"),
        (Refuse(429, retry_after="7"), "not before 7 s have passed"),
        (Refuse(503), "try again later"),
        (Refuse(200, body="<html>Please log in to the Wi-Fi"), "instead of a WebSocket upgrade"),
        (Refuse(401, body=json.dumps({"error": {"code": "nope", "message": f"bad key {TOKEN}"}})), "bad key ***"),
    ],
)
def test_refused(capsys: Capture, fault: Refuse, told: str) -> None:
    """Each refusal with its remedy, and never with the token, even if the server repeats it."""
    assert told in refusal(capsys, fault)


def test_no_credit(capsys: Capture) -> None:
    """Told by a first frame, before the close."""

    def script(line: Line) -> None:
        line.upgrade()
        line.send({"type": "error", "error": {"code": "insufficient_quota", "message": "empty"}, "request_id": "req_7"})
        line.send_close(4402)
        line.serve_until_close()

    with peer(script) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert (found.code, found.with_status("fail")) == (1, ["session"])
    assert "insufficient_quota: empty, close code 4402; add credit (10 USD at least)" in found["session"]


def test_server_that_never_answers(capsys: Capture) -> None:
    """TCP works, and then nothing: the session's step has its limit."""
    with peer(lambda line: line.stopping.wait(LIMIT)) as server:
        found = diagnose(capsys, "--base-url", server.url, "--timeout", "1")

    assert found.with_status("fail") == ["session"]
    assert "within 1 s: time ran out while waiting for the server's answer" in found["session"]


def test_server_without_a_first_frame(capsys: Capture) -> None:
    """An upgrade is no session yet."""

    def script(line: Line) -> None:
        line.upgrade()
        line.serve_until_close()

    with peer(script) as server:
        found = diagnose(capsys, "--base-url", server.url, "--timeout", "1")

    assert found.with_status("fail") == ["session"]
    assert "sent no first frame" in found["session"]


def test_silent_server(capsys: Capture) -> None:
    """A session opens, and no answer comes."""
    with peer(silent) as server:
        found = diagnose(capsys, "--base-url", server.url, "--timeout", "1")

    assert (found.code, found.with_status("fail")) == (1, ["first audio"])
    assert "within 1 s" in found["first audio"]


def test_server_that_stalls(capsys: Capture) -> None:
    """A line that dies in mid-answer holds nobody up."""
    with LocalServer(faults=Faults(Stall(on="response.created"))) as server:
        began = time.monotonic()
        found = diagnose(capsys, "--base-url", server.url, "--timeout", "1")

    assert found.with_status("fail") == ["first audio"]
    assert time.monotonic() - began < LIMIT


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([Fail("rate_limit_exceeded", "Slow down.")], "rate_limit_exceeded: Slow down.; try again after a pause"),
        ([], "holds no audio: choose a model that speaks"),
    ],
)
def test_answers_of_no_use(capsys: Capture, answer: list[Any], told: str) -> None:
    """One that failed, and one without audio."""
    with LocalServer(responder=lambda _: iter(answer)) as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert (found.code, found.with_status("fail")) == (1, ["first audio"])
    assert told in found["first audio"]


def test_slow_answer(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works, and the delay is told."""
    monkeypatch.setattr("meshapi_rt.cli.doctor.service._SLOW", 0.0)
    with LocalServer() as server:
        found = diagnose(capsys, "--base-url", server.url)

    assert (found.code, found["first audio"].partition(":")[0]) == (0, "warn")
    assert "slow; compare with tcp above" in found["first audio"]


def test_model_that_only_listens(capsys: Capture) -> None:
    """It opens a session, and is asked nothing."""
    with LocalServer() as server:
        found = diagnose(capsys, "--base-url", server.url, "--model", "openai/gpt-realtime-whisper")

    assert (found.code, found["session"].partition(":")[0]) == (0, "ok")
    assert found["first audio"].startswith("skip: openai/gpt-realtime-whisper writes down what it hears")


def test_the_token_in_place_of_the_model(capsys: Capture) -> None:
    """What was typed where it does not belong is not shown either."""
    with LocalServer(models=["openai/gpt-realtime"]) as server:
        found = diagnose(capsys, "--base-url", server.url, "--model", TOKEN)

    assert found["model"].startswith("warn: *** is not among")
    assert found.facts("model")["model"] == "***"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c() -> None:
    """It ends a check that waits, at once and without a traceback."""
    import os

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        program = start([*CLI, "doctor", "--base-url", url, "--timeout", "60"], environment(), Path.cwd())
        listener.settimeout(LIMIT)
        with contextlib.ExitStack() as stack:
            for _ in ("tcp", "session"):
                conversation, _ = listener.accept()
                stack.enter_context(conversation)
            with Stopwatch() as watch:
                os.killpg(program.pid, signal.SIGINT)
                code, out, err = finish(program)

    assert (code, err) == (130, "")
    assert watch.took < 2
    assert "first audio" not in out


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_reader_that_leaves() -> None:
    """`meshapi-rt doctor | head -1` ends quietly."""
    env = environment(MESHAPI_TOKEN=TOKEN)
    command = f"{sys.executable} -m meshapi_rt doctor --offline | head -1"
    run = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)  # noqa: S602

    assert run.stdout.startswith("ok    python")
    assert run.stderr == ""
