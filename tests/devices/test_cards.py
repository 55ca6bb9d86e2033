"""Which device is meant, and what is said when there is none: on a stand-in for sounddevice, for every platform."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from meshapi_rt.devices import Microphone, Speaker, devices, sound
from meshapi_rt.devices.cards import Device, Kind, find
from meshapi_rt.errors import DeviceError, MissingExtraError, TimedOut

from ..faces import CLI, LIMIT, environment
from .signals import tone

PLATFORMS = ["linux", "darwin", "win32"]


def device(number: int, name: str, api: str, *, inputs: int = 0, outputs: int = 2, default: str = "") -> Device:
    """Return a device; *default* may hold i and o."""
    return Device(
        number=number,
        name=name,
        api=api,
        inputs=inputs,
        outputs=outputs,
        rate=48_000,
        default_input="i" in default,
        default_output="o" in default,
    )


MACHINE = [
    device(0, "Microphone (USB Headset)", "MME", inputs=1, outputs=0, default="i"),
    device(1, "Speakers (USB Headset)", "MME", default="o"),
    device(2, "Speakers (Realtek)", "MME"),
    device(3, "Speakers (USB Headset)", "WASAPI"),
    device(4, "Speakers (Realtek)", "WASAPI"),
    device(5, "Line", "WASAPI", inputs=2),
    device(6, "Line out", "WASAPI"),
]


# -- which one ---


@pytest.mark.parametrize(
    ("wanted", "kind", "number"),
    [
        (None, "input", 0),
        (None, "output", 1),
        (4, "output", 4),
        ("realtek", "output", 2),  # of two interfaces, the one of the default device
        ("USB HEADSET", "output", 1),
        ("usb", "input", 0),
        ("line", "output", 5),  # the whole name goes before a part of one
        ("Line out", "output", 6),
        ("line", "input", 5),
    ],
)
def test_found(wanted: int | str | None, kind: Kind, number: int) -> None:
    """A device is found by default, by number, and by a part of its name in any case."""
    assert find(wanted, kind, MACHINE).number == number


@pytest.mark.parametrize(
    ("wanted", "kind", "told"),
    [
        ("speakers", "output", "'speakers' is the name of 2 speakers; choose one of: 1 'Speakers (USB Headset)' (MME)"),
        ("piano", "output", "'piano' is the name of no speaker; choose one of: 1 "),
        ("", "output", "'' is the name of no speaker"),
        (0, "output", "no speaker has the number 0; choose one of"),
        (99, "input", "no microphone has the number 99; choose one of: 0 'Microphone (USB Headset)' (MME); 5 'Line'"),
        (True, "input", "a microphone is chosen by number or name, not by True"),
        (1.0, "output", "a speaker is chosen by number or name, not by 1.0"),
    ],
)
def test_not_found(wanted: Any, kind: Kind, told: str) -> None:
    """A device that is unknown or ambiguous is told in one sentence with the choices."""
    with pytest.raises(DeviceError) as caught:
        find(wanted, kind, MACHINE)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_device(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any device, or any default, the sentence says what to do on this platform."""
    monkeypatch.setattr(sys, "platform", platform)

    with pytest.raises(DeviceError, match="there is no microphone on this machine; connect one, and"):
        find(None, "input", MACHINE[1:5])
    with pytest.raises(DeviceError, match="there is no default speaker; choose one of: 2"):
        find(None, "output", MACHINE[2:])


# -- a stand-in ---


class PortAudioError(Exception):
    """As sounddevice's."""


class Stream:
    """Does nothing by itself: the test calls its callback."""

    latency = 0.02

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.running = False
        self.closed = False

    def start(self) -> None:
        """Note it."""
        self.running = True

    def abort(self, **_: bool) -> None:
        """Note it."""
        self.running = False

    def close(self, **_: bool) -> None:
        """Note it."""
        self.closed = True


