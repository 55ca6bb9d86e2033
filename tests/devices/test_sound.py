"""Real sound, through a virtual sound card: what is played is recorded, and compared sample by sample."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt import pcm
from meshapi_rt.cli import main
from meshapi_rt.devices import Heard, Microphone, Speaker, devices
from meshapi_rt.errors import DeviceError, TimedOut
from meshapi_rt.local import LocalServer

from .card import Card, Recorder
from .signals import jump, noise_ratio, sounding, span, speech, tone

LIMIT = 15.0
SAFE = 0.1  # seconds of latency, where it is not what is tested: a busy machine leaves no gaps
FADE_MS = 5
TRIES = 4  # a machine may be too busy for sound now and then, which the device tells; the test is made again then

formats = pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 2), (16_000, 1)])


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def at(signal: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """Return a signal of 24 kHz at another rate."""
    return pcm.resample(signal, 24_000, rate)


# -- playing ---


def play(card: Card, signal: NDArray[np.int16], rate: int, channels: int) -> tuple[NDArray[np.int16], Heard]:
    """Play a signal in uneven pieces, as they come off the wire; return the recording of it."""
    for _ in range(TRIES):
        sink = card.speaker(rate, channels)
        with sink.recorded() as recorder, Speaker("pulse", rate=rate, latency=SAFE) as speaker:
            data, sizes, start = signal.tobytes(), random.Random(1), 0
            while start < len(data):
                size = sizes.randrange(1, 6000)
                speaker.write(data[start : start + size], "item")
                start += size
            speaker.drain(LIMIT)
            recording = recorder.settle()
            heard, gaps = speaker.heard("item"), speaker.dropouts + speaker.underruns
        if not gaps:
            break
    return recording, heard


@formats
def test_speaker(card: Card, rate: int, channels: int) -> None:
    """What is written is heard complete, in order, without gaps and without clicks, at any rate of the device."""
    signal = speech(0.8)

    recording, heard = play(card, signal, rate, channels)

    wanted = at(signal, rate)
    start, end = span(recording)
    assert noise_ratio(recording, wanted, rate * FADE_MS // 1000) < -40
    assert abs((end - start) / rate - 0.8) < 0.02
    assert jump(recording) <= jump(wanted) * 1.05 + 2
    assert heard.complete
    assert heard.ms == 800


def cuts(speaker: Speaker, recorder: Recorder, count: int) -> Iterator[tuple[Heard, float, float]]:
    """Cut answers off at random moments; yield what was told, when silence came, and the ms recorded."""
    moments = random.Random(7)
    for number in range(count):
        begin = recorder.samples.size
        speaker.write(tone(3.0), f"item{number}")
        wait_until(lambda name=f"item{number}": speaker.heard(name).samples > 0)  # type: ignore[misc]
        time.sleep(moments.uniform(0.02, 0.35))
        asked = time.monotonic()
        (told,) = speaker.clear()
        recorded = sounding(recorder.settle(begin), 48_000)
        yield told, recorder.silent_since() - asked, recorded


def test_clear_is_the_truth(card: Card) -> None:
    """What clear() says was heard is what was recorded, within 20 ms; silence comes within 50 ms."""
    for _ in range(TRIES):
        sink = card.speaker(48_000)
        with sink.recorded() as recorder, Speaker("pulse", rate=48_000) as speaker:
            results = list(cuts(speaker, recorder, 6))
            if not speaker.dropouts:
                break

    off = sorted(abs(told.ms - recorded) for told, _, recorded in results)
    assert off[-2] <= 20, off
    assert off[-1] <= 60, off
    assert statistics.median(silence for _, silence, _ in results) <= 0.05


def test_clear_without_clicks(card: Card) -> None:
    """clear() fades out: no jump beyond what the signal itself has."""
    for _ in range(TRIES):
        sink = card.speaker(48_000)
        with sink.recorded() as recorder, Speaker("pulse", rate=48_000, latency=SAFE) as speaker:
            list(cuts(speaker, recorder, 2))
            if not speaker.dropouts:
                break

    assert jump(recorder.samples) <= jump(at(tone(0.5), 48_000)) + 8000 / (48_000 * FADE_MS / 1000)


def test_underrun(card: Card) -> None:
    """Audio that comes too late leaves a gap without clicks, which is counted; nothing is lost."""
    for _ in range(TRIES):
        sink = card.speaker(48_000)
        with sink.recorded() as recorder, Speaker("pulse", rate=48_000, latency=SAFE) as speaker:
            speaker.write(tone(0.3), "item")
            wait_until(lambda: not speaker.playing)
            time.sleep(0.05)
            speaker.write(tone(0.3), "item")
            speaker.drain(LIMIT)
            recording = recorder.settle(pause=0.2)
            if not speaker.dropouts:
                break

    assert speaker.underruns == 1
    assert speaker.heard("item").ms == 600
    assert abs(sounding(recording, 48_000) - 600) < 20
    assert jump(recording) <= jump(at(tone(0.5), 48_000)) + 8000 / (48_000 * FADE_MS / 1000)


def test_dropouts(card: Card) -> None:
    """A process that does not serve its device in time is told by a count."""
    card.speaker(48_000)
    slice_ = sys.getswitchinterval()
    with Speaker("pulse", rate=48_000) as speaker:
        speaker.write(tone(2.0))
        wait_until(lambda: speaker.position > 0)
        sys.setswitchinterval(60)  # nobody else gets the interpreter
        try:
            end = time.monotonic() + 0.4
            while time.monotonic() < end:
                pass
        finally:
            sys.setswitchinterval(slice_)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: speaker.dropouts > 0)

        assert speaker.dropouts > 0 or not getattr(sys, "_is_gil_enabled", lambda: True)()


# -- listening ---


def listen(microphone: Microphone) -> list[bytes]:
    """Return blocks until there was sound and then 150 ms of silence."""
    blocks, silent, heard = [], 0, False
    while not heard or silent < 8:
        blocks.append(microphone.read(timeout=LIMIT))
        loud = microphone.level > -60
        heard |= loud
        silent = 0 if loud else silent + 1
    return blocks


def hear(card: Card, signal: NDArray[np.int16], rate: int, channels: int, form: str) -> tuple[list[bytes], float]:
    """Say a signal; return the blocks and how old the last one was. A recorder beside it tells what was to be heard."""
    for _ in range(TRIES):
        sink = card.microphone(rate, channels)
        with sink.recorded() as recorder, Microphone("pulse", rate=rate, format=form) as microphone:
            microphone.read(timeout=LIMIT)
            sink.play(at(signal, rate))
            blocks = listen(microphone)
            behind = time.monotonic() - microphone.captured_at
            said = recorder.settle()
            if not microphone.overruns and noise_ratio(said, at(signal, rate), rate // 200) < -40:
                break  # else the player was too slow, or we
    return blocks, behind


@formats
def test_microphone(card: Card, rate: int, channels: int) -> None:
    """What is said is heard complete, in order, without gaps and without clicks, at any rate of the device."""
    signal = speech(0.8, seed=2)

    blocks, behind = hear(card, signal, rate, channels, "audio/pcm")

    recording = np.frombuffer(b"".join(blocks), "<i2")
    wanted = pcm.resample(at(signal, rate), rate, 24_000)
    assert {len(block) for block in blocks} == {960}
    assert noise_ratio(recording, wanted, 120) < -40
    assert jump(recording) <= jump(wanted) * 1.05 + 2
    assert behind < 1


def test_microphone_in_g711(card: Card) -> None:
    """Blocks of G.711 hold what is said at 8 kHz."""
    signal = speech(0.4, seed=3)

    blocks, _ = hear(card, signal, 48_000, 2, "audio/pcmu")

    assert {len(block) for block in blocks} == {160}
    assert noise_ratio(pcm.ulaw_decode(b"".join(blocks)), pcm.resample(signal, 24_000, 8000), 100) < -25


def test_overruns(card: Card) -> None:
    """A reader that comes too late loses the oldest, which is counted, and goes on with the newest."""
    card.microphone(48_000)
    with Microphone("pulse", rate=48_000, buffer=0.2) as microphone:
        microphone.read(timeout=LIMIT)
        wait_until(lambda: microphone.lost > 0.2)
        waiting = microphone.waiting
        microphone.read(timeout=LIMIT)

        assert microphone.overruns >= 1
        assert 0.1 < waiting <= 0.2
        assert time.monotonic() - microphone.captured_at < 1


def test_mute_and_pause(card: Card) -> None:
    """A muted device gives silence and its level; a paused one gives nothing, and later only what is new."""
    sink = card.microphone(48_000)
    with Microphone("pulse", rate=48_000) as microphone:
        sink.play(tone(10.0, 48_000))
        wait_until(lambda: bool(microphone.read(timeout=LIMIT)) and microphone.level > -20)
        microphone.mute = True
        muted = microphone.read(timeout=LIMIT)
        level = microphone.level
        microphone.mute = False
        microphone.pause()
        with contextlib.suppress(TimedOut):
            while True:
                microphone.read(timeout=0.15)
        microphone.resume()
        resumed = time.monotonic()
        block = microphone.read(timeout=LIMIT)
        captured = microphone.captured_at

    assert muted == bytes(960)
    assert level > -20
    assert any(block)
    assert captured > resumed - 0.1


def test_close_ends_the_iteration(card: Card) -> None:
    """close() in another thread ends a loop over the microphone, at once."""
    card.microphone(48_000)
    microphone = Microphone("pulse", rate=48_000)
    heard, ended = threading.Event(), threading.Event()

    def listen() -> None:
        for _ in microphone:
            heard.set()
        ended.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert heard.wait(LIMIT)
    microphone.close()

    assert ended.wait(2)
    thread.join()
    assert microphone.read() == b""


# -- both ---


def test_echo(card: Card) -> None:
    """What a microphone hears of the speaker can be told from the speaker's level at that moment."""
    sink = card.speaker(48_000)
    card._monkeypatch.setenv("PULSE_SOURCE", f"{sink.name}.monitor")
    with Microphone("pulse", rate=48_000) as microphone, Speaker("pulse", rate=48_000, latency=SAFE) as speaker:
        microphone.read(timeout=LIMIT)
        speaker.write(tone(0.5))
        speaker.finish()
        wait_until(lambda: bool(microphone.read(timeout=LIMIT)) and microphone.level > -20)
        for _ in range(10):
            microphone.read(timeout=LIMIT)
        ended, level = microphone.captured_at, microphone.level
        wait_until(lambda: time.monotonic() > ended)
        played = speaker.loudest(ended - 0.06, ended + 0.04)

    assert level == pytest.approx(pcm.level(tone(0.5)), abs=1.5)
    assert played == pytest.approx(level, abs=1.5)


