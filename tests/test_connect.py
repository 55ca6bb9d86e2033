"""``connect``: URL, authentication, every way to be refused, the one deadline, and what comes back."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import websocket

import meshapi_rt
from meshapi_rt import (
    MODELS,
    Cancelled,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    ErrorKind,
    MeshAPI,
    RealtimeConnectParams,
    RealtimeError,
)
from meshapi_rt.endpoint import realtime_url

from .clock import Stopwatch
from .conftest import TOKEN, client_of
from .peers import LIMIT, TEXT, Line, frame, orderly, peer, plain

MODEL = "openai/gpt-realtime-mini"


# -- base URLs ---


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.meshapi.ai", "wss://api.meshapi.ai/v1/realtime"),
        ("https://api.meshapi.ai/", "wss://api.meshapi.ai/v1/realtime"),
        ("https://api.meshapi.ai/v1", "wss://api.meshapi.ai/v1/realtime"),
        ("https://api.meshapi.ai/v1/", "wss://api.meshapi.ai/v1/realtime"),
        ("https://api.meshapi.ai/v1/realtime", "wss://api.meshapi.ai/v1/realtime"),
        ("wss://host:8443/some/path", "wss://host:8443/some/path/v1/realtime"),
        ("https://host/some/path/v1", "wss://host/some/path/v1/realtime"),
        ("http://127.0.0.1:8765", "ws://127.0.0.1:8765/v1/realtime"),
        ("ws://localhost:1/v1", "ws://localhost:1/v1/realtime"),
        ("http://[::1]:80", "ws://[::1]:80/v1/realtime"),
        ("https://host?api-version=1", "wss://host/v1/realtime?api-version=1"),
    ],
)
def test_base_urls_end_up_at_the_endpoint(base: str, url: str) -> None:
    """With http or ws, with or without a path or /v1."""
    made = realtime_url(base, {"model": MODEL}, allow_insecure=False)
    glue = "&" if "?" in url else "?"
    assert made == f"{url}{glue}model=openai%2Fgpt-realtime-mini"


@pytest.mark.parametrize(
    "base", ["", "api.meshapi.ai", "ftp://x", "https://", "https://u:p@x", "https://x:0", "http://["]
)
def test_a_base_url_that_cannot_be_meant(base: str) -> None:
    """One sentence, before anything is opened."""
    with pytest.raises(ValueError, match="base_url"):
        MeshAPI(TOKEN, base or "nonsense")


@pytest.mark.parametrize("host", ["api.meshapi.ai", "192.168.1.1", "127.0.0.1.example.com"])
def test_plain_http_is_refused_beyond_this_machine(host: str) -> None:
    """The token would be readable; allow_insecure=True says it is meant."""
    with pytest.raises(ValueError, match="allow_insecure"):
        MeshAPI(TOKEN, f"http://{host}")
    assert MeshAPI(TOKEN, f"http://{host}", allow_insecure=True).base_url == f"http://{host}"


# -- the token ---


def test_a_missing_token_says_how_to_set_it() -> None:
    """One sentence that names the variable."""
    with pytest.raises(ValueError, match="MESHAPI_TOKEN"):
        MeshAPI()


def test_token_and_base_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are not given."""
    with peer(orderly) as running:
        monkeypatch.setenv("MESHAPI_TOKEN", TOKEN)
        monkeypatch.setenv("MESHAPI_BASE_URL", running.url)
        with MeshAPI().realtime.connect(model=MODEL):
            assert TOKEN in running.lines[0].request


@pytest.mark.parametrize("token", ["", " rsk_x", "rsk_x\n", "rsk_ä", 7, "a\tb"])
def test_a_token_that_was_copied_badly(token: Any) -> None:
    """Told without showing it."""
    with pytest.raises(ValueError, match="token") as caught:
        MeshAPI(token, "https://x")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = repr([frame.locals for frame in _all_frames(shown) if "meshapi_rt" in frame.filename])
    assert "rsk_x" not in f"{text} {caught.value}"