class StandIn(SimpleNamespace):
    """The part of sounddevice that is used, on a machine with one headset."""

    def __init__(self) -> None:
        super().__init__(PortAudioError=PortAudioError, default=SimpleNamespace(device=(-1, -1), hostapi=0))
        self.streams: list[Stream] = []
        self.starts = 0
        self.refusal: Exception | None = None

    def _terminate(self) -> None:
        self.starts -= 1

    def _initialize(self) -> None:
        self.starts += 2

    def query_hostapis(self) -> Any:
        """Return one interface."""
        return ({"name": "Core", "default_input_device": 0, "default_output_device": 0},)

    def query_devices(self) -> Any:
        """Return one device."""
        channels = {"max_input_channels": 1, "max_output_channels": 6}
        return [{"name": "Headset", "hostapi": 0, "default_samplerate": 48_000.0, **channels}]

    def InputStream(self, **options: Any) -> Stream:  # noqa: N802 - its name there
        """Open a stream, or refuse."""
        if self.refusal is not None:
            raise self.refusal
        self.streams.append(Stream(**options))
        return self.streams[-1]

    OutputStream = InputStream


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put a stand-in in place of sounddevice."""
    made = StandIn()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def times(now: float = 0.0, then: float = 0.0) -> Any:
    """Return what a device says of the time."""
    return SimpleNamespace(currentTime=now, outputBufferDacTime=then, inputBufferAdcTime=then)


def test_listed(stand_in: StandIn) -> None:
    """Every device is listed with what it can do; the defaults are those of the first interface."""
    (only,) = devices()

    assert (only.name, only.api, only.inputs, only.outputs, only.rate) == ("Headset", "Core", 1, 6, 48_000)
    assert only.default_input
    assert only.default_output


def test_refresh(stand_in: StandIn) -> None:
    """Devices that came later are found on request, but not while one is open."""
    with Speaker(), pytest.raises(DeviceError, match="close 'Headset' first"):
        devices(refresh=True)
    assert stand_in.starts == 0

    assert len(devices(refresh=True)) == 1
    assert stand_in.starts == 1


def test_digital_silence(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A microphone that gives zeros and nothing else is told in the log, once; that is how some systems refuse it."""
    with Microphone() as microphone:
        call = stand_in.streams[0].options["callback"]
        for _ in range(700):
            call(np.zeros((480, 1), np.int16), 480, times(), False)
            with contextlib.suppress(TimedOut):
                microphone.read(timeout=0)

    assert caplog.text.count("gave nothing but zeros for 3 s; if it should hear something: ") == 1


