"""The examples for a microphone, on a virtual sound card, used as a person does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meshapi_rt import audio_files, pcm

from ..faces import EXAMPLES, LIMIT, QUESTION, environment
from .card import Card


class Program:
    """An example that runs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, EXAMPLES / name, "--live"],
            env=environment(PYTHONUNBUFFERED="1"),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_until(self, text: str) -> str:
        """Return the line with that text; pytest's own limit ends a wait in vain."""
        assert self.process.stdout is not None
        while text not in (line := self.process.stdout.readline()):
            assert line, self.process.communicate()[1]
        return line.strip()

    def press(self, keys: str) -> None:
        """Type something."""
        assert self.process.stdin is not None
        self.process.stdin.write(keys + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return exit code, the rest of stdout, and stderr without what a busy sound card says."""
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, re.sub("(?m)^ALSA lib .*\n", "", err)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[list[Program]]:
    """Give a list for programs, which end with the test."""
    running: list[Program] = []
    yield running
    for program in running:
        program.process.kill()
        program.process.communicate()


def test_push_to_talk(card: Card, tmp_path: Path, programs: list[Program]) -> None:
    """Enter, speech, Enter: it is heard and answered through the speaker; text is answered too; q ends it."""
    microphone, speaker = card.microphone(), card.speaker()
    with speaker.recorded() as recorder:
        programs.append(program := Program("push_to_talk.py", tmp_path))
        program.read_until("Enter to talk")
        program.press("")
        program.read_until("then Enter to send")
        microphone.play(pcm.resample(audio_files.read(QUESTION)[:24_000], 24_000, microphone.rate)).wait(LIMIT)
        program.press("")
        assert program.read_until("user:").endswith("s of speech)")
        assert program.read_until("assistant:").endswith("s of speech)")
        program.press("Hello there")
        assert program.read_until("user:") == "user: Hello there"
        assert program.read_until("assistant:") == "assistant: Hello there"
        program.press("q")
        code, out, err = program.end()

    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("2 answers, first audio after ")
    assert np.abs(recorder.samples).max() > 500


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_live_captions(card: Card, tmp_path: Path, programs: list[Program]) -> None:
    """Each phrase is told with its times while the microphone goes on; Ctrl-C is a good end."""
    microphone = card.microphone()
    programs.append(program := Program("live_captions.py", tmp_path))
    program.read_until("listening")
    before = ""
    for _ in range(2):
        microphone.play(pcm.resample(audio_files.read(QUESTION)[:24_000], 24_000, microphone.rate)).wait(LIMIT)
        start, _, end = program.read_until("s of speech)")[:17].partition(" - ")
        assert before <= start < end
        before = end
    os.killpg(program.process.pid, signal.SIGINT)

    assert program.end() == (0, "", "")
