"""The audio formats of the wire (protocol.md, section 5): what a sample takes there, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from . import pcm
from .errors import ConfigurationError

__all__ = ["FORMATS", "WireFormat", "format_named"]


@attrs.frozen
class WireFormat:
    """One of the three formats.

    Attributes:
        name: As in the session object: ``audio/pcm``, ``audio/pcmu`` or ``audio/pcma``.
        rate: Samples per second.
        width: Bytes per sample.
    """

    name: str
    rate: int
    width: int

    @property
    def bytes_per_ms(self) -> int:
        """48 for PCM, 8 for G.711."""
        return self.rate * self.width // 1000

    def decode(self, data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
        """Return whole samples, at the rate of the format; an odd last byte of PCM is left out."""
        if self.name == "audio/pcmu":
            return pcm.ulaw_decode(data)
        if self.name == "audio/pcma":
            return pcm.alaw_decode(data)
        return np.frombuffer(data, dtype="<i2", count=len(data) // 2)

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Write samples that have the rate of the format already."""
        if self.name == "audio/pcmu":
            return pcm.ulaw_encode(samples)
        if self.name == "audio/pcma":
            return pcm.alaw_encode(samples)
        return samples.astype("<i2", copy=False).tobytes()


FORMATS: Mapping[str, WireFormat] = {
    "audio/pcm": WireFormat("audio/pcm", pcm.SAMPLE_RATE, 2),
    "audio/pcmu": WireFormat("audio/pcmu", 8000, 1),
    "audio/pcma": WireFormat("audio/pcma", 8000, 1),
}


def format_named(name: str) -> WireFormat:
    """Find a format by its name.

    Raises:
        ConfigurationError: There is no such format.
    """
    try:
        return FORMATS[name]
    except (KeyError, TypeError):
        raise ConfigurationError(f"an audio format is one of {', '.join(FORMATS)}; not {name!r}") from None