def refusals() -> dict[str, Callable[[Line], object]]:
    """Return servers that repeat the token wherever they can."""
    body = json.dumps({"error": {"code": "invalid_api_key", "message": f"bad {TOKEN}"}}).encode()
    error = {"type": "error", "error": {"code": "invalid_api_key", "message": f"bad {TOKEN}"}}

    def first_frame(line: Line) -> None:
        line.upgrade()
        line.send(error)
        line.send_close(1008, TOKEN)

    hidden = body.replace(b"rsk_", b"rsk\\u005f")
    return {
        "reason": lambda line: line.refuse(f"401 no {TOKEN} here", body, f"X-Request-Id: req-{TOKEN}"),
        "escaped body": lambda line: line.refuse("401 Unauthorized", hidden),
        "body": lambda line: line.refuse("401 Unauthorized", body),
        "redirect": lambda line: line.refuse("302 Found", b"", f"Location: https://elsewhere/?api_key={TOKEN}"),
        "subprotocol": lambda line: line.upgrade(f"Sec-WebSocket-Protocol: Bearer {TOKEN}"),
        "first frame": first_frame,
        "no handshake": lambda line: (line.read_request(), line.sock.sendall(b"HTTP/1.1 101 OK\r\nno colon\r\n\r\n")),
        "no HTTP": lambda line: (line.read_request(), line.sock.sendall(b"SSH-2.0\r\n")),
        "gone": lambda line: line.read_request(),
    }


