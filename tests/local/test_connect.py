"""Handshake, authentication and refusals: protocol.md 1.1 to 1.3, and the first frame."""

from __future__ import annotations

import json
import re
import ssl
import time

import pytest
import trustme

from meshapi_rt.local import LocalServer
from meshapi_rt.local.engine import _RECEIVE_LIMIT

from .conftest import ServerFactory
from .plain import MODEL, Plain
from .raw import Raw

TOKEN = "rsk_right"
PAIR = "Sec-WebSocket-Protocol: openai-realtime"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"{PAIR}, Bearer {TOKEN}"], id="with space"),
        pytest.param([f"{PAIR},Bearer {TOKEN}"], id="without space"),
        pytest.param([PAIR, f"Sec-WebSocket-Protocol: Bearer {TOKEN}"], id="two lines"),
        pytest.param([f"Sec-WebSocket-Protocol: Bearer {TOKEN}, openai-realtime"], id="key first"),
    ],
)
def test_subprotocol_pair(make_server: ServerFactory, lines: list[str]) -> None:
    """The key rides in the subprotocol, however it is written; only ``openai-realtime`` is echoed."""
    with Raw(make_server(token=TOKEN), *lines) as raw:
        assert raw.status == 101
        assert [value for name, value in raw.headers if name == "sec-websocket-protocol"] == ["openai-realtime"]
        assert raw.event()["type"] == "session.created"


@pytest.mark.parametrize(
    ("lines", "query"),
    [
        pytest.param([], f"&api_key={TOKEN}", id="query"),
        pytest.param([PAIR], f"&api_key={TOKEN}", id="query and subprotocol"),
        pytest.param([f"Authorization: Bearer {TOKEN}"], "", id="header"),
        pytest.param([f"{PAIR}, Bearer {TOKEN}"], "&api_key=wrong", id="subprotocol wins"),
        pytest.param([f"Sec-WebSocket-Protocol: Bearer {TOKEN}"], "", id="nothing to echo"),
    ],
)
def test_other_authentication(make_server: ServerFactory, lines: list[str], query: str) -> None:
    """The query and the header work, too; a client without the subprotocol gets none."""
    with Raw(make_server(token=TOKEN), *lines, target=f"/v1/realtime?model={MODEL}{query}") as raw:
        assert raw.status == 101
        assert raw.header("sec-websocket-protocol") == ("openai-realtime" if PAIR in "".join(lines) else None)
        assert raw.event()["type"] == "session.created"


@pytest.mark.parametrize(
    ("lines", "query"),
    [
        ([], ""),
        ([], "&api_key="),
        ([], "&api_key=wrong"),
        (["Authorization: Basic cnNrX3JpZ2h0"], ""),
        ([f"{PAIR}, Bearer wrong"], f"&api_key={TOKEN}"),
        ([f"{PAIR}, Bearer"], f"&api_key={TOKEN}"),
    ],
)
def test_refused_key(make_server: ServerFactory, lines: list[str], query: str) -> None:
    """Without the right key: upgrade, one error in the gateway's envelope, close 1008."""
    with Raw(make_server(token=TOKEN), *lines, target=f"/v1/realtime?model={MODEL}{query}") as raw:
        assert raw.status == 101
        event = raw.event()
        assert raw.close_code() == 1008

    assert event["error"]["code"] == "invalid_api_key"
    assert "event_id" not in event
    assert event["request_id"].startswith("req_")
    assert TOKEN not in json.dumps(event)


