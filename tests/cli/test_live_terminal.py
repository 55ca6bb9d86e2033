"""`talk --live` in a real terminal: keys, the line that is drawn again and again, and settings set back at the end."""

from __future__ import annotations

import base64
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshapi_rt import audio_files, pcm
from meshapi_rt.local import Audio, LocalServer, Turn

from ..clock import Stopwatch
from ..faces import CLI, LIMIT, QUESTION, environment

if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)

from .typist import Typist

SPEAKER = ("--speaker", "answer.wav")
ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def silence(seconds: float = 60.0) -> Path:
    """Write silence to a file: a microphone in a quiet room."""
    audio_files.write("silence.wav", np.zeros(round(seconds * pcm.SAMPLE_RATE), np.int16))
    return Path("silence.wav")


def live(
    *options: str | Path, server: LocalServer | None = None, microphone: Path | None = None, **more: Any
) -> Typist:
    """Begin a conversation in a terminal."""
    env = environment(server, TERM=more.pop("term", "xterm"), **more.pop("env", {}))
    command = [*CLI, "talk", "--live", "--microphone", microphone or silence(), *SPEAKER, *options]
    return Typist(command, env, Path.cwd(), **more)


def long(_turn: Turn) -> Iterator[Any]:
    """Answer with 20 s."""
    yield Audio(np.full(480_000, 3000, np.int16), "a long story " * 20)


# -- what is shown ---


def test_the_status_line() -> None:
    """Below the transcript one line shows state, level and keys; it fits, and nothing of it stays behind."""
    with live(microphone=QUESTION) as typist:
        typist.expect(r"listening +\|[# ]{10}\| ( silence|.*dBFS) ")
        typist.expect(r"you speak +\|#+ *\| +-\d+ dBFS")
        typist.expect(r"speaking +\|")
        typist.type("q")
        assert typist.finish() == 0
        lines, pictures = typist.lines, typist.pictures

    drawn = [picture for picture in pictures if "|" in picture and "dBFS" in picture]
    assert len(drawn) > 3
    assert max(map(len, drawn)) < 80
    assert "space interrupt  q quit  Enter type  m mute" in lines
    assert not any("dBFS" in line for line in lines)
    assert re.search(r"agent:.*\(first audio after \d+ ms\)", "\n".join(lines))
    assert re.match(r"\d answers?, first audio after \d+ ms \(p50\)", lines[-2])


