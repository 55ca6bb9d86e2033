"""What every speaker does: order, fades, cuts, and the truth about what was heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from meshapi_rt import pcm
from meshapi_rt.devices import AudioSink
from meshapi_rt.errors import AudioFormatError, Cancelled, ConfigurationError, DeviceError, TimedOut

from ..clock import Stopwatch
from .manual import ManualSpeaker
from .signals import jump, speech, tone

FADE = 120  # samples, 5 ms
SPEECH = speech(2.0)

Ints = NDArray[np.int16]


@pytest.fixture
def speaker() -> Iterator[ManualSpeaker]:
    """Return one at 24 kHz without a pre-buffer."""
    with ManualSpeaker() as manual:
        yield manual


def silent(samples: Ints) -> bool:
    """Tell whether nothing is heard."""
    return not samples.any()


# -- complete and in order ---


@given(cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=8), block=st.integers(17, 1000), odd=st.booleans())
@settings(max_examples=60, deadline=None)
def test_pieces_in_order(cuts: list[int], block: int, odd: bool) -> None:
    """Any pieces, also such that end inside a sample, and any blocks give the same sound, each sample once."""
    signal = SPEECH[: sum(cuts)]
    data, edges = signal.tobytes(), np.cumsum(cuts) * 2
    speaker = ManualSpeaker()

    starts = [0, *(int(edge) - odd for edge in edges[:-1])]
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        speaker.write(data[start:end], "item")
    speaker.finish()
    speaker.play(signal.size // block + 2, block)

    whole = slice(FADE, max(FADE, signal.size - FADE))
    assert np.array_equal(speaker.audio[whole], signal[whole])
    assert silent(speaker.audio[signal.size :])
    assert speaker.heard("item").complete
    assert speaker.heard("item").total == signal.size
    speaker.close()


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 11_000])
def test_device_rates(rate: int) -> None:
    """At any rate of the device the pieces are one sound without a seam, and every sample is accounted for."""
    speaker = ManualSpeaker(rate)
    for piece in pcm.split(SPEECH, 0.013):
        speaker.write(piece, "item")
    speaker.finish()

    half = speaker.play(100, rate // 100)
    at_half = speaker.heard("item").samples
    speaker.play(102, rate // 100)

    wanted = pcm.resample(SPEECH, 24_000, rate).astype(float)
    heard = speaker.audio[: wanted.size].astype(float)
    edge = rate // 100
    error = (heard - wanted)[edge:-edge]
    assert half.size == rate
    assert at_half == 24_000
    assert 10 * np.log10(np.mean(error**2) / np.mean(wanted**2)) < -45
    assert speaker.heard("item").samples == SPEECH.size
    speaker.close()


def test_g711(speaker: ManualSpeaker) -> None:
    """G.711 is played at its 8 kHz, and counted in samples of 24 kHz; formats may follow each other."""
    narrow = speech(0.5, 8000)
    speaker.write(pcm.ulaw_encode(narrow), "u", format="audio/pcmu")
    speaker.write(pcm.alaw_encode(narrow), "a", format="audio/pcma")
    speaker.write(SPEECH[:2400], "p")
    speaker.finish()

    speaker.play(60)
    partly = speaker.heard("a")
    speaker.play(100)

    assert (partly.samples, partly.total, partly.ms) == (60 * 240 - 12_000, 12_000, 100)
    assert [speaker.heard(item).complete for item in "uap"] == [True, True, True]
    wanted = pcm.resample(pcm.ulaw_decode(pcm.ulaw_encode(narrow)), 8000, 24_000).astype(float)[300:-300]
    error = speaker.audio[300 : 12_000 - 300] - wanted
    assert 10 * np.log10(np.mean(error**2) / np.mean(wanted**2)) < -35


def test_buffer_used_again(speaker: ManualSpeaker) -> None:
    """A caller may use its buffer again."""
    buffer = bytearray(SPEECH[:2400].tobytes())
    array = SPEECH[2400:4800].copy()
    speaker.write(buffer)
    speaker.write(array)
    buffer[:] = bytes(4800)
    array[:] = 0
    speaker.finish()

    speaker.play(21)

    assert np.array_equal(speaker.audio[FADE : 4800 - FADE], SPEECH[FADE : 4800 - FADE])


# -- edges ---


def test_prebuffer() -> None:
    """Nothing sounds before the pre-buffer is full."""
    speaker = ManualSpeaker(prebuffer_ms=150)
    speaker.write(tone(0.1), "item")
    early = speaker.play(5)
    speaker.write(tone(0.2), "item")
    late = speaker.play(1)

    assert silent(early)
    assert not silent(late)
    speaker.close()


@pytest.mark.parametrize("hurry", [True, False])
def test_short_piece(hurry: bool) -> None:
    """A piece shorter than the pre-buffer sounds after finish() at once, without it after as long."""
    speaker = ManualSpeaker(prebuffer_ms=150)
    speaker.write(tone(0.05), "item")
    if hurry:
        speaker.finish()

    heard = [not silent(speaker.play()) for _ in range(20)]

    assert heard.index(True) == (0 if hurry else 15)
    assert speaker.heard("item").complete
    speaker.close()


def test_underrun(speaker: ManualSpeaker) -> None:
    """A gap in an item fades out and in again, loses nothing, and is counted; the end of an item is none."""
    loud = np.full(2400, 8000, np.int16)  # no step but a fade's
    speaker.write(loud, "item")
    speaker.play(12)
    speaker.write(loud, "item")
    speaker.play(12)
    after_gap = speaker.underruns
    speaker.write(loud, "next")
    speaker.finish()
    speaker.play(12)
    speaker.write(loud, "next")
    speaker.play(12)

    assert (after_gap, speaker.underruns) == (1, 1)
    assert jump(speaker.audio) <= 8000 / FADE + 1
    assert speaker.heard("item").samples == 4800


def test_just_in_time() -> None:
    """Pieces that come before the last one has ended leave no trace in the sound, at another rate either."""
    speaker = ManualSpeaker(48_000)
    for piece in pcm.split(SPEECH, 0.02):
        speaker.write(piece, "item")
        if speaker.queued > 0.04:
            speaker.play(2, 480)
    speaker.play(10, 480)

    wanted = pcm.resample(SPEECH, 24_000, 48_000).astype(float)[500:-500]
    error = speaker.audio[500 : 500 + wanted.size] - wanted
    assert 10 * np.log10(np.mean(error**2) / np.mean(wanted**2)) < -45
    speaker.close()


@pytest.mark.parametrize("rate", [24_000, 44_100])
@given(moves=st.lists(st.tuples(st.sampled_from("wfpcg"), st.integers(1, 1500)), min_size=3, max_size=25))
@settings(max_examples=60, deadline=None)
def test_no_clicks(rate: int, moves: list[tuple[str, int]]) -> None:
    """Whatever is done to a speaker, no step in the sound is larger than a fade's, and the books are right."""
    speaker = ManualSpeaker(rate)
    item, written, cut = 0, 0, 0
    for move, size in moves:
        if move == "w":
            speaker.write(np.full(size, 8000, np.int16), f"item{item}")
            written += size
        elif move == "f":
            speaker.finish()
        elif move == "p":
            speaker.play(1, max(size, rate // 100))
        elif move == "c":
            cut += sum(heard.total - heard.samples for heard in speaker.clear())
            item += 1
        else:
            speaker.gain = size / 1500
    speaker.finish()
    speaker.play(400)

    totals = [speaker.heard(f"item{number}") for number in range(item + 1)]
    assert (
        jump(speaker.audio) <= 8000 / (rate * 0.005) * 3 + 2
    )  # a gain that rises during a fade; the ringing of a step
    assert sum(heard.total for heard in totals) == written
    assert sum(heard.samples for heard in totals) == written - cut
    speaker.close()


# -- clear ---


def test_clear(speaker: ManualSpeaker) -> None:
    """clear() fades out within 5 ms, drops what is queued and tells what was heard of each item."""
    speaker.write(SPEECH[:4800], "first")
    speaker.write(SPEECH[4800:9600], "second")
    speaker.write(SPEECH[9600:12_000], "third")
    before = speaker.play(30)

    told = speaker.clear()
    after = speaker.play(20)

    assert [(heard.item_id, heard.samples, heard.total) for heard in told] == [
        ("second", 30 * 240 + FADE - 4800, 4800),
        ("third", 0, 2400),
    ]
    assert silent(after)
    assert np.array_equal(before[FADE:], SPEECH[FADE:7200])
    assert silent(speaker.audio[7200 + FADE :])
    assert jump(speaker.audio) <= jump(SPEECH) + 14_000 / FADE
    assert (speaker.heard("first").complete, speaker.heard("third").began) == (True, None)


def test_next_after_clear(speaker: ManualSpeaker) -> None:
    """What is written after clear() sounds; what is late for an item that was cut off does not, and is counted."""
    speaker.write(SPEECH[:4800], "old")
    speaker.play(5)
    speaker.clear()

    speaker.write(SPEECH[4800:9600], "old")
    speaker.write(SPEECH[9600:12_000], "new")
    speaker.finish()
    sound = speaker.play(20)

    assert np.array_equal(sound[FADE : 2400 - FADE], SPEECH[9600 + FADE : 12_000 - FADE])
    assert speaker.late == 0.2
    assert speaker.heard("old").samples == 5 * 240 + FADE
    assert speaker.heard("new").complete


def test_clear_in_a_gap(speaker: ManualSpeaker) -> None:
    """An item that is heard so far but not finished is told of, and closed; a finished one is not."""
    speaker.write(SPEECH[:2400], "item")
    speaker.play(15)
    told = speaker.clear()
    speaker.write(SPEECH[:2400], "item")
    speaker.write(SPEECH[:2400], "other")
    speaker.finish()
    speaker.play(15)

    assert [(heard.item_id, heard.complete) for heard in told] == [("item", True)]
    assert speaker.late == 0.1
    assert speaker.clear() == ()


def test_clear_what_the_device_holds() -> None:
    """What the device holds already still sounds: clear() counts it as heard, heard() does so when it is."""
    speaker = ManualSpeaker(delay=0.2)
    speaker.write(SPEECH[:24_000], "item")
    speaker.play(10)
    before = speaker.heard("item")

    (told,) = speaker.clear()
    at_once = speaker.heard("item").samples
    end = time.monotonic() + 5
    while speaker.heard("item").samples < told.samples and time.monotonic() < end:
        time.sleep(0.005)

    assert (before.samples, before.began) == (0, None)
    assert told.samples == 10 * 240 + FADE
    assert at_once < told.samples
    assert speaker.heard("item").samples == told.samples
    speaker.close()


def test_clear_twice_and_empty(speaker: ManualSpeaker) -> None:
    """clear() may come before anything was written, and twice in a row."""
    assert speaker.clear() == ()
    speaker.write(SPEECH[:4800], "item")
    speaker.play(5)

    assert len(speaker.clear()) == 1
    assert speaker.clear() == ()
    speaker.close()
    assert speaker.clear() == ()


def test_dead_device_does_not_hold_clear() -> None:
    """A device that takes no blocks any more holds clear() for 250 ms at most; nothing was heard."""

    class Dead(ManualSpeaker):
        def _wake(self) -> None:
            pass

    speaker = Dead()
    speaker.write(SPEECH[:4800], "item")

    with Stopwatch() as watch:
        (told,) = speaker.clear()

    assert watch.took < 2
    assert told.samples == 0
    speaker.close()


# -- what was heard ---


def test_heard_between_blocks() -> None:
    """Between two blocks heard() goes with the clock, and never back."""
    speaker = ManualSpeaker(delay=0.0, block=4800)
    speaker.write(SPEECH[:24_000], "item")
    began = time.monotonic()
    speaker.play()

    seen = []
    while time.monotonic() < began + 0.12:
        before = time.monotonic()
        samples = speaker.heard("item").samples
        assert (before - began - 0.02) * 24_000 <= samples <= (time.monotonic() - began) * 24_000 + 1
        seen.append(samples)

    assert seen == sorted(seen)
    assert abs((speaker.heard("item").began or 0) - began) < 0.02
    speaker.close()


def test_items_in_turns(speaker: ManualSpeaker) -> None:
    """Items and their parts may come in turns; each has its own account."""
    for number in range(6):
        speaker.write(SPEECH[:1200], f"item{number % 2}", number % 3)
    speaker.play(10)

    assert [speaker.heard(f"item{number % 2}", number % 3).samples for number in range(6)] == [1200, 1200, 0, 0, 0, 0]
    assert speaker.heard("unknown").total == 0


def test_heard_long_after(speaker: ManualSpeaker) -> None:
    """What was heard of an item is known long after, also when the speaker is closed."""
    speaker.write(SPEECH[:2400], "old")
    speaker.play(5)
    speaker.clear()
    for number in range(300):
        speaker.write(SPEECH[:240], f"item{number}")
        speaker.play(10)
    speaker.close()

    assert speaker.heard("old").samples == 5 * 240 + FADE
    assert speaker.heard("item299").complete


def test_milliseconds(speaker: ManualSpeaker) -> None:
    """Milliseconds are rounded down: a truncation may not lie beyond the audio."""
    speaker.write(SPEECH[:1199], "item")
    speaker.finish()
    speaker.play(6)

    assert speaker.heard("item").ms == 49


# -- level and gain ---


def test_level() -> None:
    """The level is that of what is heard now, loudest() that of a stretch of time."""
    speaker = ManualSpeaker(delay=0.0, block=24_000)
    began = time.monotonic()
    speaker.write(tone(1.0), "item")
    speaker.play()

    assert speaker.level == pytest.approx(pcm.level(tone(1.0)), abs=0.2)
    assert speaker.loudest(began - 2, began - 1) == -np.inf
    assert speaker.loudest(began - 2) == pytest.approx(pcm.level(tone(1.0)), abs=0.2)
    speaker.close()


def test_gain(speaker: ManualSpeaker) -> None:
    """A change of the gain is gradual; too loud is clipped."""
    speaker.write(np.full(12_000, 8000, np.int16))
    speaker.play(5)
    speaker.gain = 0.5
    speaker.play(5)
    speaker.gain = 100
    speaker.play(5)

    assert speaker.audio[2000] == 4000
    assert speaker.audio[3000] == 32_767
    assert jump(speaker.audio[:2400]) <= 8000 / FADE + 1
    for bad in (-1, 101, float("nan"), "1"):
        with pytest.raises(ValueError, match="gain must be"):
            speaker.gain = bad  # type: ignore[assignment]


# -- waiting, and the end ---


def test_drain_ends() -> None:
    """drain() reports what is left after its timeout, and obeys cancel; the audio is still there."""
    speaker = ManualSpeaker()
    speaker.write(SPEECH[:24_000], "item")
    cancel = threading.Event()
    cancel.set()

    with pytest.raises(TimedOut, match=r"1\.00 s of audio were still to be heard after 0\.05 s"):
        speaker.drain(timeout=0.05)
    with pytest.raises(Cancelled):
        speaker.drain(cancel=cancel)

    assert speaker.queued == 1.0
    speaker.close()


def test_drain_of_what_is_cut() -> None:
    """drain() ends when another thread clears the queue."""
    speaker = ManualSpeaker()
    speaker.write(SPEECH[:24_000], "item")
    done = threading.Event()

    def wait() -> None:
        speaker.drain(timeout=10)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()

    speaker.clear()

    assert done.wait(5)
    thread.join()
    speaker.close()


def test_closed(speaker: ManualSpeaker) -> None:
    """A closed speaker takes nothing more; closing twice is fine."""
    speaker.close()
    speaker.close()

    calls: list[Callable[[], None]] = [lambda: speaker.write(SPEECH), speaker.finish, speaker.drain, speaker.start]
    for call in calls:
        with pytest.raises(DeviceError, match="is closed"):
            call()
    assert speaker.closed


def test_bad_audio(speaker: ManualSpeaker) -> None:
    """Audio that is none, and formats that are none, are refused; nothing is queued."""
    with pytest.raises(AudioFormatError, match="2 channels"):
        speaker.write(np.zeros((10, 2), np.int16))
    with pytest.raises(AudioFormatError, match="audio/pcmu is bytes"):
        speaker.write(np.zeros(10, np.int16), format="audio/pcmu")
    with pytest.raises(ConfigurationError, match="one of audio/pcm, audio/pcmu, audio/pcma; not 'mp3'"):
        speaker.write(b"", format="mp3")
    assert speaker.queued == 0


def test_forgotten() -> None:
    """A speaker that is garbage while open warns and is closed."""
    forgotten = ManualSpeaker()

    with pytest.warns(ResourceWarning, match="was not closed"):
        del forgotten


def test_is_a_sink(speaker: ManualSpeaker) -> None:
    """It is what the protocol asks for."""
    sink: AudioSink = speaker

    assert isinstance(sink, AudioSink)
