"""`talk --live` without a terminal: recordings as devices, lines from a pipe, and what goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshapi_rt import DeviceError, audio_files, pcm
from meshapi_rt.cli import main
from meshapi_rt.devices import FileMicrophone, FileSpeaker, cards
from meshapi_rt.local import Audio, Drop, Fail, Faults, LocalServer, Refuse, Text, Turn

from ..faces import CLI, LIMIT, clip, environment, finish, likeness, start
from ..peers import Line, peer

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")

LIVE = (*CLI, "talk", "--live")
TEXT_ONLY = ("--microphone", "none", "--speaker", "none")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def talk(arguments: tuple[str, ...], typed: str = "", server: LocalServer | None = None) -> tuple[int, str, str]:
    """Run a conversation with lines from a pipe; return exit code, stdout and stderr."""
    run = subprocess.run(
        [*LIVE, *arguments], input=typed, capture_output=True, text=True, check=False, timeout=LIMIT,
        env=environment(server),
    )  # fmt: skip
    return run.returncode, run.stdout, run.stderr


def sent(server: LocalServer, *types: str) -> list[Any]:
    """Return the events of some types that a server got."""
    events = [record.event for record in server.transcript if record.sender == "client" and record.event]
    return [event for event in events if event["type"] in types]


# -- what comes of it ---


def test_a_recording_is_answered() -> None:
    """A recording is heard, its answer is played into a file, and then the conversation ends by itself."""
    question = clip(Path("question.wav"), 0.9)

    code, out, err = talk(("--microphone", str(question), "--speaker", "answer.wav"))

    assert code == 0, err
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["you", "agent"]
    assert "of speech)" in lines[1]
    assert "a local server" in err
    assert "microphone: question.wav; speaker: answer.wav" in err
    assert "1 answer, first audio after" in err.splitlines()[-1]
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    assert likeness(audio_files.read("answer.wav"), audio_files.read(question)) > 0.9


def test_lines_are_said_one_after_the_other() -> None:
    """Lines of a pipe wait until the answer before was heard; without speaker and microphone all is text."""
    with LocalServer(record=True) as server:
        code, out, err = talk(TEXT_ONLY, "one\n\n  q \nthree, without an end", server)
        updates = sent(server, "session.update")

        assert code == 0, err
        assert out.splitlines() == ["you: one", "agent: one", "you: q", "agent: q"] + [
            f"{side}: three, without an end" for side in ("you", "agent")
        ]
        assert updates[0]["session"]["output_modalities"] == ["text"]
        assert sent(server, "input_audio_buffer.append", "response.cancel") == []
    assert "local server" not in err


def test_lines_are_answered_aloud() -> None:
    """Lines need no microphone; the latency of each answer goes to stderr."""
    code, out, err = talk(("--microphone", "none", "--speaker", "answer.wav"), "one two\nthree\n")

    assert (code, len(out.splitlines())) == (0, 4), err
    assert sum(line.startswith("first audio after ") for line in err.splitlines()) == 2
    assert pcm.duration(audio_files.read("answer.wav")) > 0.5


def test_json_lines() -> None:
    """With --json standard output has the server's events, and nothing else."""
    code, out, err = talk((*TEXT_ONLY, "--json"), "hello\n")

    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert code == 0, err
    assert kinds[0] == "session.created"
    assert "response.done" in kinds


@pytest.mark.parametrize(
    ("options", "detection"),
    [([], "server_vad"), (["--semantic-vad"], "semantic_vad")],
)
def test_options_reach_the_server(options: list[str], detection: str) -> None:
    """Model, voice, instructions and the way of taking turns are what was asked for."""
    clip(Path("question.wav"), 0.2)
    more = ["--model", "openai/gpt-realtime", "--voice", "cedar", "--instructions", "Be kind."]
    with LocalServer(record=True, models=["openai/gpt-realtime"]) as server:
        code, _, err = talk(("--microphone", "question.wav", "--speaker", "a.wav", *more, *options), "", server)
        (update,) = sent(server, "session.update")

    assert code == 0, err
    assert update["session"]["instructions"] == "Be kind."
    assert update["session"]["audio"]["output"]["voice"] == "cedar"
    assert update["session"]["audio"]["input"]["turn_detection"]["type"] == detection


