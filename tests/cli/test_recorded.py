"""The commands as a shell sees them: results, messages, exit codes, Ctrl-C."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import meshapi_rt
from meshapi_rt import audio_files, pcm
from meshapi_rt.cli import main
from meshapi_rt.local import Audio, Fail, LocalServer, Turn

from ..clock import Stopwatch
from ..faces import CLI, LIMIT, QUESTION, clip, environment, finish, likeness, start
from ..peers import Line, peer

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, pipes and terminals of POSIX")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def short() -> str:
    """Return the name of a recording of 0.5 s in the current folder."""
    return str(clip(Path("short.wav"), 0.5))


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, *, token: str = "local", **options: Any) -> Iterator[LocalServer]:  # noqa: S107
    """Run a local server that the environment names."""
    with LocalServer(**options) as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        monkeypatch.setenv("MESHAPI_TOKEN", token)
        yield server


def failure(capsys: Capture) -> str:
    """Return the one line that says what failed; the lines before it tell progress."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("meshapi-rt: ")] == lines[-1:], lines
    return lines[-1]


# -- talk: what comes of it ---


def test_answer_is_the_question() -> None:
    """Without a token a local server is started; the question takes its real time and comes back."""
    question = clip(Path("question.wav"), 1.0)

    began = time.monotonic()
    code, out, err = finish(start([*CLI, "talk", question, "-o", "answer.wav"], environment(), Path.cwd()))
    took = time.monotonic() - began

    assert code == 0, err
    assert "local server" in err
    assert "1.00 s of audio (saved to answer.wav); first audio" in err.splitlines()[-1]
    assert out == "(1.0 s of speech)\n"
    assert 1.0 <= took < LIMIT / 2
    assert likeness(audio_files.read("answer.wav"), audio_files.read(question)) > 0.9


