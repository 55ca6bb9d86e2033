"""Which microphone and which speaker a live conversation has: devices, recordings, or none."""

from __future__ import annotations

import math
from pathlib import Path

from ...devices import BaseMicrophone, BaseSpeaker, FileMicrophone, FileSpeaker, Microphone, Speaker
from .options import NONE, Choice

__all__ = ["described", "open_microphone", "open_speaker"]


def open_microphone(choice: Choice) -> BaseMicrophone:
    """Open a microphone; a recording is followed by silence without end, as a room is.

    Raises:
        DeviceError: There is none, or it cannot be opened.
        AudioFileError: The recording cannot be read.
        MissingExtraError: Sound devices need the ``[audio]`` extra.
    """
    if isinstance(choice, Path):
        return FileMicrophone(choice, tail=math.inf)
    if choice == NONE:
        silent = FileMicrophone(tail=math.inf)
        silent.pause()  # nothing at all is sent
        return silent
    return Microphone(choice)


def open_speaker(choice: Choice) -> BaseSpeaker:
    """Open a speaker; without one answers are text, and nothing is ever written to it.

    Raises:
        DeviceError: There is none, or it cannot be opened.
        AudioFileError: The file cannot be written.
        MissingExtraError: Sound devices need the ``[audio]`` extra.
    """
    if isinstance(choice, Path):
        return FileSpeaker(choice)
    return FileSpeaker(speed=math.inf) if choice == NONE else Speaker(choice)


def described(device: BaseMicrophone | BaseSpeaker, choice: Choice) -> str:
    """Say what a device is, for a person."""
    if isinstance(choice, Path):
        return str(choice)
    return NONE if choice == NONE else repr(device).strip("<>").partition(" ")[2]
