"""The doctor and sound devices: a virtual sound card, and machines where something is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ..cli.diagnosis import diagnose
from ..faces import CLI, LIMIT
from .card import Card
from .signals import tone
from .test_cards import PortAudioError, StandIn, stand_in, without

Capture = pytest.CaptureFixture[str]
__all__ = ["stand_in"]  # a fixture


def test_a_microphone_that_hears(card: Card, capsys: Capture) -> None:
    """Device, rate and level of the microphone, and that the speaker takes sound."""
    card.speaker()
    card.microphone(48_000, 1).play(tone(20.0, rate=48_000))

    found = diagnose(capsys, "--offline")

    assert found["microphone"].startswith("ok: default, ")
    assert "; it hears -" in found["microphone"]
    assert -40 < found.facts("microphone")["level"] < 0
    assert "; it plays, " in found["speaker"]
    assert found.facts("speaker")["rate"] > 0


def test_a_microphone_that_is_muted(card: Card, capsys: Capture) -> None:
    """Nothing but zeros is what a microphone gives that is muted or not permitted: a warning with the remedy."""
    card.speaker()
    card.microphone()

    found = diagnose(capsys, "--offline")

    assert found.code == 0
    assert "gives nothing but digital silence: is it muted? see that the sound server runs" in found["microphone"]


def test_a_device_that_is_refused(stand_in: StandIn, capsys: Capture) -> None:
    """One that cannot be opened is a warning with where its permission is."""
    stand_in.refusal = PortAudioError("Error opening InputStream: Device unavailable [PaErrorCode -9985]")

    found = diagnose(capsys, "--offline")

    assert found.code == 0
    assert found["microphone"].startswith("warn: the microphone 'Headset' cannot be opened at 48000 Hz: Device unav")
    assert found["speaker"].startswith("warn: the speaker 'Headset' cannot be opened")


def test_a_device_that_gives_nothing(stand_in: StandIn, capsys: Capture) -> None:
    """A driver that opens and never calls holds nobody up."""
    found = diagnose(capsys, "--offline", "--timeout", "1")

    opens = "warn: Headset, 48000 Hz, {}, Core; it opens, but: {}; "
    gave_nothing = "<Microphone 'Headset' at 48000 Hz> gave nothing within 1 s"
    assert found["microphone"].startswith(opens.format("1 channel", gave_nothing))
    assert found["speaker"].startswith(opens.format("6 channels", "0.10 s of audio were still to be heard after 1 s"))


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("OSError('PortAudio library not found')", "warn  microphone   the PortAudio library is missing: "),
        ("ImportError('no')", "skip  microphone   using sound devices needs an optional package: pip install "),
    ],
)
def test_what_is_missing(tmp_path: Path, raised: str, told: str) -> None:
    """Without the library or the package the remedy is told, and nothing fails: a session needs neither."""
    run = subprocess.run(
        [*CLI, "doctor", "--offline"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=without(tmp_path, raised),
    )

    assert run.returncode == 0, run.stdout
    assert told in run.stdout
    assert "sounddevice does not load" in run.stdout