def test_refusal_by_status(make_server: ServerFactory) -> None:
    """The other documented form: no upgrade, 401, the same envelope as a body."""
    with Raw(make_server(token=TOKEN, auth_failure="status")) as raw:
        assert raw.status == 401
        assert raw.header("content-type") == "application/json"
        assert json.loads(raw.body())["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("form", ["frame", "status"])
def test_models(make_server: ServerFactory, form: str) -> None:
    """A server that names its models refuses others; the slash may come as it is or encoded."""
    server = make_server(models=[MODEL], auth_failure=form)
    key = "Authorization: Bearer k"
    with Raw(server, key, target=f"/v1/realtime?model={MODEL.replace('/', '%2F')}") as raw:
        assert raw.event()["session"]["model"] == "gpt-realtime-mini"
    with Raw(server, key, target="/v1/realtime?model=openai/other") as raw:
        if form == "status":
            assert raw.status == 404
            assert json.loads(raw.body())["error"]["code"] == "model_not_found"
        else:
            assert raw.event()["error"]["code"] == "model_not_found"
            assert raw.close_code() == 1008


def test_model_missing(server: LocalServer) -> None:
    """No model: an error frame and a close."""
    with Raw(server, "Authorization: Bearer k", target="/v1/realtime") as raw:
        assert raw.event()["error"]["code"] == "bad_request"
        assert raw.close_code() == 1008


def test_beta_header(server: LocalServer) -> None:
    """The retired protocol ends with close 4000."""
    with Raw(server, "Authorization: Bearer k", "OpenAI-Beta: realtime=v1") as raw:
        assert raw.event()["error"]["code"] == "beta_api_shape_disabled"
        assert raw.close_code() == 4000


def test_other_paths_and_plain_http(server: LocalServer) -> None:
    """Other paths are 404; the right one without an upgrade is 426."""
    with Raw(server, target="/v1/chat") as raw:
        assert raw.status == 404
    with Raw(server, upgrade=False) as raw:
        assert raw.status == 426
        assert raw.header("upgrade") == "websocket"


def test_max_sessions(make_server: ServerFactory) -> None:
    """One session too many is refused; a closed one makes room."""
    server = make_server(max_sessions=1)
    with Plain(server) as first:
        first.expect("session.created")
        with Plain(server) as second:
            events, code = second.rest()
            assert (events[0]["error"]["code"], code) == ("concurrent_sessions_exceeded", 1008)
    assert server.wait_idle(5)
    with Plain(server) as third:
        third.expect("session.created")


def test_max_sessions_by_status(make_server: ServerFactory) -> None:
    """As a status it is 429, with a time to wait."""
    with Raw(make_server(max_sessions=0, auth_failure="status"), "Authorization: Bearer k") as raw:
        assert raw.status == 429
        assert raw.header("retry-after") == "1"


def test_first_frame(make_server: ServerFactory) -> None:
    """``session.created`` comes first, once, with the complete session of protocol.md 3.1."""
    with Plain(make_server(session_limit=600)) as client:
        event = client.expect("session.created")
        client.quiet()

    session = event["session"]
    assert re.fullmatch(r"event_[0-9A-Za-z]{21}", event["event_id"])
    assert re.fullmatch(r"sess_[0-9A-Za-z]{21}", session.pop("id"))
    assert abs(session.pop("expires_at") - time.time() - 600) < 10
    assert isinstance(session.pop("instructions"), str)
    assert session == {
        "type": "realtime",
        "object": "realtime.session",
        "model": "gpt-realtime-mini",
        "output_modalities": ["audio"],
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": None,
                "transcription": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
    }


def test_reasoning_model(server: LocalServer) -> None:
    """Reasoning models show ``reasoning``, and take it."""
    with Plain(server, "model=openai/gpt-realtime-2.1") as client:
        assert client.expect("session.created")["session"]["reasoning"] == {"effort": "low"}
        assert client.update(reasoning={"effort": "high"})["reasoning"] == {"effort": "high"}


def test_client_that_sends_first(server: LocalServer) -> None:
    """Events sent before the first frame was read are answered in order."""
    with Plain(server) as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
        client.send("input_audio_buffer.clear")
        client.expect("session.created")
        client.expect("session.updated")
        client.expect("input_audio_buffer.cleared")


def test_tls(make_server: ServerFactory) -> None:
    """With a certificate the server speaks TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # this client reads and writes at once, and loses a write to a ticket it reads
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = make_server(ssl_context=context)

    assert server.url.startswith("https://127.0.0.1:")
    with Plain(server, ssl=trusting) as client:
        client.expect("session.created")
        client.say("Hello")
        client.respond()


@pytest.mark.parametrize("right", [True, False])
def test_token_is_in_no_log(make_server: ServerFactory, caplog: pytest.LogCaptureFixture, right: bool) -> None:
    """Whichever way the key comes, no log record shows it, at any level."""
    caplog.set_level("DEBUG")
    server = make_server(token=TOKEN if right else "rsk_other")
    for lines, query in (
        ([f"{PAIR}, Bearer {TOKEN}"], ""),
        ([], f"&api_key={TOKEN}"),
        ([f"Authorization: Bearer {TOKEN}"], ""),
    ):
        with Raw(server, *lines, target=f"/v1/realtime?model={MODEL}{query}") as raw:
            assert raw.event()["type"] == ("session.created" if right else "error")
    assert TOKEN not in caplog.text


def test_receive_limit(server: LocalServer) -> None:
    """An append of the documented 15 MiB arrives; one byte more is refused in-band."""
    assert _RECEIVE_LIMIT >= 24 * 1024 * 1024
    longest = 15 * 1024 * 1024
    with Plain(server) as client:
        client.manual()
        client.append(bytes(longest), chunk=longest)
        client.quiet()
        client.append(bytes(longest + 1), chunk=longest + 1)
        assert client.expect("error")["error"]["param"] == "audio"
