"""The virtual sound card as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .card import Card, environment


@pytest.fixture(scope="session")
def sound_server() -> dict[str, str]:
    """Return the variables that lead to the virtual sound card; skip where there is none."""
    return environment()


@pytest.fixture
def card(sound_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """Return a virtual sound card, which PortAudio finds as the ALSA device "pulse"."""
    for name, value in sound_server.items():
        monkeypatch.setenv(name, value)
    try:
        import sounddevice
    except (ImportError, OSError) as exc:
        pytest.skip(f"no sounddevice: {exc}")
    # PortAudio looks for devices when it starts, and another test may have started it without this card.
    sounddevice._terminate()
    sounddevice._initialize()
    if not any(device["name"] == "pulse" for device in sounddevice.query_devices()):
        pytest.skip("PortAudio has no ALSA device named pulse: libasound2-plugins is not installed")
    made = Card(monkeypatch)
    yield made
    made.unplug()
