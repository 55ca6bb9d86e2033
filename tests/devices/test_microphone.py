"""What every microphone does, on recordings and on a buffer that the test fills: blocks, mute, pause, overruns."""

from __future__ import annotations

import io
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshapi_rt import audio_files, pcm
from meshapi_rt.devices import AudioSource, FileMicrophone
from meshapi_rt.devices.blocks import Blocks
from meshapi_rt.devices.capture import Capture
from meshapi_rt.errors import AudioFileError, AudioFormatError, Cancelled, ConfigurationError, TimedOut
from meshapi_rt.wire_format import format_named

from ..clock import Stopwatch
from .signals import speech, tone

LIMIT = 10.0
SPEECH = speech(1.0)
FAST = math.inf


def joined(blocks: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Return blocks as one array."""
    return np.frombuffer(b"".join(blocks), "<i2")


# -- blocks ---


def test_blocks() -> None:
    """A recording comes in blocks of one length, each sample once; the last one is filled up with silence."""
    with FileMicrophone(SPEECH[:23_000], speed=FAST) as microphone:
        blocks = list(microphone)

    assert {len(block) for block in blocks} == {960}
    assert np.array_equal(joined(blocks)[:23_000], SPEECH[:23_000])
    assert not joined(blocks)[23_000:].any()
    assert len(blocks) == 48


@pytest.mark.parametrize("kind", ["path", "file", "bytes", "floats"])
def test_sources(tmp_path: Path, kind: str) -> None:
    """Files, bytes and arrays serve."""
    path = tmp_path / "a.wav"
    audio_files.write(path, SPEECH)
    sources: dict[str, Any] = {
        "path": path,
        "file": io.BytesIO(path.read_bytes()),
        "bytes": SPEECH.tobytes(),
        "floats": pcm.to_float(SPEECH),
    }

    with FileMicrophone(sources[kind], speed=FAST, block_ms=100) as microphone:
        assert np.array_equal(joined(list(microphone)), SPEECH)


def test_real_time() -> None:
    """Blocks come when they have been spoken, at the speed that was asked for."""
    with Stopwatch() as whole:
        with Stopwatch() as beginning:
            microphone = FileMicrophone(SPEECH[:4800], speed=2)
            first = microphone.read()
        with microphone:
            rest = list(microphone)

    assert len(first) == len(rest[0]) == 960
    assert beginning.elapsed >= 0.01
    assert beginning.took < 1
    assert whole.elapsed >= 0.1
    assert whole.took < 2


def test_tail_and_more() -> None:
    """After the last sound comes the tail of silence; say() adds sound, and another tail."""
    with FileMicrophone(tone(0.1), speed=FAST, tail=0.06) as microphone:
        before = [microphone.read() for _ in range(6)]
        microphone.say(tone(0.1))
        saying = microphone.saying
        after = list(microphone)

    assert [any(block) for block in before] == [True] * 5 + [False]
    assert [any(block) for block in after] == [True] * 5 + [False] * 3
    assert saying == pytest.approx(0.1)


def test_endless_silence() -> None:
    """With an endless tail a microphone without a recording is silent until it is closed."""
    microphone = FileMicrophone(speed=FAST, tail=math.inf)

    assert [microphone.read() for _ in range(100)] == [bytes(960)] * 100
    assert microphone.level == -math.inf
    microphone.close()
    assert microphone.read() == b""


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_g711(name: str) -> None:
    """G.711 comes in blocks of 8 kHz, to the last sample; the format can be changed on the way."""
    source = speech(1.0, 8000)
    with FileMicrophone(pcm.resample(source, 8000, 24_000), speed=FAST, format=name) as microphone:
        blocks = list(microphone)
    with FileMicrophone(SPEECH, speed=FAST) as microphone:
        lengths = [len(microphone.read())]
        microphone.format = name
        lengths += [len(microphone.read()), len(microphone.read())]

    heard = format_named(name).decode(b"".join(blocks))[:8000].astype(float)
    error = heard[200:-200] - source[200:-200]
    assert {len(block) for block in blocks} == {160}
    assert 8000 <= sum(map(len, blocks)) < 8000 + 160
    assert 10 * np.log10(np.mean(error**2) / np.mean(source.astype(float) ** 2)) < -30
    assert lengths == [960, 160, 160]


# -- waiting ---


def test_timeout_and_cancel() -> None:
    """read() ends with its timeout and with cancel; the recording goes on where it was."""
    cancel = threading.Event()
    with FileMicrophone(SPEECH, block_ms=500) as microphone:
        with pytest.raises(TimedOut, match=r"within 0\.05 s"):
            microphone.read(timeout=0.05)
        with pytest.raises(TimedOut):
            microphone.read(timeout=0)
        threading.Timer(0.05, cancel.set).start()
        with pytest.raises(Cancelled):
            microphone.read(cancel=cancel)
        assert np.array_equal(joined([microphone.read(timeout=LIMIT)]), SPEECH[:12_000])


def test_close_from_another_thread() -> None:
    """close() ends an iteration that waits, in any thread; closing twice is fine."""
    microphone = FileMicrophone(tail=math.inf, block_ms=1000)
    ended = threading.Event()

    def listen() -> None:
        list(microphone)
        ended.set()

    reader = threading.Thread(target=listen)
    reader.start()

    microphone.close()
    microphone.close()

    assert ended.wait(LIMIT)
    reader.join()
    assert microphone.closed


def test_pause() -> None:
    """A paused recording gives nothing and waits; resume() goes on at the pace that it had."""
    with FileMicrophone(SPEECH) as microphone:
        first = microphone.read()
        microphone.pause()
        with pytest.raises(TimedOut):
            microphone.read(timeout=0.1)
        assert microphone.paused
        threading.Timer(0.05, microphone.resume).start()
        second = microphone.read(timeout=LIMIT)

    assert np.array_equal(joined([first, second]), SPEECH[:960])


def test_mute() -> None:
    """While muted, blocks are silence at the same pace; the level is still that of what is heard."""
    with FileMicrophone(SPEECH, speed=FAST) as microphone:
        microphone.read()
        microphone.mute = True
        muted, level = microphone.read(), microphone.level
        microphone.mute = False
        after = microphone.read()

    assert muted == bytes(960)
    assert level == pytest.approx(pcm.level(SPEECH[480:960]))
    assert np.array_equal(joined([after]), SPEECH[960:1440])


def test_captured_at() -> None:
    """captured_at is when the end of the block was heard."""
    with FileMicrophone(SPEECH) as microphone:
        microphone.read()
        first = microphone.captured_at
        microphone.read()

    assert microphone.captured_at - first == pytest.approx(0.02)
    assert abs(time.monotonic() - first) < LIMIT


# -- what is refused ---


def test_refused(tmp_path: Path) -> None:
    """What cannot work is told at once."""
    with pytest.raises(AudioFileError, match=r"none\.wav"):
        FileMicrophone(tmp_path / "none.wav")
    with pytest.raises(AudioFormatError, match="2 channels"):
        FileMicrophone(np.zeros((10, 2), np.int16))
    with pytest.raises(ConfigurationError, match="audio format"):
        FileMicrophone(format="mp3")
    for arguments, told in (
        ({"block_ms": 0}, "block_ms must be from 1 to 1000"),
        ({"speed": 0}, "speed must be a factor above 0"),
        ({"tail": -1}, "tail must be a number of seconds"),
    ):
        with pytest.raises(ValueError, match=told):
            FileMicrophone(**arguments)  # type: ignore[arg-type]


def test_forgotten() -> None:
    """A microphone that is garbage while open warns and is closed."""
    microphone = FileMicrophone()

    with pytest.warns(ResourceWarning, match="was not closed"):
        del microphone


def test_is_a_source() -> None:
    """It is what the protocol asks for."""
    with FileMicrophone() as microphone:
        source: AudioSource = microphone
        assert isinstance(source, AudioSource)


# -- the buffer of a device ---


def frames(start: int, count: int = 100) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Return stereo frames that count up."""
    return np.arange(start, start + count, dtype=np.int16)[:, None].repeat(2, axis=1)


def test_overrun() -> None:
    """A full buffer drops the oldest and counts it, once for each time that it gets full."""
    capture = Capture(300)
    for number in range(5):
        capture.put(frames(number * 100), 0.0)
    kept = [capture.get(0) for _ in range(3)]
    capture.put(frames(500), 0.0)
    for number in range(6, 11):
        capture.put(frames(number * 100), 0.0)

    assert [int(chunk.sound[0, 0]) for chunk in kept if chunk] == [200, 300, 400]
    assert [chunk.start for chunk in kept if chunk] == [200, 300, 400]
    assert (capture.overruns, capture.dropped, capture.waiting) == (2, 500, 300)
    assert capture.get(0) is not None


def test_pause_of_a_device() -> None:
    """What a device gives while paused is lost, is no overrun, and another run follows."""
    capture = Capture(300)
    capture.put(frames(0), 0.0)
    capture.paused = True
    capture.put(frames(100), 0.0)
    capture.paused = False
    capture.put(frames(200), 0.0)
    first, second = capture.get(0), capture.get(0)

    assert first
    assert second
    assert (first.run, second.run, int(second.sound[0, 0])) == (0, 1, 200)
    assert capture.overruns == 0


def test_wake_of_a_device() -> None:
    """wake() ends the wait of a reader."""
    capture = Capture(300)
    capture.wake()

    began = time.monotonic()
    assert capture.get(LIMIT) is None
    assert time.monotonic() - began < LIMIT / 2


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_any_pieces(rate: int) -> None:
    """Whatever pieces a device gives, blocks are the same: no click at an edge."""
    source = speech(0.5, rate)
    results = []
    for step in (rate // 100, 37, 1024, source.size):
        blocks, made = Blocks(rate, 0.02, format_named("audio/pcm")), []
        for start in range(0, source.size, step):
            blocks.add(source[start : start + step], 0.0, muted=False)
            while block := blocks.pop(hush=False):
                made.append(block.data)
        results.append(b"".join(made))

    assert len(set(results)) == 1
    heard, wanted = joined([results[0]]).astype(float), pcm.resample(source, rate, 24_000).astype(float)
    error = (heard - wanted[: heard.size])[200:-200]
    assert 10 * np.log10(np.mean(error**2) / np.mean(wanted**2)) < -45


def test_muted_pieces() -> None:
    """A block that holds any muted sound is silence, the ones around it are whole."""
    blocks = Blocks(24_000, 0.02, format_named("audio/pcm"))
    for number in range(6):
        blocks.add(np.full(240, 1000, np.int16), 0.0, muted=number == 2)

    heard = [block.data for _ in range(3) if (block := blocks.pop(hush=False))]

    assert [any(data) for data in heard] == [True, False, True]
