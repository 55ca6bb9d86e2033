"""Turn detection and the input buffer, on computed signals (protocol.md 4.2, section 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from meshapi_rt.local.audio_input import InputBuffer, SpeechStarted, SpeechStopped
from meshapi_rt.local.formats import FORMATS
from meshapi_rt.local.speech import speak_word
from meshapi_rt.local.vad import Detector, Started, Stopped, threshold_level
from meshapi_rt.pcm import level

from .plain import chunks_of, silence, speech

VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
PCM = FORMATS["audio/pcm"]


def heard(samples: NDArray[np.int16], **changes: Any) -> list[Started | Stopped]:
    return list(Detector(24000, {**VAD, **changes}).feed(samples))


def noise(dbfs: float, seconds: float = 1.0) -> NDArray[np.int16]:
    return speech(seconds, dbfs)


@pytest.mark.parametrize(
    ("dbfs", "threshold", "found"),
    [
        (-25, 0.5, True),
        (-35, 0.5, True),
        (-60, 0.5, False),
        (-50, 0.5, False),
        (-50, 0.1, True),
        (-25, 1.0, False),
        (-15, 1.0, True),
    ],
)
def test_threshold(dbfs: float, threshold: float, found: bool) -> None:
    """Speech at -25 dBFS passes the default threshold, noise at -60 dBFS does not; the threshold moves it."""
    assert bool(heard(noise(dbfs), threshold=threshold)) is found


def test_threshold_levels() -> None:
    """The threshold is a straight line of decibels."""
    assert [threshold_level(value) for value in (0, 0.5, 1)] == [-60, -40, -20]


def test_a_click_is_no_speech() -> None:
    """Loudness of 40 ms starts no turn."""
    assert heard(np.concatenate((silence(0.2), speech(0.04, -10), silence(0.5)))) == []


def test_a_pause_is_no_end() -> None:
    """Silence shorter than ``silence_duration_ms`` does not end a turn."""
    parts = (speech(0.3), silence(0.15), speech(0.3), silence(0.3))
    assert [type(event) for event in heard(np.concatenate(parts))] == [Started, Stopped]


def test_times() -> None:
    """Start and end are within one frame of the truth; the end includes the silence."""
    started, stopped = heard(np.concatenate((silence(0.5), speech(0.4), silence(0.5))), silence_duration_ms=300)
    assert started.ms == 500
    assert abs(stopped.ms - 1200) <= 40


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(201, 9000), min_size=1, max_size=6))
def test_any_chunking_hears_the_same(sizes: list[int]) -> None:
    """How the audio is cut into appends, even inside samples, changes no turn and no byte of it."""
    data = np.concatenate((silence(0.4), speech(0.4), silence(0.4), speech(0.3), silence(0.4))).tobytes()
    whole = list(InputBuffer(PCM, VAD).append(data))
    buffer = InputBuffer(PCM, VAD)
    cut = [found for chunk in chunks_of(data, sizes) for found in buffer.append(chunk)]

    def shown(found: SpeechStarted | SpeechStopped) -> tuple[int, bytes]:
        if isinstance(found, SpeechStarted):
            return found.audio_start_ms, b""
        return found.audio_end_ms, found.sound.data()

    assert [shown(found) for found in cut] == [shown(found) for found in whole]
    assert len(whole) == 4


def test_prefix_reaches_no_further_than_the_audio() -> None:
    """The padding begins at 0 at the earliest."""
    started = next(iter(InputBuffer(PCM, VAD).append(speech(0.3).tobytes())))
    assert isinstance(started, SpeechStarted)
    assert started.audio_start_ms == 0


def test_a_quiet_line_costs_little() -> None:
    """While turn detection hears nothing, only the last half minute is kept."""
    buffer = InputBuffer(PCM, VAD)
    for _ in range(90):
        assert not list(buffer.append(silence(1.0).tobytes()))
    assert buffer.clock_ms == 90_000
    assert buffer.start_ms >= 59_000
    _, sound = buffer.commit()
    assert sound.ms <= 31_000


def test_g711_turns() -> None:
    """Turn detection hears 8 kHz formats on the same clock."""
    from meshapi_rt.pcm import ulaw_encode

    signal = np.concatenate((silence(0.5, 8000), speech(0.4, rate=8000), silence(0.4, 8000)))
    started, stopped = InputBuffer(FORMATS["audio/pcmu"], VAD).append(ulaw_encode(signal))
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.audio_start_ms == 200
    assert stopped.sound.ms == stopped.audio_end_ms - started.audio_start_ms


def test_tones() -> None:
    """A word is 200 ms at -26 dBFS, always the same, without clicks at its edges."""
    tone = speak_word("Hello,")
    assert tone.size == 4800
    assert np.array_equal(tone, speak_word("hello"))
    assert abs(level(tone[: 24 * 170]) + 26) < 1
    assert np.abs(tone[:24]).max() < 64
    assert np.abs(np.diff(tone.astype(int))).max() < 500
    assert speak_word("Hello", 2.0).size == 2400


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_resampling(name: str) -> None:
    """A tone in a telephone's band survives the way down and up; one above it does not fold back."""
    fmt = FORMATS[name]
    at = np.arange(24000) / 24000
    tone = (8000 * np.sin(2 * np.pi * 1000 * at)).astype(np.int16)
    back = fmt.to_pcm(fmt.from_pcm(tone))
    assert back.size == tone.size
    error = back[480:-480].astype(float) - tone[480:-480]
    assert np.sqrt(np.mean(error**2)) < 8000 / np.sqrt(2) * 0.02
    high = (8000 * np.sin(2 * np.pi * 6000 * at)).astype(np.int16)
    assert level(fmt.to_pcm(fmt.from_pcm(high))[480:-480]) < -60