# -- choosing, and going away ---


def test_devices_are_listed(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    """`meshapi-rt devices` lists what is there; each of them can be chosen by number or by a part of its name."""
    assert main(["devices"]) == 0

    out = capsys.readouterr().out
    inputs, outputs = out.split("speakers:")
    number = next(device.number for device in devices() if device.name == "pulse")
    assert f"{number}  pulse" in inputs
    assert f"{number}  pulse" in outputs
    assert inputs.count("*") == outputs.count("*") == 1
    for chosen in (number, "puls", "PULSE"):
        card.speaker()
        with Speaker(chosen) as speaker:
            assert "'pulse' at 44100 Hz" in repr(speaker)


def test_rate_that_is_none(card: Card) -> None:
    """A device that cannot be opened as asked says so in one sentence."""
    with pytest.raises(DeviceError, match=r"speaker 'pulse' cannot be opened at 1 Hz: .*; see that|allow|let"):
        Speaker("pulse", rate=1)


def test_speaker_unplugged(card: Card) -> None:
    """A speaker that goes away is an error at the next call; the session that it served lives on."""
    card.speaker(48_000)
    with LocalServer() as server, server.client().realtime.connect(model="any/model") as session:
        with card.door(), Speaker("pulse", rate=48_000) as speaker:
            speaker.write(speech(2.0), "item")
            wait_until(lambda: speaker.position > 0)
            card.shut()
            with pytest.raises(DeviceError, match="has stopped: it was unplugged") as caught:
                speaker.drain(LIMIT)
            (told,) = speaker.clear()
        session.send({"type": "session.update", "session": {"type": "realtime", "instructions": "Go on."}})
        session.wait_for("session.updated", timeout=LIMIT)

    assert isinstance(caught.value, OSError)
    assert 0 < told.samples < told.total
    assert speaker.heard("item") == told


def test_microphone_unplugged(card: Card) -> None:
    """A microphone that goes away is an error at the next read, not a read that waits for ever."""
    card.microphone(48_000)
    with card.door(), Microphone("pulse", rate=48_000) as microphone:
        microphone.read(timeout=LIMIT)
        card.shut()

        with pytest.raises(DeviceError, match="unplugged"):
            while True:
                microphone.read(timeout=LIMIT)


def test_sink_unplugged(card: Card) -> None:
    """When the sink that is played into is taken away, the sound server plays elsewhere, or there is an error."""
    sink = card.speaker(48_000)
    with Speaker("pulse", rate=48_000) as speaker:
        speaker.write(speech(1.0), "item")
        wait_until(lambda: speaker.position > 0)
        sink.unplug()

        with contextlib.suppress(DeviceError):
            speaker.drain(LIMIT)


def test_exit_without_close(card: Card) -> None:
    """A program that ends without closing its devices ends at once."""
    card.speaker(48_000)
    card.microphone(48_000)
    program = (
        "from meshapi_rt.devices import Microphone, Speaker\n"
        "m, s = Microphone('pulse', rate=48000), Speaker('pulse', rate=48000)\n"
        "m.read(timeout=10); s.write(bytes(480000)); print('ready', flush=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=False)

    assert (run.returncode, run.stdout) == (0, "ready\n"), run.stderr


# -- the long proof ---


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_no_drift(card: Card) -> None:
    """Over minutes the microphone's clock is the wall's, nothing is lost, and nothing waits longer and longer."""
    minutes = 3.0
    sink = card.speaker(48_000)
    card._monkeypatch.setenv("PULSE_SOURCE", f"{sink.name}.monitor")
    with Microphone("pulse", rate=48_000) as microphone, Speaker("pulse", rate=48_000, latency=SAFE) as speaker:
        microphone.read(timeout=LIMIT)
        first, blocks, behind = microphone.captured_at, 0, []
        while microphone.captured_at - first < minutes * 60:
            if speaker.queued < 1:
                speaker.write(speech(1.0), f"item{blocks}")
            assert len(microphone.read(timeout=LIMIT)) == 960
            blocks += 1
            behind.append(time.monotonic() - microphone.captured_at)

    assert blocks * 0.02 == pytest.approx(minutes * 60, abs=0.1)
    assert statistics.median(behind[-500:]) < statistics.median(behind[:500]) + 0.03
    assert (microphone.lost, speaker.underruns) == (0, 0)
    assert math.isfinite(microphone.level)