def test_interrupted_answers_are_marked() -> None:
    """An answer that the user talks over shows what was heard of it, as an estimate."""
    sound = audio_files.read(clip(Path("clip.wav"), 0.6))
    audio_files.write("twice.wav", np.concatenate((sound, np.zeros(36_000, np.int16), sound)))

    def responder(turn: Turn) -> Iterator[Any]:
        yield Audio(np.full(96_000, 3000, np.int16), "a story of ten words that takes four seconds")

    with LocalServer(responder=responder) as server:
        code, out, err = talk(("--microphone", "twice.wav", "--speaker", "a.wav"), "", server)

    assert code == 0, err
    answers = [line for line in out.splitlines() if line.startswith("agent:")]
    assert answers[0].startswith("agent: a")
    assert answers[0].endswith("[interrupted about here]")
    assert answers[1] == "agent: a story of ten words that takes four seconds"
    assert "interruptions: 1" in err.splitlines()[-1]


# -- what goes wrong ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--live", "x.wav"], "--microphone x.wav"),
        (["--live", "-o", "a.wav"], "--speaker a.wav"),
        (["--live", "--fast"], "--fast"),
        (["--live", "--push-to-talk"], "needs a terminal"),
        (["--live", "--push-to-talk", "--semantic-vad"], "not allowed with"),
        (["--live", *TEXT_ONLY, "--semantic-vad"], "no speech"),
        (["--live", *TEXT_ONLY, "--voice", "alloy"], "no --voice"),
        (["--live", "--headphones", "--speaker", "a.wav"], "hears no echo"),
        (["--live", "--speaker", "a.mp3"], "name it a.wav"),
        (["--live", "--microphone", ""], "takes the name"),
        (["--live", "--microphone", "q.wav", "--speaker", "./q.wav"], "cannot be both"),
        (["q.wav", "--headphones", "--speaker", "1"], "--speaker, --headphones: for conversations; add --live"),
    ],
    ids=" ".join,
)
def test_wrong_usage(capsys: Capture, arguments: list[str], told: str) -> None:
    """What cannot be meant is refused with what to do, as wrong usage."""
    clip(Path("q.wav"), 0.2)

    assert main(["talk", *arguments]) == 2

    err = capsys.readouterr().err
    assert err.startswith("usage: meshapi-rt talk")
    assert told in err.splitlines()[-1]


