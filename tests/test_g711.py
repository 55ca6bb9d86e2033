"""G.711 against the recommendation's thresholds and, where there is one, CPython's audioop."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from meshapi_rt import g711, pcm
from meshapi_rt.errors import AudioFormatError

EVERY_SAMPLE = np.arange(-32768, 32768).astype("<i2")
EVERY_CODE = bytes(range(256))

LAWS = pytest.mark.parametrize(
    ("encode", "decode"), [(pcm.ulaw_encode, pcm.ulaw_decode), (pcm.alaw_encode, pcm.alaw_decode)]
)


@pytest.fixture(scope="module")
def audioop() -> Any:
    """CPython's own codec, which 3.13 took out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pytest.importorskip("audioop")


def test_every_sample_and_code_is_that_of_audioop(audioop: Any) -> None:
    """Exhaustively: 65536 samples and 256 codes of both laws."""
    raw = EVERY_SAMPLE.tobytes()

    assert pcm.ulaw_encode(raw) == audioop.lin2ulaw(raw, 2)
    assert pcm.alaw_encode(raw) == audioop.lin2alaw(raw, 2)
    assert pcm.ulaw_decode(EVERY_CODE).tobytes() == audioop.ulaw2lin(EVERY_CODE, 2)
    assert pcm.alaw_decode(EVERY_CODE).tobytes() == audioop.alaw2lin(EVERY_CODE, 2)


# The recommendation, as its tables build it: the ends of the segments, each with 16 steps of one width, in
# units of 14 bits for µ-law and 13 bits for A-law. The first step of µ-law is half as wide, around zero.
ULAW_THRESHOLDS = [0, *range(1, 31, 2)]
for low, width in zip((31, 95, 223, 479, 991, 2015, 4063), (4, 8, 16, 32, 64, 128, 256), strict=True):
    ULAW_THRESHOLDS += range(low, low + 16 * width, width)
ALAW_THRESHOLDS = [*range(0, 64, 2)]
for low, width in zip((64, 128, 256, 512, 1024, 2048), (4, 8, 16, 32, 64, 128), strict=True):
    ALAW_THRESHOLDS += range(low, low + 16 * width, width)


def test_ulaw_has_the_thresholds_of_the_recommendation() -> None:
    """A magnitude of 14 bits lies in the step whose lower threshold it has reached; codes count down."""
    step = [max(i for i, low in enumerate(ULAW_THRESHOLDS) if low <= value) for value in range(8192)]

    assert len(ULAW_THRESHOLDS) == 128
    for value in range(8192):
        assert g711.ulaw_codes()[4 * value] == 0xFF - step[value]
    for value in range(1, 8192):
        assert g711.ulaw_codes()[65536 - 4 * value] == 0x7F - step[value]


def test_alaw_has_the_thresholds_of_the_recommendation() -> None:
    """A magnitude of 13 bits lies in the step whose lower threshold it has reached; bits are inverted."""
    step = [max(i for i, low in enumerate(ALAW_THRESHOLDS) if low <= value) for value in range(4096)]

    assert len(ALAW_THRESHOLDS) == 128
    for value in range(4096):
        assert g711.alaw_codes()[8 * value] == (0x80 | step[value]) ^ 0x55
        assert g711.alaw_codes()[65535 - 8 * value] == step[value] ^ 0x55


@pytest.mark.parametrize(
    ("samples", "codes", "thresholds", "unit", "top"),
    [
        (pcm.ulaw_decode, range(0xFF, 0x7F, -1), ULAW_THRESHOLDS, 4, 8159),
        (pcm.alaw_decode, [0x55 ^ (0x80 | i) for i in range(128)], ALAW_THRESHOLDS, 8, 4096),
    ],
)
def test_a_code_stands_for_the_middle_of_its_step(
    samples: Callable[[bytes], Any], codes: Any, thresholds: list[int], unit: int, top: int
) -> None:
    """Decoding gives the mean of the two thresholds around; the first step of µ-law is silence itself."""
    ends = [*thresholds[1:], top]
    middles = [unit * (low + high) // 2 for low, high in zip(thresholds, ends, strict=True)]
    if unit == 4:
        middles[0] = 0

    assert samples(bytes(codes)).tolist() == middles
    assert samples(bytes(code ^ 0x80 for code in codes)).tolist() == [-middle for middle in middles]


@LAWS
def test_decoded_samples_encode_to_the_same_sound(encode: Any, decode: Any) -> None:
    """A second round changes nothing; only the two zeros of µ-law become one."""
    once = decode(EVERY_CODE)

    assert decode(encode(once)).tolist() == once.tolist()
    assert sum(a != b for a, b in zip(encode(once), EVERY_CODE, strict=True)) == (encode is pcm.ulaw_encode)


@LAWS
def test_the_error_keeps_to_a_step(encode: Any, decode: Any) -> None:
    """What comes back is within 8 % of the sample, or within a smallest step; order is kept."""
    there = EVERY_SAMPLE.astype(int)
    back = decode(encode(EVERY_SAMPLE)).astype(int)

    assert (np.abs(back - there) <= np.maximum(0.08 * np.abs(there), 16)).all()
    assert (np.diff(back) >= 0).all()


@LAWS
def test_bad_input_is_refused(encode: Any, decode: Any) -> None:
    """Encoding takes audio, decoding takes bytes."""
    with pytest.raises(AudioFormatError, match="3 bytes"):
        encode(b"abc")
    with pytest.raises(AudioFormatError, match="of type str"):
        decode("abc")
    assert decode(b"").shape == (0,)


def test_the_tables_cannot_be_changed() -> None:
    """They are shared by everyone."""
    module = importlib.import_module("meshapi_rt.g711")

    for name in module.__all__:
        assert not getattr(module, name)().flags.writeable