def test_channels(stand_in: StandIn) -> None:
    """A device is opened at its own rate with one or two channels; all of them get the sound."""
    with Microphone(), Speaker() as speaker:
        microphone_stream, speaker_stream = stand_in.streams
        speaker.write(tone(1.0))
        out = np.full((480, 2), 99, np.int16)
        speaker_stream.options["callback"](out, 480, times(), False)

    assert (microphone_stream.options["channels"], speaker_stream.options["channels"]) == (1, 2)
    assert speaker_stream.options["samplerate"] == 48_000
    assert out[100:].any()
    assert np.array_equal(out[:, 0], out[:, 1])
    assert microphone_stream.closed
    assert speaker_stream.closed


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("make", [Microphone, Speaker])
def test_refused(make: Callable[[], object], platform: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that cannot be opened is told in one sentence, with where this platform keeps its permissions."""
    monkeypatch.setattr(sys, "platform", platform)
    stand_in.refusal = PortAudioError("Error opening InputStream: Device unavailable [PaErrorCode -9985]")
    where = {"linux": "group audio", "darwin": "System Settings > Privacy", "win32": "Settings > Privacy"}[platform]

    with pytest.raises(DeviceError, match=f"'Headset' cannot be opened at 48000 Hz: Device unav.*{where}") as caught:
        make()

    assert "\n" not in str(caught.value)


def test_callback_never_raises(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in a callback is silence there, and an error of the owner's next call."""
    with Speaker() as speaker, Microphone() as microphone:
        output, input_ = (stream.options["callback"] for stream in stand_in.streams)
        out = np.full((480, 2), 99, np.int16)
        monkeypatch.setattr(type(speaker._playback), "render", lambda *_: 1 / 0)
        output(out, 480, times(), False)
        input_(None, 480, times(), False)

        with pytest.raises(DeviceError, match=r"<Speaker 'Headset' at 48000 Hz> failed.*ZeroDivisionError"):
            speaker.write(tone(0.1))
        with pytest.raises(DeviceError, match="failed in its callback"):
            microphone.read(timeout=LIMIT)
        assert not out.any()


def test_stopped(stand_in: StandIn) -> None:
    """A device that ends by itself is an error of the next call; clear() and heard() still tell."""
    with Speaker() as speaker, Microphone() as microphone:
        speaker.write(tone(1.0), "item")
        for stream in stand_in.streams:
            stream.options["finished_callback"]()

        with pytest.raises(DeviceError, match="has stopped: it was unplugged or taken away; close it and open"):
            speaker.write(tone(0.1))
        with pytest.raises(DeviceError, match="has stopped"):
            microphone.read(timeout=LIMIT)
        assert speaker.clear()[0].samples == speaker.heard("item").samples == 0


def test_stalled(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that just stops calling is taken for gone after a while."""
    monkeypatch.setattr(sound, "_STALLED", 0.2)
    with Speaker() as speaker, Microphone() as microphone:
        speaker.write(tone(1.0))

        with pytest.raises(DeviceError, match=r"silent for 0\.2 s: was it unplugged"):
            speaker.drain(LIMIT)
        with pytest.raises(DeviceError, match="was it unplugged"):
            microphone.read(timeout=LIMIT)


@pytest.mark.parametrize(("now", "then"), [(0.0, 0.0), (1000.0, 1000.02), (5.0, 9e9)])
def test_clocks(stand_in: StandIn, now: float, then: float) -> None:
    """What is heard is what the device has given out by its own clock, or by its latency where it tells none."""
    with Speaker(prebuffer_ms=0) as speaker:
        speaker.write(tone(1.0), "item")
        call = stand_in.streams[0].options["callback"]
        out = np.zeros((4800, 2), np.int16)
        began = time.monotonic()
        call(out, 4800, times(now, then), False)
        called = time.monotonic()
        heard = []
        while time.monotonic() < began + 0.3:
            before = time.monotonic()
            samples = speaker.heard("item").samples
            heard.append(samples)
            # 20 ms of latency, then 100 ms of sound
            assert min(2400, (before - called - 0.02) * 24_000) - 2 <= samples
            assert samples <= max(0.0, min(2400, (time.monotonic() - began - 0.02) * 24_000 + 2))

    assert heard[-1] == 2400


# -- without PortAudio, without the package ---


def without(tmp_path: Path, raised: str) -> dict[str, str]:
    """Return an environment in which importing sounddevice raises."""
    (tmp_path / "sounddevice.py").write_text(f"raise {raised}\n")
    path = f"{tmp_path}{';' if sys.platform == 'win32' else ':'}{Path(__file__).parents[2]}"
    return environment(PYTHONPATH=path)


def test_no_portaudio(tmp_path: Path) -> None:
    """Without the PortAudio library `meshapi-rt devices` says in one line what to install."""
    env = without(tmp_path, "OSError('PortAudio library not found')")
    run = subprocess.run([*CLI, "devices"], capture_output=True, text=True, timeout=LIMIT, check=False, env=env)

    assert run.returncode == 1
    assert run.stderr.startswith("meshapi-rt: the PortAudio library is missing: ")
    assert len(run.stderr.splitlines()) == 1


def test_no_package(tmp_path: Path) -> None:
    """Without the package the line names the extra."""
    env = without(tmp_path, "ImportError('no')")
    run = subprocess.run([*CLI, "devices"], capture_output=True, text=True, timeout=LIMIT, check=False, env=env)

    assert run.returncode == 1
    assert run.stderr == "meshapi-rt: using sound devices needs an optional package: pip install 'meshapi-rt[audio]'\n"


def test_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a device without the extra names it."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for make in (Microphone, Speaker):
        with pytest.raises(MissingExtraError, match=r"meshapi-rt\[audio\]"):
            make()


def test_recordings_need_nothing(tmp_path: Path) -> None:
    """The package and its recordings work without sounddevice, soundfile and soxr, and import none of them."""
    program = (
        "import sys, math\n"
        "from meshapi_rt.devices import FileMicrophone, FileSpeaker\n"
        "with FileMicrophone(bytes(9600), speed=math.inf) as m, FileSpeaker(speed=math.inf) as s:\n"
        "    for block in m: s.write(block)\n"
        "    s.drain(5)\n"
        "assert not {'sounddevice', 'soundfile', 'soxr'} & set(sys.modules), sys.modules.keys()\n"
        "print(s.audio.size)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=False, env=environment()
    )

    assert (run.returncode, run.stdout) == (0, "4800\n"), run.stderr