def test_fast_with_a_token(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """With a token the server that the environment names is asked, as the options say, and the rest is quick."""
    options = ["--model", "openai/gpt-realtime", "--voice", "cedar", "--instructions", "Be kind."]

    with serving(monkeypatch, record=True) as server:
        code = main(["talk", str(QUESTION), "-o", "answer.wav", "--fast", *options])
        sent = [record.event for record in server.transcript if record.sender == "client" and record.event]

    assert code == 0
    assert "local server" not in capsys.readouterr().err
    assert sent[0]["session"] == {
        "type": "realtime",
        "instructions": "Be kind.",
        "audio": {"input": {"turn_detection": None}, "output": {"voice": "cedar"}},
    }
    assert [event["type"] for event in sent[-2:]] == ["input_audio_buffer.commit", "response.create"]
    assert likeness(audio_files.read("answer.wav"), audio_files.read(QUESTION)) > 0.99


def test_model_reaches_the_server(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """--model is what is asked for; a model that the server lacks is told in one line."""
    with serving(monkeypatch, models=["openai/gpt-realtime"]):
        assert main(["talk", short, "--fast", "--model", "openai/gpt-realtime"]) == 0
        capsys.readouterr()
        assert main(["talk", short, "--fast"]) == 1

    assert "model_not_found" in failure(capsys)


def test_json_lines(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    """With --json every line of stdout is an event, audio as on the wire, whatever the console's encoding."""
    env = environment(PYTHONIOENCODING="ascii")
    code, out, err = finish(start([*CLI, "talk", short, "--fast", "--json", "-o", "a.wav"], env, Path.cwd()))

    events = [json.loads(line) for line in out.splitlines()]
    audio = b"".join(base64.b64decode(event["delta"]) for event in events if "output_audio.delta" in event["type"])
    assert code == 0, err
    assert (events[0]["type"], "response.done" in [event["type"] for event in events]) == ("session.created", True)
    assert audio == audio_files.read("a.wav").tobytes()
    assert "first audio" in err


def test_json_is_the_wire(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """An event that a server spreads over lines, beyond ASCII, becomes one line with the same content."""
    odd = {"type": "x.odd", "text": "é\u2028😀\n", "more": [1.50]}

    def script(line: Line) -> None:
        line.greet()
        line.send_frame(1, json.dumps(odd, indent=1, ensure_ascii=False).encode())
        line.send_frame(1, b"no event")
        serve_answer(line, response("completed"))

    assert talk_with(script, monkeypatch, [short, "--fast", "--json"]) == 0

    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert told.out.isascii()
    assert json.loads(lines[1]) == odd
    assert "a frame that is no event is left out" in told.err


def test_in_the_middle_of_a_pipe(short: str) -> None:
    """A recording comes from standard input; the transcript goes alone to stdout; nothing is drawn anywhere."""
    run = subprocess.run(
        [*CLI, "talk", "--fast", "-o", "answer.wav"],
        input=Path(short).read_bytes(),
        capture_output=True,
        check=False,
        timeout=LIMIT,
        env=environment(),
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == b"(0.5 s of speech)".split()
    assert b"\r" not in run.stderr.replace(b"\r\n", b"\n")
    assert likeness(audio_files.read("answer.wav"), audio_files.read(short)) > 0.99


def test_answer_that_is_not_saved(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """Without -o nothing is written, and the last line says so."""
    with serving(monkeypatch):
        assert main(["talk", short, "--fast"]) == 0

    assert "not saved: -o FILE saves it" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in Path().iterdir()] == [short]


def test_other_rates_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording at another rate is resampled; the answer is 24 kHz mono."""
    audio_files.write("low.wav", pcm.resample(audio_files.read(QUESTION)[:24000], 24000, 16000), rate=16000)

    with serving(monkeypatch):
        assert main(["talk", "low.wav", "--fast", "-o", "answer.wav"]) == 0

    assert audio_files.read("answer.wav").size == pytest.approx(24000, abs=50)
    assert likeness(audio_files.read("answer.wav"), audio_files.read(QUESTION)[:24000]) > 0.9


def test_transcript_a_console_cannot_show(short: str) -> None:
    """Characters that the console lacks become question marks; escape sequences do not reach it."""
    code = (
        "import functools, sys\n"
        "from meshapi_rt import cli, local\n"
        "say = lambda turn: 'h\\u00e9 \\U0001f600 \\x1b[31mred'\n"
        "local.LocalServer = functools.partial(local.LocalServer, responder=say)\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    env = environment(PYTHONIOENCODING="ascii")

    exit_code, out, err = finish(start([sys.executable, "-c", code, "talk", short, "--fast"], env, Path.cwd()))

    assert (exit_code, out) == (0, "h? ? ?[31mred\n"), err


@posix
def test_live_meter(short: str) -> None:
    """On a terminal one line shows time and level again and again, and fits into it."""
    import pty

    ours, theirs = pty.openpty()
    env = environment(COLUMNS="70", TERM="xterm")
    program = subprocess.Popen(
        [*CLI, "talk", short], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: EIO at the end
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)

    assert finish(program)[:2] == (0, "(0.5 s of speech)\n")
    pictures = [line for line in shown.decode().split("\r") if line.startswith("sending")]
    assert len(pictures) > 3
    assert "0.5 of 0.5 s  |" in pictures[-1]
    assert all("dBFS" in line or "silence" in line for line in pictures[1:])
    assert max(map(len, pictures)) < 70


# -- talk: what goes wrong ---


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["talk", "--nope"],
        ["talk", "x.wav", "--timeout", "0"],
        ["talk", "x.wav", "--timeout", "soon"],
        ["talk", "x.wav", "-o", "-"],
        ["talk", "x.wav", "-o", "answer.mp3"],
        ["talk", "x.wav", "y.wav"],
        ["talk", "x.wav", "--token", "secret"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage(capsys: Capture, arguments: list[str]) -> None:
    """Wrong usage is exit code 2 and a usage line."""
    assert main(arguments) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("usage: meshapi-rt")


def _refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.wav"], "missing.wav"),
        (["bad.wav"], "bad.wav"),
        (["empty.wav"], "0.000 s"),
        (["folder"], "folder"),
        (["good.wav", "-o", "nowhere/answer.wav"], "there is no folder nowhere"),
        (["good.wav", "-o", "folder"], "it is a folder"),
        (["good.wav", "--base-url", "http://127.0.0.1:{port}"], "no connection"),
        (["good.wav", "--base-url", "https://no-such-host.invalid"], "MESHAPI_TOKEN"),
        (["good.wav", "--base-url", "nonsense"], "base_url must look like"),
        (["good.wav", "--base-url", "http://[bad"], "base_url"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
def test_failure_in_one_line(capsys: Capture, arguments: list[str], told: str) -> None:
    """A failure is exit code 1 and one line."""
    clip(Path("good.wav"), 0.2)
    Path("bad.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt nonsense" * 3)
    audio_files.write("empty.wav", b"")
    Path("folder").mkdir()

    arguments = [argument.format(port=_refusing_port()) for argument in arguments]
    assert main(["talk", *arguments, "--fast"]) == 1

    assert told in failure(capsys)


@pytest.mark.parametrize("form", ["frame", "status"])
def test_wrong_token(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str, form: Literal["frame", "status"]
) -> None:
    """A refused token is told by its code, and not shown, not even with --debug."""
    monkeypatch.setenv("MESHAPI_TOKEN", "rsk_the-wrong-one")
    with LocalServer(token="rsk_the-right-one", auth_failure=form) as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        assert main(["talk", short, "--fast"]) == 1
        line = failure(capsys)
        assert main(["talk", short, "--fast", "--debug"]) == 1
        told = capsys.readouterr()

    assert "invalid_api_key" in line
    assert "Traceback" in told.err
    assert "rsk_" not in (line + told.out + told.err).replace("(rsk_...)", "")


def test_placeholder_token_for_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """A server on this machine needs no token to be named."""
    with LocalServer() as server:
        assert main(["talk", short, "--fast", "--base-url", server.url]) == 0
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        assert main(["talk", short, "--fast"]) == 0

    assert server.connections_total == 2


def test_no_room_for_a_session(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """A server that refuses the session is quoted."""
    with serving(monkeypatch, max_sessions=0):
        assert main(["talk", short, "--fast"]) == 1

    assert "concurrent_sessions_exceeded" in failure(capsys)


def test_refused_settings(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """An error that answers what was sent ends the run."""
    with serving(monkeypatch):
        assert main(["talk", short, "--fast", "--voice", "nobody"]) == 1

    assert "session.audio.output.voice" in failure(capsys)


def test_failed_answer(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """An answer that fails half-way is told in one line, and what came is saved."""

    def responder(turn: Turn) -> Iterator[Any]:
        yield Audio(np.ones(24000, np.int16), "half a")
        yield Fail("rate_limit_exceeded", "Slow\ndown.")

    with serving(monkeypatch, responder=responder):
        assert main(["talk", short, "--fast", "-o", "answer.wav"]) == 1

    told = capsys.readouterr()
    assert told.out == "half a\n"
    assert told.err.splitlines()[-1] == "meshapi-rt: the answer is failed: rate_limit_exceeded: Slow down."
    assert audio_files.read("answer.wav").size == 24000


def test_answer_without_audio(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """An answer without audio or transcript says so; it fails only where the audio was wanted."""
    with serving(monkeypatch, responder=lambda _: []):
        assert main(["talk", short, "--fast"]) == 0
        told = capsys.readouterr().err
        assert main(["talk", short, "--fast", "-o", "answer.wav"]) == 1

    assert "no transcript" in told
    assert "answer.wav was not written" in failure(capsys)
    assert not Path("answer.wav").exists()


# -- talk: servers of all sorts ---


def response(status: str, **details: Any) -> dict[str, Any]:
    """Return a response.done event."""
    return {"type": "response.done", "response": {"status": status, "status_details": details or None}}


def serve_answer(line: Line, *events: dict[str, Any]) -> None:
    """Behave as a server does until the question is asked; answer with *events*."""
    assert line.read_event()["type"] == "session.update"
    line.send({"type": "session.updated", "session": {}})
    while line.read_event()["type"] != "response.create":
        pass
    line.send(*events)
    line.serve_until_close()


def talk_with(script: Callable[[Line], object], monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    """Run `talk` against a scripted server."""
    monkeypatch.setenv("MESHAPI_TOKEN", "rsk_test")
    with peer(script) as server:
        return main(["talk", *arguments, "--base-url", server.url])


def answering(*events: dict[str, Any]) -> Callable[[Line], None]:
    """Return the script of a server with this answer."""

    def script(line: Line) -> None:
        line.greet()
        serve_answer(line, *events)

    return script


def audio(data: bytes) -> dict[str, Any]:
    """Return an audio delta."""
    return {"type": "response.output_audio.delta", "delta": base64.b64encode(data).decode()}


def test_odd_edges_and_broken_pieces(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """Deltas may end inside a sample; a broken one is told, and the rest is kept."""
    broken = {"type": "response.output_audio.delta", "delta": "no base64!"}
    script = answering(audio(b"\1\0\2"), broken, audio(b"\0\3\0"), response("completed"))

    assert talk_with(script, monkeypatch, [short, "--fast", "-o", "answer.wav"]) == 0

    assert audio_files.read("answer.wav").tolist() == [1, 2, 3]
    assert "a piece of the audio is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([response("incomplete", reason="max_output_tokens")], "the answer is incomplete: max_output_tokens"),
        ([response("cancelled", reason="turn_detected")], "the answer is cancelled: turn_detected"),
        ([{"type": "response.done", "response": None}], "the answer is None"),
        (
            [{"type": "error", "error": {"type": "invalid_request_error", "code": None, "message": "no"}}],
            "invalid_request_error: no",
        ),
        ([{"type": "error", "error": {"code": "c", "message": "no\r\n\x1b[0m", "event_id": "x"}}], "c: no ?[0m"),
    ],
)
def test_bad_end_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str, events: list[dict[str, Any]], told: str
) -> None:
    """Whatever a server says, the failure is one printable line."""
    assert talk_with(answering(*events), monkeypatch, [short, "--fast"]) == 1

    assert told in failure(capsys)


def test_error_that_answers_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """An error that is about nothing that was sent is told, and the answer still comes."""
    hiccup = {"type": "error", "error": {"type": "server_error", "code": "hiccup", "message": "wait"}}

    assert talk_with(answering(hiccup, audio(b"\1\0"), response("completed")), monkeypatch, [short, "--fast"]) == 0

    assert "the server reports hiccup: wait" in capsys.readouterr().err


def test_terminal_error(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """An error that ends the session is told once, although the server closes after it."""
    error = {"type": "error", "error": {"code": "insufficient_quota", "message": "empty"}, "request_id": "req_7"}

    def script(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send(error)
        line.send_close(4402)
        line.serve_until_close()

    assert talk_with(script, monkeypatch, [short, "--fast"]) == 1

    told = failure(capsys)
    assert told.count("insufficient_quota") == 1
    assert "req_7" in told


def test_real_time_has_no_drift(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    """Pieces of 100 ms or less come when a microphone would have them, each measured from the first."""
    arrivals: list[tuple[float, float]] = []  # seconds since the session was configured, seconds of audio in all

    def script(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send({"type": "session.updated", "session": {}})
        began, spoken = time.monotonic(), 0.0
        while "audio" in (event := line.read_event()):
            spoken += pcm.duration(base64.b64decode(event["audio"]))
            arrivals.append((time.monotonic() - began, spoken))
        line.send(audio(b"\1\0"), response("completed"))
        line.serve_until_close()

    with Stopwatch() as watch:
        assert talk_with(script, monkeypatch, [short]) == 0

    pieces = np.diff([0.0] + [spoken for _, spoken in arrivals])
    late = [at - spoken for at, spoken in arrivals]
    assert pieces.max() <= 0.1
    assert arrivals[-1][1] == pytest.approx(0.5)
    assert min(late) > -0.02
    assert max(late) - watch.stood_still < 0.5  # a busy machine may delay a piece, but the ones behind it catch up
    assert float(np.median(late)) - watch.stood_still < 0.1


def test_server_gone_in_the_middle(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """A connection that drops in mid-answer is told; what came is saved."""

    def script(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send({"type": "session.updated", "session": {}})
        while line.read_event()["type"] != "response.create":
            pass
        line.send(audio(b"\1\0" * 2400))

    assert talk_with(script, monkeypatch, [short, "--fast", "-o", "answer.wav"]) == 1

    assert "the session is lost" in failure(capsys)
    assert audio_files.read("answer.wav").size == 2400


def test_server_that_closes_early(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """A proper close before the answer is a failure too."""

    def script(line: Line) -> None:
        line.greet()
        line.read_event()
        line.send_close(1000)
        line.serve_until_close()

    assert talk_with(script, monkeypatch, [short, "--fast"]) == 1

    assert "closed the session before it had answered" in failure(capsys)


def test_silent_server(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """--timeout bounds the server's silence."""

    def script(line: Line) -> None:
        line.greet()
        line.serve_until_close()

    assert talk_with(script, monkeypatch, [short, "--fast", "--timeout", "0.2"]) == 1

    assert "said nothing for 0.2 s, and session.updated has not come" in failure(capsys)


# -- the shell's ways ---


def interrupt(program: subprocess.Popen[str]) -> tuple[int, str, float]:
    """Press Ctrl-C; return exit code, stderr and the seconds it took."""
    with Stopwatch() as watch:
        os.killpg(program.pid, signal.SIGINT)
        code, _, err = finish(program)
    return code, err, watch.took


def read_until(program: subprocess.Popen[str], text: str) -> None:
    """Read the lines of stderr until one holds *text*; pytest's own limit ends a wait in vain."""
    assert program.stderr is not None
    while text not in (line := program.stderr.readline()):
        assert line, "it ended before"


@posix
def test_ctrl_c_while_sending() -> None:
    """Ctrl-C in the middle of a question ends at once, without a traceback."""
    program = start([*CLI, "talk", QUESTION], environment(), Path.cwd())
    read_until(program, "sending")

    code, err, took = interrupt(program)

    assert (code, err) == (130, "")
    assert took < 1


@posix
def test_ctrl_c_while_connecting(short: str) -> None:
    """Ctrl-C gets through to a connection that a silent server holds up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        program = start([*CLI, "talk", short, "--base-url", url], environment(), Path.cwd())
        listener.settimeout(LIMIT)
        conversation, _ = listener.accept()
        with conversation:
            code, err, took = interrupt(program)

    assert (code, err) == (130, "")
    assert took < 1


def stop_reading(program: subprocess.Popen[str]) -> tuple[int, str]:
    """Do as `head -c 1` does; return exit code and stderr."""
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.read(1)
    program.stdout.close()
    with program.stderr:
        err = program.stderr.read()
    return program.wait(LIMIT), err


@posix
def test_broken_pipe_ends_quietly() -> None:
    """`talk --json | head` ends without a word where nothing else is wanted."""
    program = start([*CLI, "talk", QUESTION, "--fast", "--json"], environment(), Path.cwd())

    code, err = stop_reading(program)

    assert code in (0, 141)  # 0: all of it fitted into the pipe before the reader left
    assert "rror" not in err
    assert "Traceback" not in err


@posix
def test_broken_pipe_does_not_lose_the_answer() -> None:
    """With -o the answer is saved although nobody reads stdout."""
    program = start([*CLI, "talk", QUESTION, "--fast", "--json", "-o", "answer.wav"], environment(), Path.cwd())

    code, err = stop_reading(program)

    assert code == 0, err
    assert likeness(audio_files.read("answer.wav"), audio_files.read(QUESTION)) > 0.99


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(short: str) -> None:
    """Output that cannot be written is a failure in one line."""
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [*CLI, "talk", short, "--fast"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=LIMIT,
            env=environment(),
        )

    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("meshapi-rt: cannot write to standard output")


def test_missing_extra(short: str) -> None:
    """Without the extra of the local server one sentence says what to install."""
    code = "import sys; sys.modules['websockets'] = None; from meshapi_rt.cli import main; sys.exit(main(sys.argv[1:]))"

    commands = (["talk", short], ["serve"])
    running = [start([sys.executable, "-c", code, *command], environment(), Path.cwd()) for command in commands]

    for program in running:
        exit_code, out, err = finish(program)
        assert (exit_code, out) == (1, "")
        assert err == "meshapi-rt: the local server needs an optional package: pip install 'meshapi-rt[local]'\n"


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """What nobody foresaw is one line too, and names the way to learn more."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("meshapi_rt.cli.talk._client", broken)

    assert main(["talk", short]) == 1

    assert failure(capsys) == (
        "meshapi-rt: ZeroDivisionError: nobody foresaw this (a bug of meshapi-rt: --debug shows where)"
    )


def test_debug_shows_the_log(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """--debug shows what is sent, audio as lengths, for this run only."""
    with serving(monkeypatch):
        assert main(["talk", short, "--fast", "--debug"]) == 0
        told = capsys.readouterr().err
        assert main(["talk", short, "--fast"]) == 0

    assert "sent audio of 24000 bytes" in told
    assert "sent" not in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help(capsys: Capture, option: str) -> None:
    """Both go to stdout and are no failure; a terminal without Unicode can show them."""
    assert main([option]) == 0

    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.isascii()
    assert option != "--version" or told.out == f"meshapi-rt {meshapi_rt.__version__}\n"


# -- serve ---


@posix
def test_serve_until_ctrl_c(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    """The lines that `serve` prints lead `talk` to it; Ctrl-C ends it at once, with a session open, too."""
    program = start([*CLI, "serve", "--port", "0"], environment(), Path.cwd())
    assert program.stdout is not None
    for _ in range(2):
        name, _, value = program.stdout.readline().strip().partition("=")
        monkeypatch.setenv(name, value)

    assert main(["talk", short, "--fast"]) == 0
    with meshapi_rt.MeshAPI().realtime.connect(model="any/model"):
        code, err, took = interrupt(program)

    assert code == 130
    assert "Traceback" not in err
    assert took < 1


def test_serve_on_a_port_in_use(capsys: Capture) -> None:
    """A port in use is one line."""
    with LocalServer() as server:
        assert main(["serve", "--port", server.url.rpartition(":")[2]]) == 1

    assert "cannot listen on 127.0.0.1" in failure(capsys)


@posix
def test_serve_with_a_token(monkeypatch: pytest.MonkeyPatch, capsys: Capture, short: str) -> None:
    """A server with a token of its own takes no other, and does not print it."""
    program = start([*CLI, "serve", "--port", "0", "--token", "rsk_local"], environment(), Path.cwd())
    assert program.stdout is not None
    url = program.stdout.readline().strip().partition("=")[2]

    monkeypatch.setenv("MESHAPI_TOKEN", "rsk_local")
    assert main(["talk", short, "--fast", "--base-url", url]) == 0
    monkeypatch.setenv("MESHAPI_TOKEN", "rsk_other")
    assert main(["talk", short, "--fast", "--base-url", url]) == 1

    assert "invalid_api_key" in failure(capsys)
    assert "rsk_local" not in program.stdout.readline()
    interrupt(program)