@pytest.mark.parametrize("auth", ["subprotocol", "query", "header"])
@pytest.mark.parametrize("how", list(refusals()))
def test_the_token_shows_nowhere(how: str, auth: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a message, a traceback with local variables, a log (with websocket-client's trace on), or a pickle."""
    caplog.set_level(logging.DEBUG)
    websocket.enableTrace(True, handler=logging.NullHandler())
    try:
        with peer(refusals()[how]) as running:
            client = client_of(running, auth=auth)
            with pytest.raises(ConnectError) as caught:
                client.realtime.connect(model=MODEL)
            assert TOKEN in running.lines[0].request
    finally:
        websocket.enableTrace(False)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in _all_frames(shown) if "meshapi_rt" in frame.filename or "websocket" in frame.filename]
    assert frames
    text = repr([(frame.locals, frame.line) for frame in frames])
    text += f"{caught.value} {caught.value!r} {pickle.dumps(caught.value)!r} {caplog.text} {client!r} {vars(client)!r}"
    assert TOKEN not in text


def _all_frames(shown: traceback.TracebackException | None) -> list[traceback.FrameSummary]:
    if shown is None:
        return []
    return [*shown.stack, *_all_frames(shown.__cause__), *_all_frames(shown.__context__)]


def test_clients_sessions_and_tokens_are_not_pickled() -> None:
    """Each refusal is one sentence."""
    with peer(orderly) as running, client_of(running) as client:
        for thing in (client, client.realtime.connect(model=MODEL)):
            with pytest.raises(TypeError, match="pickled"):
                pickle.dumps(thing)


# -- the request ---


def request_of(auth: Any, **settings: Any) -> Line:
    with peer(orderly) as running:
        client_of(running, auth=auth).realtime.connect(model=MODEL, **settings).close()
        return running.lines[0]


def test_subprotocol_authentication() -> None:
    """The pair is offered; the key is not in the URL."""
    line = request_of("subprotocol")
    assert line.header("Sec-WebSocket-Protocol") == [f"openai-realtime, Bearer {TOKEN}"]
    assert TOKEN not in line.request.split("\r\n")[0]


def test_query_authentication() -> None:
    """The key is in the URL, the protocol is offered."""
    line = request_of("query")
    query = parse_qs(urlsplit(line.request.split(" ")[1]).query)
    assert query == {"model": [MODEL], "api_key": [TOKEN]}
    assert line.header("Sec-WebSocket-Protocol") == ["openai-realtime"]


def test_header_authentication() -> None:
    """The key is in the header, no protocol is offered."""
    line = request_of("header")
    assert line.header("Authorization") == [f"Bearer {TOKEN}"]
    assert line.header("Sec-WebSocket-Protocol") == []


def test_headers_and_query_of_the_caller() -> None:
    """They are added; ours is there; Origin, cookies and the beta header are not."""
    line = request_of("query", headers={"X-Trace": "7", "Cookie": "mine=1"}, query={"intent": "transcription"})
    assert line.header("X-Trace") == ["7"]
    assert line.header("Cookie") == ["mine=1"]
    assert line.header("X-MeshAPI-SDK") == [f"python/{meshapi_rt.__version__}"]
    assert line.header("Origin") == line.header("OpenAI-Beta") == []
    assert "intent=transcription" in line.request.split("\r\n")[0]


def test_cookies_are_neither_kept_nor_sent() -> None:
    """websocket-client's process-wide jar stays out of it."""

    def script(line: Line) -> None:
        line.greet("Set-Cookie: a=b; domain=127.0.0.1")
        line.serve_until_close()

    with peer(script) as running:
        for _ in range(2):
            client_of(running).realtime.connect(model=MODEL).close()
        assert running.lines[1].header("Cookie") == []


@pytest.mark.parametrize(
    "headers",
    [{"a b": "c"}, {"X": "a\r\nb"}, {"Upgrade": "x"}, {"Sec-WebSocket-Key": "x"}, {"OpenAI-Beta": "realtime=v1"}],
)
def test_headers_that_would_break_the_handshake(headers: dict[str, str]) -> None:
    """Refused before anything is opened."""
    with pytest.raises(ValueError, match="header"):
        MeshAPI(TOKEN).realtime.connect(model=MODEL, headers=headers)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": ""},
        {"model": 7},
        {"auth": "basic"},
        {"timeout": -1},
        {"timeout": "soon"},
        {"ping_interval": 0},
        {"audio_frames": "mp3"},
        {"max_unread_bytes": 0},
        {"headers": ["a"]},
        {"proxy": "socks5://localhost:1"},
        {"proxy": 7},
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, Any]) -> None:
    """Each is named in one sentence, and nothing is opened."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        MeshAPI(TOKEN).realtime.connect(**{"model": MODEL, **settings})


def test_connect_takes_params_or_keywords() -> None:
    """The Go shape too; not both, and nothing unknown."""
    with peer(orderly) as running, client_of(running) as client:
        with client.realtime.connect(RealtimeConnectParams(model=MODELS.GPT_REALTIME_MINI)) as session:
            assert session.model == MODEL
        with pytest.raises(TypeError, match="not both"):
            client.realtime.connect(RealtimeConnectParams(model=MODEL), timeout=1)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="voice"):
            client.realtime.connect(model=MODEL, voice="alloy")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="needs a model"):
            client.realtime.connect()  # type: ignore[call-overload]


def test_models_are_plain_strings() -> None:
    """Each member equals and prints as its id."""
    assert f"{MODELS.GPT_REALTIME_MINI}" == str(MODELS.GPT_REALTIME_MINI) == MODEL == MODELS.GPT_REALTIME_MINI
    assert json.dumps(list(MODELS)).count("openai/") == len(MODELS)


# -- the answer ---


@pytest.mark.parametrize("echo", [(), ("Sec-WebSocket-Protocol: openai-realtime",)])
def test_the_echo_of_the_subprotocol_is_optional(echo: tuple[str, ...]) -> None:
    """Missing is accepted, and so is the one that was offered."""

    def script(line: Line) -> None:
        line.greet(*echo)
        line.serve_until_close()

    with peer(script) as running:
        client_of(running).realtime.connect(model=MODEL).close()


@pytest.mark.parametrize(("auth", "echo"), [("subprotocol", "chat"), ("header", "openai-realtime")])
def test_another_subprotocol_is_an_error(auth: Any, echo: str) -> None:
    """Than offered."""

    def script(line: Line) -> None:
        line.greet(f"Sec-WebSocket-Protocol: {echo}")

    with peer(script) as running, pytest.raises(ConnectError, match="subprotocol"):
        client_of(running, auth=auth).realtime.connect(model=MODEL)


GATEWAY_BODY = b'{"error": {"code": "some_code", "message": "some words", "param": "p"}, "request_id": "req_7"}'


@pytest.mark.parametrize(
    ("status", "says", "kind"),
    [
        ("400 Bad Request", 'auth="header"', ErrorKind.FATAL),
        ("401 Unauthorized", "token", ErrorKind.FATAL),
        ("402 Payment Required", "credit", ErrorKind.FATAL),
        ("403 Forbidden", "permission", ErrorKind.FATAL),
        ("404 Not Found", "base URL", ErrorKind.FATAL),
        ("426 Upgrade Required", "upgrade", ErrorKind.FATAL),
        ("429 Too Many Requests", "later", ErrorKind.RECONNECTABLE),
        ("500 Internal Server Error", "later", ErrorKind.RECONNECTABLE),
        ("503 Service Unavailable", "later", ErrorKind.RECONNECTABLE),
    ],
)
def test_an_http_refusal_says_what_to_do(status: str, says: str, kind: ErrorKind) -> None:
    """With any body, or none."""
    for body in (b"", b"<html>no JSON</html>", b"[1]", b'{"error":"words"}', b"\xff\xfe"):
        with peer(lambda line, body=body: line.refuse(status, body)) as running:  # type: ignore[misc]
            with pytest.raises(ConnectRefused, match=says) as caught:
                client_of(running).realtime.connect(model=MODEL)
        assert caught.value.status == int(status[:3])
        assert caught.value.kind is kind
        assert isinstance(caught.value, (RealtimeError, ConnectionError))


def test_an_http_refusal_carries_the_servers_error() -> None:
    """Code, message, param, request id and Retry-After."""
    with peer(lambda line: line.refuse("429 Too Many", GATEWAY_BODY, "Retry-After: 7")) as running:
        with pytest.raises(ConnectRefused, match="some words") as caught:
            client_of(running).realtime.connect(model=MODEL)
    error = caught.value
    assert (error.code, error.message, error.param) == ("some_code", "some words", "p")
    assert (error.request_id, error.retry_after) == ("req_7", 7.0)


def test_a_chunked_error_body_is_read() -> None:
    """As proxies and clouds send it."""

    def script(line: Line) -> None:
        line.read_request()
        head = b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (GATEWAY_BODY[:9], GATEWAY_BODY[9:]))
        line.sock.sendall(head + chunks + b"0\r\n\r\n")
        line.stopping.wait(LIMIT)

    with peer(script) as running, pytest.raises(ConnectRefused, match="some words"):
        client_of(running).realtime.connect(model=MODEL)


def test_an_error_body_that_never_ends_does_not_eat_the_deadline() -> None:
    """The status is told within about a second."""

    def script(line: Line) -> None:
        line.read_request()
        line.sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nonly this")
        line.stopping.wait(LIMIT)

    with peer(script) as running:
        with Stopwatch() as watch, pytest.raises(ConnectRefused) as caught:
            client_of(running).realtime.connect(model=MODEL)
        assert caught.value.status == 403
        assert watch.took < 2


def test_redirects_are_not_followed() -> None:
    """They are named."""
    with peer(orderly) as other, peer(lambda line: line.refuse("307 X", b"", f"Location: {other.url}/y")) as running:
        with pytest.raises(ConnectError, match=r"redirects are not followed") as caught:
            client_of(running).realtime.connect(model=MODEL)
        assert other.url in str(caught.value)
        assert caught.value.status == 307
        assert not other.lines


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 X\r\n" + b"A: " + b"x" * 100_000,
        b"",
    ],
)
def test_an_answer_that_is_no_handshake(answer: bytes) -> None:
    """One sentence each, never a library's exception."""

    def script(line: Line) -> None:
        line.read_request()
        line.sock.sendall(answer)

    with peer(script) as running, pytest.raises(ConnectError, match="base URL"):
        client_of(running).realtime.connect(model=MODEL)


