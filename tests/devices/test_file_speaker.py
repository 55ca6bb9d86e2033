"""A speaker that is recorded instead of heard: the same truths on its own clock, in real time and faster."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from meshapi_rt import audio_files, pcm
from meshapi_rt.devices import FileSpeaker
from meshapi_rt.errors import AudioFileError, DeviceError

from ..clock import Stopwatch
from .signals import jump, span, speech

LIMIT = 10.0
SPEECH = speech(1.0)
FADE = 120


def wait_for(speaker: FileSpeaker, item: str, samples: int) -> None:
    """Wait until so much of an item was heard."""
    end = time.monotonic() + LIMIT
    while speaker.heard(item).samples < samples:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_real_time() -> None:
    """In real time a second lasts a second, and the recording holds what was written, in one piece."""
    with FileSpeaker() as speaker:
        with Stopwatch() as whole:
            with Stopwatch() as writing:
                for piece in pcm.split(SPEECH, 0.033):
                    speaker.write(piece, "item")
            speaker.drain(LIMIT)
        heard = speaker.heard("item")

    start, _ = span(speaker.audio, 0)
    start -= int(np.flatnonzero(SPEECH[:FADE] * np.arange(1, FADE + 1) // FADE)[0])
    assert writing.took < 0.5
    assert whole.elapsed >= 1.0
    assert whole.took < 3
    assert heard.complete
    assert np.array_equal(speaker.audio[start + FADE : start + 24_000 - FADE], SPEECH[FADE:-FADE])
    assert (speaker.underruns, speaker.latency, speaker.playing) == (0, 0.0, False)


@pytest.mark.parametrize("speed", [1.0, 8.0])
def test_clear_is_the_truth(speed: float) -> None:
    """What clear() says was heard is what the recording holds, to the sample; it ends within 5 ms."""
    loud = np.full(120_000, 8000, np.int16)
    with FileSpeaker(speed=speed) as speaker:
        speaker.write(loud, "item")
        wait_for(speaker, "item", 5000)
        (told,) = speaker.clear()
        wait_for(speaker, "item", told.samples)
        time.sleep(0.05)

    start, end = span(speaker.audio, 0)
    assert abs(end - start - told.samples) <= 2  # the ends of the fades round to 0
    assert jump(speaker.audio) <= 8000 / FADE + 1
    assert not told.complete


def test_from_many_threads() -> None:
    """Whatever threads write, clear and ask at once, every sample is heard, cut off or late, and none twice."""
    written, cut, stop = [0] * 3, [0], threading.Event()

    def write(number: int) -> None:
        turn = 0
        while not stop.is_set():
            speaker.write(SPEECH[:1000], f"item{number}.{turn // 7}")
            written[number] += 1000
            turn += 1
            time.sleep(0.002)

    def clear() -> None:
        while not stop.is_set():
            cut[0] += sum(heard.total - heard.samples for heard in speaker.clear())
            time.sleep(0.02)

    with FileSpeaker(speed=8.0) as speaker:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        threads.append(threading.Thread(target=clear))
        for thread in threads:
            thread.start()
        positions = []
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            positions.append(speaker.position)
        stop.set()
        for thread in threads:
            thread.join(LIMIT)
        speaker.drain(LIMIT)
        turns = [f"item{number}.{turn}" for number in range(3) for turn in range(written[number] // 7000 + 1)]
        heard = sum(speaker.heard(item).samples for item in turns)

    assert positions == sorted(positions)
    assert heard + cut[0] + round(speaker.late * 24_000) == sum(written)
    assert heard > 0
    assert jump(speaker.audio) <= jump(SPEECH) + 14_000 / FADE


def test_faster() -> None:
    """At eight times the speed everything is the same, eight times sooner."""
    with FileSpeaker(speed=8.0) as speaker:
        with Stopwatch() as watch:
            speaker.write(speech(2.0), "item")
            speaker.drain(LIMIT)

    assert watch.elapsed > 0.2
    assert watch.took < 1.5
    assert speaker.heard("item").samples == 48_000


def test_at_once() -> None:
    """As fast as possible there is no silence; the last 15 ms come with finish(), drain() or close()."""
    speaker = FileSpeaker(speed=math.inf)
    speaker.write(SPEECH, "item")
    wait_for(speaker, "item", 24_000 - 360)
    speaker.drain(LIMIT)
    complete = speaker.heard("item").complete
    speaker.write(SPEECH, "last")
    speaker.close()

    assert complete
    assert speaker.audio.size == 48_000
    assert np.array_equal(speaker.audio[FADE : 24_000 - FADE], SPEECH[FADE:-FADE])
    assert speaker.heard("last").complete
    assert speaker.underruns == 0


def test_file(tmp_path: Path) -> None:
    """A file grows while it is written: it can be read before and after the end."""
    path = tmp_path / "out.wav"
    with FileSpeaker(path, speed=math.inf) as speaker:
        speaker.write(SPEECH, "item")
        speaker.drain(LIMIT)
        during = audio_files.read(path)
    after = audio_files.read(path)

    assert np.array_equal(during, after)
    assert np.array_equal(after[FADE:-FADE], SPEECH[FADE:-FADE])
    assert path.read_bytes() == audio_files.wav_bytes(after)
    assert speaker.audio.size == 0


def test_file_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written is told at once, or by the next call."""
    with pytest.raises(AudioFileError, match="cannot write"):
        FileSpeaker(tmp_path)
    speaker = FileSpeaker(tmp_path / "a.wav")
    failed = threading.Event()

    def full(*_: object) -> None:
        failed.set()
        raise AudioFileError("cannot write: the disk is full")

    monkeypatch.setattr(audio_files.WavWriter, "write", full)
    speaker.write(SPEECH, "item")
    assert failed.wait(LIMIT)
    end = time.monotonic() + LIMIT

    with pytest.raises(DeviceError, match="the disk is full"):
        while time.monotonic() < end:
            speaker.write(SPEECH, "item")
    speaker.close()


def test_never_started(tmp_path: Path) -> None:
    """A speaker that is closed before anything was written leaves an empty file and no thread."""
    speaker = FileSpeaker(tmp_path / "a.wav")
    speaker.close()

    assert audio_files.read(tmp_path / "a.wav").size == 0


def test_bad_arguments() -> None:
    """What cannot work is told at once."""
    for arguments, told in (
        ({"speed": -1}, "speed must be"),
        ({"prebuffer_ms": -1}, "prebuffer_ms must be"),
        ({"gain": "loud"}, "gain must be"),
    ):
        with pytest.raises(ValueError, match=told):
            FileSpeaker(**arguments)