def fails(capsys: Capture, *arguments: str) -> str:
    """Run a conversation in this process that fails; return the line that says why."""
    assert main(["talk", "--live", *arguments]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("meshapi-rt: ")
    return last


def test_no_device(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without sound devices is told by the sentence that says what to do, before anything is started."""
    monkeypatch.setattr(cards, "devices", list)

    assert "there is no microphone on this machine" in fails(capsys)
    assert "there is no speaker on this machine" in fails(capsys, "--microphone", "none")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--microphone", "missing.wav"), "cannot read 'missing.wav'"),
        (("--microphone", "none", "--speaker", "nowhere/a.wav"), "cannot write 'nowhere/a.wav'"),
        (("--microphone", "none", "--speaker", "a.wav", "--voice", "nobody"), "session.audio.output.voice"),
        ((*TEXT_ONLY, "--base-url", "nonsense"), "base_url must look like"),
    ],
)
def test_failure_in_one_line(capsys: Capture, arguments: tuple[str, ...], told: str) -> None:
    """What fails at the start is exit code 1 and one line."""
    assert told in fails(capsys, *arguments)


@pytest.mark.parametrize("device", [FileMicrophone, FileSpeaker])
def test_unplugged(capsys: Capture, monkeypatch: pytest.MonkeyPatch, device: type) -> None:
    """A device that breaks ends the conversation in order, and its sentence is the last line."""
    clip(Path("question.wav"), 0.9)

    def gone(*_: object) -> None:
        raise DeviceError("<It> has stopped: it was unplugged or taken away")

    monkeypatch.setattr(device, "_hear" if device is FileMicrophone else "_check", gone)

    assert "it was unplugged" in fails(capsys, "--microphone", "question.wav", "--speaker", "a.wav")


def test_errors_of_the_server() -> None:
    """An answer that fails is told in one line, and the conversation goes on."""

    def responder(turn: Turn) -> Iterator[Any]:
        item = turn.last_user_item
        yield Fail("rate_limit_exceeded", "Slow\ndown.") if item and item.text == "one" else Text("fine")

    with LocalServer(responder=responder) as server:
        code, out, err = talk(TEXT_ONLY, "one\ntwo\n", server)

    assert code == 0, err
    assert out.splitlines() == ["you: one", "you: two", "agent: fine"]
    assert err.count("the server reports rate_limit_exceeded: Slow down.") == 1


def test_an_answer_that_does_not_come() -> None:
    """--timeout bounds the wait for an answer."""
    with LocalServer(responder=lambda turn: [Text("late")] * turn.cancelled.wait(LIMIT)) as server:
        began = time.monotonic()
        code, _, err = talk((*TEXT_ONLY, "--timeout", "0.5"), "hello\n", server)

    assert (code, err.splitlines()[-1]) == (1, "meshapi-rt: no answer came within 0.5 s; see --timeout")
    assert time.monotonic() - began < LIMIT / 2


def test_a_connection_that_is_replaced() -> None:
    """A lost connection is told once there is a new one, and the conversation goes on there."""
    with LocalServer(faults=Faults(Drop(on="response.done"))) as server:
        code, out, err = talk(TEXT_ONLY, "one\ntwo\n", server)

    assert code == 0, err
    assert out.splitlines() == ["you: one", "agent: one", "you: two", "agent: two"]
    assert "the connection was lost; there is a new one" in err.splitlines()
    assert "reconnects: 1" in err.splitlines()[-1]


def test_a_connection_that_is_not_replaced() -> None:
    """What is typed while there is no connection is not forgotten: it gets its answer, or there was none in time."""
    faults = Faults(Drop(on="response.done"), *(Refuse(503, connection=number) for number in range(2, 10)))
    with LocalServer(faults=faults) as server:
        code, _, err = talk((*TEXT_ONLY, "--timeout", "1"), "one\ntwo\n", server)

    assert (code, err.splitlines()[-1]) == (1, "meshapi-rt: no answer came within 1 s; see --timeout")


def serving(*then: Callable[[Line], object]) -> Callable[[Line], None]:
    """Return the script of a server that takes the settings, and does something then."""

    def script(line: Line) -> None:
        line.greet()
        for _ in range(2):
            assert line.read_event()["type"] == "session.update"
            line.send({"type": "session.updated", "session": {}})
        for do in then:
            do(line)
        line.serve_until_close()

    return script


def test_the_server_ends_it(capsys: Capture) -> None:
    """A server that closes in good order ends the conversation; one that gives a reason makes it fail."""
    error = {"type": "error", "error": {"code": "insufficient_quota", "message": "empty"}}

    with peer(serving(lambda line: line.send_close(1000))) as server:
        assert main(["talk", "--live", *TEXT_ONLY, "--base-url", server.url]) == 0
    assert "the server has closed the session" in capsys.readouterr().err
    with peer(serving(lambda line: line.send(error), lambda line: line.send_close(4402))) as server:
        assert "insufficient_quota: empty" in fails(capsys, *TEXT_ONLY, "--base-url", server.url)


@posix
def test_sigterm_completes_the_recording() -> None:
    """SIGTERM ends the conversation in order: the file that is the speaker is complete."""
    clip(Path("question.wav"), 4.0)
    program = start([*LIVE, "--microphone", "question.wav", "--speaker", "answer.wav"], environment(), Path.cwd())
    assert program.stderr is not None
    while "talking to" not in program.stderr.readline():
        pass
    assert program.stdout is not None
    program.stdout.readline()  # the first turn is over

    program.send_signal(signal.SIGTERM)

    code, _, err = finish(program)
    assert code == 128 + signal.SIGTERM
    assert "Traceback" not in err
    assert audio_files.read("answer.wav").size > 0


@posix
def test_nobody_reads_the_transcript() -> None:
    """`talk --live | head -1` ends without a word about it."""
    program = subprocess.Popen(
        [*LIVE, *TEXT_ONLY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdin.write("one\n")
    program.stdin.flush()
    program.stdout.readline()
    program.stdout.close()
    program.stdin.write("two\nthree\n")
    program.stdin.close()

    err = program.stderr.read()
    program.stderr.close()
    assert program.wait(LIMIT) == 141
    assert "rror" not in err
