"""What other threads ask of the conductor."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from ..devices.protocols import AudioSink
from ..errors import MeshAPIError

__all__ = ["Ended", "Hush", "Order", "Press", "Release", "Released", "Replace", "Say"]


@attrs.frozen
class Say:
    """The user typed something."""

    text: str
    at: float


@attrs.frozen
class Hush:
    """The answer is to be cut off."""


@attrs.frozen
class Press:
    """The key went down."""


@attrs.frozen
class Release:
    """The key went up."""

    at: float


@attrs.frozen
class Released:
    """All that was said while the key was down has been sent: so many seconds."""

    seconds: float


@attrs.frozen
class Ended:
    """The microphone has ended: a recording is over, or what broke."""

    failure: MeshAPIError | None


@attrs.frozen
class Replace:
    """Another speaker is to be used."""

    sink: AudioSink


Order: TypeAlias = Say | Hush | Press | Release | Released | Ended | Replace