# -- the first frame ---


def test_an_error_as_first_frame_refuses_the_session() -> None:
    """With its code, the close code, and both base classes."""

    def script(line: Line) -> None:
        line.upgrade()
        line.send({"type": "error", "error": {"code": "model_not_found", "message": "no x"}, "request_id": "req_1"})
        line.send_close(1008)
        line.serve_until_close()

    with peer(script) as running:
        with pytest.raises(ConnectRefused, match="check the model id") as caught:
            client_of(running).realtime.connect(model="x")
    error = caught.value
    assert (error.code, error.message, error.request_id, error.close_code) == ("model_not_found", "no x", "req_1", 1008)
    assert error.kind is ErrorKind.FATAL
    assert isinstance(error, RealtimeError)
    assert isinstance(error, ConnectionError)


def test_an_error_as_first_frame_without_a_close_refuses_within_a_second() -> None:
    """The close is waited for, but not longer."""

    def script(line: Line) -> None:
        line.upgrade()
        line.send({"type": "error", "error": {"code": "x", "message": "y"}})
        line.stopping.wait(LIMIT)

    with peer(script) as running:
        with Stopwatch() as watch, pytest.raises(ConnectRefused):
            client_of(running).realtime.connect(model="x")
        assert watch.elapsed > 0.9
        assert watch.took < 1.5


