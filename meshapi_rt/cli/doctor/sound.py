"""Microphone and speaker: are there any, do they open, and does sound come and go?"""

from __future__ import annotations

import threading
from functools import partial

import numpy as np

from ... import pcm
from ...devices import Microphone, Speaker
from ...devices.cards import Device, Kind, choose, remedy_for_silence
from ...errors import MissingExtraError, TimedOut
from ...waiting import Wait
from .checkup import Check, Finding, ok, skip, warn

__all__ = ["sound_checks"]

_LISTEN = 0.5  # seconds
_PLAY = 0.1  # seconds of silence


def sound_checks(cancel: threading.Event) -> list[Check]:
    """Return the checks of the default devices.

    Args:
        cancel: Ends whatever waits.
    """
    kinds: dict[str, Kind] = {"microphone": "input", "speaker": "output"}
    return [Check(name, partial(_look, kind, cancel), optional=True) for name, kind in kinds.items()]


def _look(kind: Kind, cancel: threading.Event, wait: Wait) -> Finding:
    try:
        device = choose(None, kind)
    except MissingExtraError as exc:
        return skip(str(exc))
    try:
        return (_listen if kind == "input" else _play)(device, cancel, wait)
    except TimedOut as exc:
        return warn(f"{_described(device, kind)}; it opens, but: {exc}; {remedy_for_silence()}")


def _listen(device: Device, cancel: threading.Event, wait: Wait) -> Finding:
    heard = bytearray()
    with Microphone(device.number) as microphone:
        while pcm.duration(heard) < _LISTEN:
            heard += microphone.read(timeout=wait.timeout, cancel=cancel)
    told, facts = _described(device, "input"), {"device": device.name, "rate": device.rate}
    if not any(heard):
        return warn(f"{told}; it gives nothing but digital silence: is it muted? {remedy_for_silence()}", **facts)
    level = pcm.level(bytes(heard))
    return ok(f"{told}; it hears {level:.0f} dBFS", level=level, **facts)


def _play(device: Device, cancel: threading.Event, wait: Wait) -> Finding:
    with Speaker(device.number) as speaker:
        speaker.write(np.zeros(round(_PLAY * pcm.SAMPLE_RATE), np.int16))
        speaker.drain(timeout=wait.timeout, cancel=cancel)
        latency = speaker.latency
    told = f"{_described(device, 'output')}; it plays, {round(1000 * latency)} ms late"
    return ok(told, device=device.name, rate=device.rate, latency=latency)


def _described(device: Device, kind: Kind) -> str:
    channels = device.channels(kind)
    return f"{device.name}, {device.rate} Hz, {channels} channel{'s' if channels > 1 else ''}, {device.api}"