@pytest.mark.parametrize(("env", "styled"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_style(env: dict[str, str], styled: bool) -> None:
    """Names are bold in a terminal that can; NO_COLOR forbids every escape sequence."""
    with live(env=env) as typist:
        typist.expect("listening")
        typist.type("\rhello\r")
        typist.expect("agent:.* hello.*first audio")
        typist.type("q")
        assert typist.finish() == 0

        assert (f"{ESCAPE}[1myou:{ESCAPE}[0m hello" in typist.shown) is styled
        assert (ESCAPE in typist.shown) is styled


def test_a_narrow_terminal() -> None:
    """In a narrow terminal the line loses its bar and some keys, and still fits."""
    with live(columns=40) as typist:
        typist.expect(r"listening +silence +space interrupt")
        typist.type("\rwords that are far too many for a line so narrow")
        typist.expect(r"listening  > \.\.\..* a line so narrow_")
        typist.type("\x1b")
        typist.expect("space interrupt")
        typist.type("q")
        assert typist.finish() == 0

        assert max(len(picture) for picture in typist.pictures if picture.startswith("listening")) < 40


def test_a_plain_terminal() -> None:
    """A terminal that is dumb gets whole lines, and gives whole lines: a key and Enter, or text."""
    with LocalServer(record=True) as server, live(server=server, term="dumb") as typist:
        typist.expect(r"Enter interrupt  q\+Enter quit  text\+Enter say it  m\+Enter mute")
        typist.type("hello\n")
        typist.expect("you: hello(.|\n)*agent: hello")
        typist.type("m\n")
        typist.expect("muted")
        typist.type("m\n")
        typist.expect("not muted")
        typist.type("q\n")
        assert typist.finish() == 0
        assert typist.settings() == typist.before

        assert ESCAPE not in typist.shown
        assert "\r" not in typist.shown.replace("\r\n", "\n")


def test_the_transcript_in_a_file() -> None:
    """With standard output elsewhere the transcript goes there, plain, and the rest stays on the terminal."""
    with closing(Path("out").open("w+b")) as out, live(stdout=out) as typist:
        typist.expect("listening")
        typist.type("\rhello\r")
        typist.expect("first audio after")
        typist.expect("listening")
        typist.type("q")
        assert typist.finish() == 0

    assert Path("out").read_text() == "you: hello\nagent: hello\n"


# -- keys ---


def test_push_to_talk() -> None:
    """The space bar begins a turn and ends it, and the screen says that it does."""
    turns: list[Turn] = []

    def responder(turn: Turn) -> Iterator[Any]:
        turns.append(turn)
        yield Audio(np.full(4800, 3000, np.int16), "heard")

    with LocalServer(responder=responder) as server:
        with live("--push-to-talk", server=server, microphone=QUESTION) as typist:
            typist.expect("one press begins a turn, another ends it")
            typist.expect("ready .*space talk")
            typist.type(" ")
            typist.expect("you speak .*space send")
            with Stopwatch() as held:
                time.sleep(0.5)
                typist.type(" ")
            typist.expect("agent:.* heard")
            typist.expect("ready .*space talk")
            typist.type("q")
            assert typist.finish() == 0

    (turn,) = turns
    assert turn.audio is not None
    assert 0.5 < pcm.duration(turn.audio) < held.elapsed + 1.5


def test_mute() -> None:
    """While muted the server hears silence, the meter still moves, and the screen says so."""
    audio_files.write("talk.wav", np.tile(audio_files.read(QUESTION), 4))
    with LocalServer(record=True) as server, live(server=server, microphone=Path("talk.wav")) as typist:
        typist.expect(r"\|#+ *\| +-\d+ dBFS")
        typist.type("m")
        for _ in range(6):
            typist.expect(r"\|#+ *\| +muted")
        typist.type("q")
        assert typist.finish() == 0
        events = [record.event for record in server.transcript if record.sender == "client" and record.event]

    heard = [base64.b64decode(event["audio"]) for event in events if event["type"] == "input_audio_buffer.append"]
    assert any(map(any, heard[:-10]))
    assert not any(map(any, heard[-10:]))


def test_the_space_bar_silences_an_answer() -> None:
    """Where turns are heard the space bar cuts the answer off, and what was heard of it stays in the transcript."""
    with LocalServer(responder=long, record=True) as server, live(server=server) as typist:
        typist.expect("listening")
        typist.type("\rtell me\r")
        typist.expect("speaking")
        time.sleep(0.5)
        typist.type(" ")
        typist.expect(r"agent:.* a long .*\[interrupted about here\]")
        typist.expect("listening")
        typist.type("q")
        assert typist.finish() == 0
        kinds = [record.event["type"] for record in server.transcript if record.sender == "client" and record.event]

    assert kinds.count("conversation.item.truncate") == 1


def test_a_typed_line() -> None:
    """A line is shown while it is typed, can be corrected, and is answered."""
    with live() as typist:
        typist.expect("listening")
        typist.type("\rhelo")
        typist.expect("> helo_")
        typist.type("\x7flo wörld")
        typist.expect("> hello wörld_")
        typist.type("\r")
        typist.expect("you:.* hello wörld")
        typist.expect("agent:.* hello wörld")
        typist.type("q")
        assert typist.finish() == 0


def test_text_only() -> None:
    """Without a microphone there is always a line to type; Ctrl-D quits."""
    command = [*CLI, "talk", "--live", "--microphone", "none", "--speaker", "none"]
    with Typist(command, environment(TERM="xterm"), Path.cwd()) as typist:
        typist.expect("listening +> _")
        typist.type("quiet\rmore\r")
        typist.expect("agent:.* more")
        typist.expect("listening +> _")
        typist.type("\x04")
        assert typist.finish() == 0


# -- the way out ---


@pytest.mark.parametrize(
    ("how", "code"),
    [("q", 0), ("\x04", 0), ("\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), ("server", 1)],
    ids=["q", "Ctrl-D", "Ctrl-C", "SIGTERM", "SIGHUP", "failure"],
)
def test_settings_are_set_back(how: str | int, code: int) -> None:
    """However it ends, the terminal is as it was before, and the counters were told."""
    answers = iter([True, False])

    def responder(turn: Turn) -> Iterator[Any]:
        if not next(answers):
            turn.cancelled.wait(LIMIT)
        yield Audio(np.full(4800, 3000, np.int16), "heard")

    with LocalServer(responder=responder) as server, live("--timeout", "1", server=server) as typist:
        typist.expect("listening")
        assert typist.settings() != typist.before
        typist.type("\rone\r")
        typist.expect("agent:")
        typist.expect("listening")
        if how == "server":
            typist.type("\rtwo\r")
        elif isinstance(how, str):
            typist.type(how)
        else:
            typist.program.send_signal(how)

        assert typist.finish() == code
        assert typist.settings() == typist.before
        assert "Traceback" not in typist.shown
        assert any(line.startswith("1 answer, first audio after") for line in typist.lines), typist.shown[-500:]
        assert ("no answer came within 1 s" in typist.lines[-2]) is (how == "server")


def test_suspended_and_resumed() -> None:
    """Ctrl-Z gives the terminal back to the shell; fg takes it again, and the conversation goes on."""
    command = " ".join([*CLI, "talk", "--live", "--microphone", str(silence()), *SPEAKER])
    env = environment(TERM="xterm", PS1="$ ", HISTFILE="")
    with Typist(["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"], env, Path.cwd()) as typist:
        typist.expect(r"\$ ")
        typist.type(command + "\r")
        typist.expect("listening")
        during = typist.settings()
        typist.type("\x1a")
        typist.expect("Stopped")
        typist.type("stty -a\r")
        typist.expect(r"[^-]icanon")
        typist.type("fg\r")
        typist.expect("listening")
        assert typist.settings() == during
        typist.type("\rhello\r")
        typist.expect("agent:.* hello")
        typist.type("q")
        typist.expect("1 answer")
        typist.type("exit\r")
        assert typist.finish() == 0