@pytest.mark.parametrize("code", [None, 1008, 1011])
def test_an_end_before_the_first_frame(code: int | None) -> None:
    """A ConnectError, with what was seen."""

    def script(line: Line) -> None:
        line.upgrade()
        if code:
            line.send_close(code)

    with peer(script) as running, pytest.raises(ConnectError, match="before its first frame"):
        client_of(running).realtime.connect(model=MODEL)


def test_no_first_frame_within_the_deadline() -> None:
    """A ConnectError that is a TimeoutError, with the caller's number."""

    def script(line: Line) -> None:
        line.upgrade()
        line.stopping.wait(LIMIT)

    with peer(script) as running, pytest.raises(ConnectTimeout, match=r"0.2 s.*first frame"):
        client_of(running).realtime.connect(model=MODEL, timeout=0.2)


def test_without_waiting_connect_returns_after_the_handshake() -> None:
    """wait=False: the first frame, or the refusal, comes to the consumer."""
    go = threading.Event()

    def script(line: Line) -> None:
        line.upgrade()
        assert go.wait(LIMIT)
        line.send({"type": "error", "error": {"code": "model_not_found", "message": "no"}})
        line.send_close(1008)
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model=MODEL, wait=False) as session:
        assert session.id is None
        assert session.settings == {}
        go.set()
        with pytest.raises(RealtimeError):
            session.receive(timeout=LIMIT)


def test_frames_in_one_segment_with_the_handshake() -> None:
    """Nothing that came early is lost."""

    def script(line: Line) -> None:
        line.read_request()
        events = [{"type": "session.created", "session": {"id": "s"}}, *({"type": "x.n", "n": n} for n in range(5000))]
        line.sock.sendall(line.answer_101() + b"".join(frame(TEXT, json.dumps(event).encode()) for event in events))
        line.serve_until_close()

    with peer(script) as running, client_of(running).realtime.connect(model=MODEL) as session:
        assert session.id == "s"
        got = [session.receive(timeout=LIMIT) for _ in range(5001)]
        assert [plain(m)["n"] for m in got[1:]] == list(range(5000))


# -- the deadline ---


def test_a_refusal_is_waited_for_within_the_deadline_and_cancelled() -> None:
    """The patience for the close behind an error is part of both."""

    def script(line: Line) -> None:
        line.upgrade()
        line.send({"type": "error", "error": {"code": "x", "message": "y"}})
        line.stopping.wait(LIMIT)

    cancel = threading.Event()
    timer = threading.Timer(0.2, cancel.set)
    with peer(script) as running:
        with Stopwatch() as watch, pytest.raises(ConnectRefused):
            client_of(running).realtime.connect(model=MODEL, timeout=0.3)
        assert watch.took < 0.6
        timer.start()
        with pytest.raises(Cancelled):
            client_of(running).realtime.connect(model=MODEL, cancel=cancel)
        timer.join()


def test_an_address_that_does_not_exist() -> None:
    """A literal that no interface has."""
    with pytest.raises(ConnectError):
        MeshAPI(TOKEN, "https://[fe80::1%25nosuch]:1").realtime.connect(model=MODEL, timeout=2)


def test_a_password_in_the_base_url_is_not_shown() -> None:
    """Whatever else is wrong with it."""
    with pytest.raises(ValueError, match="user name") as caught:
        MeshAPI(TOKEN, "ftp://user:pa55word@host")
    assert "pa55word" not in str(caught.value)


def test_a_token_in_place_of_the_base_url_is_not_shown() -> None:
    """They are easily mixed up."""
    for mistaken in (TOKEN, f"https://{TOKEN} ", f"wss:{TOKEN}"):
        with pytest.raises(ValueError, match="must look like") as caught:
            MeshAPI("https://api.meshapi.ai", mistaken)
        assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(MeshAPI(TOKEN, f"https://api.meshapi.ai?token={TOKEN}"))


def dripping(line: Line) -> None:
    """Send the answer a byte at a time, each in time, all together never."""
    line.read_request()
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Drip: 1\r\n" * 1000:
        line.sock.sendall(bytes([byte]))
        if line.stopping.wait(0.02):
            return


def mute(line: Line) -> None:
    """Accept, and nothing else."""
    line.stopping.wait(LIMIT)


@pytest.mark.parametrize("script", [dripping, mute])
@pytest.mark.parametrize("secure", [False, True])
def test_one_deadline_over_every_byte(script: Callable[[Line], object], secure: bool) -> None:
    """A server that drips, or says nothing, cannot hold connect() longer than its timeout."""
    with peer(script) as running:
        client = MeshAPI(TOKEN, running.url.replace("http", "https") if secure else running.url)
        with Stopwatch() as watch, pytest.raises(ConnectError) as caught:
            client.realtime.connect(model=MODEL, timeout=0.3)
        assert watch.took < 0.6
        if script is mute:
            assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("script", [dripping, mute])
def test_connect_can_be_cancelled(script: Callable[[Line], object]) -> None:
    """Within 50 ms of the event being set."""
    with peer(script) as running:
        cancel, watch = threading.Event(), Stopwatch()

        def later() -> None:
            watch.start()
            cancel.set()

        timer = threading.Timer(0.15, later)
        with watch, pytest.raises(Cancelled):
            timer.start()
            client_of(running).realtime.connect(model=MODEL, cancel=cancel)
        assert watch.took < 0.05
        timer.join()


def test_a_name_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Getaddrinfo cannot be interrupted; connect() ends in time all the same."""
    release = threading.Event()

    def stuck(*_: object, **__: object) -> list[object]:
        release.wait(LIMIT)
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    with Stopwatch() as watch, pytest.raises(ConnectTimeout, match=r"looking up some\.host"):
        MeshAPI(TOKEN, "https://some.host").realtime.connect(model=MODEL, timeout=0.2)
    assert watch.took < 1.0
    release.set()


def test_an_unknown_name() -> None:
    """One sentence that names it."""
    with pytest.raises(ConnectError, match=r"no-such-host\.invalid cannot be resolved"):
        MeshAPI(TOKEN, "https://no-such-host.invalid").realtime.connect(model=MODEL)


def test_nobody_listens() -> None:
    """One sentence that names address and reason."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match=rf"127\.0\.0\.1:{port}.*refused"):
        MeshAPI(TOKEN, f"http://127.0.0.1:{port}").realtime.connect(model=MODEL)


def test_a_dead_first_address_does_not_eat_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address is tried after 250 ms (RFC 8305)."""
    # A listener whose backlog is full drops further SYNs, as a dead address does.
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    dead.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(dead.getsockname())
        fillers.append(filler)
    with peer(orderly) as running:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", dead.getsockname()),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", running.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with Stopwatch() as watch:
            session = MeshAPI(TOKEN, f"http://localhost:{running.port}").realtime.connect(model=MODEL, timeout=5)
        session.close()
        assert watch.took < 2
    for sock in (dead, *fillers):
        sock.close()
