"""The room pcm: what it takes, what it gives back, what it refuses and how fast it is."""

from __future__ import annotations

import array
import itertools
import math
import sys
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshapi_rt import pcm
from meshapi_rt.errors import AudioFormatError, MissingExtraError

EVERY_SAMPLE = np.arange(-32768, 32768).astype("<i2")
FEW = np.array([0, 1, -2, 32767, -32768, 256], "<i2")


def sine(hertz: float, seconds: float, rate: int = pcm.SAMPLE_RATE, peak: float = 1.0) -> Any:
    """Return a tone of some peak, as float64."""
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


# -- in and out ---


@pytest.mark.parametrize(
    "audio",
    [
        FEW.tobytes(),
        bytearray(FEW.tobytes()),
        memoryview(FEW.tobytes()),
        memoryview(FEW.tobytes()).cast("b"),
        memoryview(FEW.tobytes()).cast("c"),
        memoryview(FEW.tobytes()).cast("B", (3, 4)),
        FEW.data,
        np.repeat(FEW, 2).data[::2],
        array.array("b", FEW.tobytes()),
        FEW,
        FEW.reshape(-1, 1),
        FEW.astype(">i2"),
        FEW.astype(">i2").data,
        np.repeat(FEW, 3)[::3],
        FEW[::-1].copy()[::-1],
        np.stack([FEW, FEW], axis=1)[:, 0],
        FEW / np.float64(32768),
        FEW / np.float32(32768),
        (FEW / np.float32(32768)).astype(">f4"),
        (FEW / np.float32(32768)).reshape(-1, 1),
    ],
)
def test_all_ways_to_hand_over_audio_give_the_same_samples(audio: Any) -> None:
    """Bytes, buffers and arrays of any layout are one and the same audio."""
    samples = pcm.as_int16(audio)

    assert samples.dtype == np.dtype("<i2")
    assert samples.flags.c_contiguous
    assert samples.shape == FEW.shape
    assert samples.tolist() == FEW.tolist()


@pytest.mark.skipif(sys.byteorder == "big", reason="array.array has the byte order of the machine")
def test_an_array_of_16_bit_integers_goes() -> None:
    """The standard library's own array of samples is audio, too."""
    samples = pcm.as_int16(array.array("h", FEW.tolist()))  # type: ignore[arg-type]

    assert samples.tolist() == FEW.tolist()


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        (None, "of type NoneType; pass PCM16 bytes or a numpy array"),
        ("abcd", "of type str; pass"),
        ([1, 2], "of type list; pass"),
        (7, "of type int; pass"),
        (b"abc", "3 bytes, and 16-bit samples take an even number; pass whole samples"),
        (bytearray(1), "1 bytes"),
        (memoryview(bytes(8))[::2], "of type memoryview with gaps; pass bytes() of it"),
        (array.array("i", [1]), "of type array with items of format 'i'; pass raw PCM16"),
        (array.array("f", [1]), "format 'f'"),
        (np.zeros(4, np.int32), "dtype int32; pass int16, or floats in [-1, 1]"),
        (np.zeros(4, np.uint8), "dtype uint8; pass int16"),
        (np.zeros(4, np.uint16), "dtype uint16"),
        (np.zeros(4, np.complex64), "dtype complex64"),
        (np.zeros(4, bool), "dtype bool"),
        (np.array(["a"]), "dtype <U1"),
        (np.array([None]), "dtype object"),
        (np.zeros((480, 2), np.int16), "2 channels (shape (480, 2)); mix it down with pcm.to_mono()"),
        (np.zeros((1, 480), np.float32), "480 channels (shape (1, 480))"),
        (np.zeros((4, 0), np.int16), "0 channels"),
        (np.zeros((2, 2, 2), np.int16), "shape (2, 2, 2); pass one dimension"),
        (np.array(0, np.int16), "shape (); pass one dimension"),
        (np.int16(3), "shape (); pass one dimension"),
        (np.array([0, 0.5, np.nan]), "audio[2] is nan, and floats must lie in [-1, 1]; look where"),
        (np.array([0, np.inf], np.float32), "audio[1] is inf, and floats must lie in [-1, 1]; scale"),
        (np.array([0, -np.inf], np.float16), "audio[1] is -inf"),
        (
            np.array([0, 300, -400.0]),
            "audio[1] is 300, and floats must lie in [-1, 1]; scale it, or use from_",
        ),
        (np.array([1e308, 0]), "audio[0] is 1e+308"),
        (np.nextafter(np.array([1], np.float32), np.float32(2)), "audio[0] is 1.00000012"),
        (np.append(np.zeros(70_000), [np.nan, 2]), "audio[70000] is nan"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(audio: Any, says: str) -> None:
    """The error names what was seen and what to do, and keeps to one line."""
    with pytest.raises(AudioFormatError) as caught:
        pcm.as_int16(audio)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_released_memoryview_is_refused() -> None:
    """A view whose bytes are gone is named as such."""
    view = memoryview(b"ab")
    view.release()

    with pytest.raises(AudioFormatError, match="a released memoryview"):
        pcm.as_int16(view)


@pytest.mark.parametrize("audio", [FEW.tobytes(), bytearray(FEW.tobytes()), FEW.data, FEW, FEW[2:]])
def test_what_is_samples_already_is_not_copied(audio: Any) -> None:
    """Bytes and contiguous int16 arrays come back as views of themselves."""
    samples = pcm.as_int16(audio)

    assert np.shares_memory(samples, np.frombuffer(audio, np.uint8))


@pytest.mark.parametrize("empty", [b"", np.zeros(0, np.int16), np.zeros(0), np.zeros((0, 1), np.float32)])
def test_empty_audio_is_audio(empty: Any) -> None:
    """No samples are fine everywhere."""
    assert pcm.as_int16(empty).shape == (0,)
    assert pcm.to_bytes(empty) == b""
    assert pcm.to_float(empty).shape == (0,)
    assert pcm.duration(empty) == 0
    assert pcm.level(empty) == -math.inf
    assert list(pcm.split(empty, 1)) == []
    assert pcm.ulaw_encode(empty) == pcm.alaw_encode(empty) == b""
    assert pcm.resample(empty, 8_000, 24_000).shape == (0,)


def test_bytes_come_back_as_they_are() -> None:
    """to_bytes() copies no bytes, and undoes as_int16()."""
    raw = FEW.tobytes()

    assert pcm.to_bytes(raw) is raw
    assert pcm.to_bytes(FEW) == pcm.to_bytes(FEW.astype(">i2")) == raw


def test_every_sample_survives_the_way_through_floats() -> None:
    """int16 to float to int16 is the identity on all 65536 values, in each kind of float."""
    floats = pcm.to_float(EVERY_SAMPLE)

    assert floats.dtype == np.float32
    assert (floats.min(), floats.max()) == (-1, 32767 / 32768)
    assert pcm.from_float(floats).tolist() == EVERY_SAMPLE.tolist()
    assert pcm.as_int16(floats.astype(np.float64)).tolist() == EVERY_SAMPLE.tolist()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_the_ends_of_the_scale(kind: Any) -> None:
    """-1 is -32768; 1 is 32767, the largest there is."""
    samples = pcm.from_float(np.array([-1, -0.5, 0, 0.5, 1], kind))

    assert samples.tolist() == [-32768, -16384, 0, 16384, 32767]


def test_floats_are_rounded() -> None:
    """Not cut off: the nearest sample is taken on both sides of zero."""
    samples = pcm.from_float(np.array([0.6, -0.6, 1.4, -1.4, 32766.7]) / 32768)

    assert samples.tolist() == [1, -1, 1, -1, 32767]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_clipping_is_for_those_who_ask(kind: Any) -> None:
    """With clip, what lies outside becomes the end of the scale, infinity too."""
    samples = pcm.from_float(np.array([7, -7, np.inf, -np.inf, 0.5], kind), clip=True)

    assert samples.tolist() == [32767, -32768, 32767, -32768, 16384]


def test_nan_cannot_be_clipped() -> None:
    """NaN has no place on the scale."""
    with pytest.raises(AudioFormatError, match=r"audio\[1\] is nan"):
        pcm.from_float(np.array([3, np.nan]), clip=True)


def test_from_float_takes_floats_only() -> None:
    """Samples that are 16-bit already are not scaled again."""
    with pytest.raises(AudioFormatError, match="16-bit already"):
        pcm.from_float(FEW)


def test_the_argument_is_left_as_it_was() -> None:
    """Conversions work on memory of their own."""
    floats = np.array([0.5, -3])

    pcm.from_float(floats, clip=True)

    assert floats.tolist() == [0.5, -3]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, ">i2"])
def test_mono_is_the_mean_of_the_channels(kind: Any) -> None:
    """The dtype stays."""
    mono = pcm.to_mono(np.array([[1, 3, 8], [-1, -2, -3]], kind))

    assert mono.dtype == np.dtype(kind)
    assert mono.tolist() == [4, -2]


def test_mono_does_not_overflow() -> None:
    """The loudest channels there are have the loudest mean."""
    loud = np.array([[32767] * 600, [-32768] * 600], np.int16)
    huge = np.full((2, 2), 1e308)

    assert pcm.to_mono(loud).tolist() == [32767, -32768]
    assert pcm.to_mono(huge).shape == (2,)


def test_mono_passes_through_to_mono() -> None:
    """One dimension is mono already; one channel is its own mean."""
    assert pcm.to_mono(FEW) is FEW
    assert pcm.to_mono(FEW.reshape(-1, 1)).tolist() == FEW.tolist()


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros((3, 0), np.int16), r"shape \(3, 0\)"),
        (np.zeros((3, 2, 1), np.int16), r"shape \(3, 2, 1\)"),
        (np.zeros((3, 2), np.int32), "dtype int32"),
        ([[1, 2]], "of type list; pass a numpy array"),
    ],
)
def test_mono_of_what_has_no_channels_is_refused(samples: Any, says: str) -> None:
    """Arrays of frames by channels, and nothing else."""
    with pytest.raises(AudioFormatError, match=says):
        pcm.to_mono(samples)


# -- cut and join ---


@given(st.integers(0, 500), st.integers(1, 200))
def test_pieces_put_together_are_the_whole(count: int, step: int) -> None:
    """Every piece but the last has the duration asked for; none is empty; nothing is copied or lost."""
    audio = EVERY_SAMPLE[:count].tobytes()

    pieces = list(pcm.split(audio, step / pcm.SAMPLE_RATE))

    assert b"".join(bytes(piece) for piece in pieces) == audio
    assert all(piece.size == step for piece in pieces[:-1])
    assert all(0 < piece.size <= step for piece in pieces)
    assert all(np.shares_memory(piece, np.frombuffer(audio, np.uint8)) for piece in pieces)


def test_split_checks_before_the_first_piece() -> None:
    """A mistake shows where it was made, not where the pieces are used."""
    with pytest.raises(AudioFormatError):
        pcm.split(b"abc", 1)
    for seconds in (0, 1e-9, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds must be"):
            pcm.split(b"", seconds)


@given(st.binary(max_size=200), st.lists(st.integers(0, 9)))
def test_any_chunking_gives_the_same_samples(raw: bytes, sizes: list[int]) -> None:
    """A joiner gives whole samples only, in order, and at the end the byte that is left over."""
    joiner = pcm.Joiner()
    edges = [0, *np.minimum(np.cumsum(sizes, dtype=int), len(raw)).tolist(), len(raw)]

    pieces = [joiner.push(raw[start:end]) for start, end in itertools.pairwise(edges)]

    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert b"".join(pieces) == raw[: len(raw) // 2 * 2]
    assert joiner.flush() == raw[len(raw) // 2 * 2 :]


def test_a_joiner_starts_anew_after_flush() -> None:
    """The byte left over by one stream does not shift the next."""
    joiner = pcm.Joiner()
    joiner.push(b"abc")

    assert joiner.flush() == b"c"
    assert joiner.flush() == b""
    assert joiner.push(memoryview(b"xy")) == b"xy"


@pytest.mark.parametrize("data", ["ab", 5, None, [1]])
def test_a_joiner_takes_bytes_only(data: Any) -> None:
    """Anything else is refused, and the joiner stays as it was."""
    joiner = pcm.Joiner()
    joiner.push(b"a")

    with pytest.raises(AudioFormatError):
        joiner.push(data)

    assert joiner.push(bytearray(b"b")) == b"ab"


# -- measure ---


def test_durations() -> None:
    """24000 samples are a second, 48 bytes a millisecond."""
    assert pcm.duration(bytes(48_000)) == pcm.duration(np.zeros((24_000, 1))) == 1.0
    assert pcm.duration(np.full(12, 9.0)) == 0.0005  # the values do not matter
    assert pcm.bytes_to_ms(960) == 20
    assert pcm.ms_to_bytes(20) == 960
    assert pcm.ms_to_bytes(0.06) == 2  # 1.44 samples


@given(st.integers(0, 10**12))
def test_milliseconds_of_whole_samples_convert_back(count: int) -> None:
    """bytes_to_ms() loses nothing that ms_to_bytes() would need."""
    assert pcm.ms_to_bytes(pcm.bytes_to_ms(2 * count)) == 2 * count


@pytest.mark.parametrize(
    ("audio", "dbfs"),
    [
        (np.tile(np.array([-1.0, 1.0]), 50_000), 0),
        (np.full(1000, -32768, np.int16), 0),
        (sine(1000, 1), -3.01),
        (sine(1000, 5, peak=0.1), -23.01),
        (np.ones(100_000, np.int16), -90.309),
        (pcm.silence(1), -math.inf),
    ],
)
def test_levels(audio: Any, dbfs: float) -> None:
    """A full-scale square wave has 0 dBFS, a sine 3 dB less, silence none at all."""
    assert pcm.level(audio) == pytest.approx(dbfs, abs=0.001)


def test_silence() -> None:
    """Zeros of the duration asked for; impossible durations are refused."""
    quiet = pcm.silence(0.5)

    assert (quiet.shape, quiet.dtype, quiet.any()) == ((12_000,), np.dtype("<i2"), np.False_)
    for seconds in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds must be a finite number"):
            pcm.silence(seconds)


# -- resample ---


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48_000, 24_000), (44_100, 24_000), (8_000, 24_000)])
def test_resampling_keeps_the_tone(rate_in: int, rate_out: int) -> None:
    """A sine comes out as the same sine at the other rate."""
    pytest.importorskip("soxr")

    result = pcm.resample(sine(440, 1, rate_in, peak=0.5), rate_in, rate_out)

    assert result.dtype == np.dtype("<i2")
    assert abs(result.size - rate_out) <= 1
    middle = slice(2_000, -2_000)  # away from the edges of the filter
    assert np.abs(result[middle] / 32768 - sine(440, 1, rate_out, peak=0.5)[: result.size][middle]).max() < 1e-3


def test_resampling_clips_its_overshoot() -> None:
    """A square wave at full scale does not wrap around."""
    pytest.importorskip("soxr")
    square = np.where(sine(100, 1, 48_000) >= 0, 32767, -32768).astype(np.int16)

    result = pcm.resample(square, 48_000, 24_000)

    assert (result.min(), result.max()) == (-32768, 32767)
    assert (np.abs(np.diff(result.astype(int))) > 40_000).sum() <= 200  # the wave's own edges


def test_the_same_rate_needs_no_resampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without soxr equal rates pass, and others say what to install."""
    monkeypatch.setitem(sys.modules, "soxr", None)

    assert pcm.resample(FEW, 8_000, 8_000).tolist() == FEW.tolist()
    with pytest.raises(MissingExtraError, match=r"resampling needs .*meshapi-rt\[audio\]"):
        pcm.resample(FEW, 8_000, 24_000)


@pytest.mark.parametrize("rate", [0, -8000, 8000.0, "8000", None])
def test_rates_are_positive_whole_numbers(rate: Any) -> None:
    """Whichever of the two it is."""
    for rates in ((rate, 24_000), (24_000, rate)):
        with pytest.raises(ValueError, match="positive whole number of Hz"):
            pcm.resample(FEW, *rates)


# -- cost ---


def least_seconds(run: Callable[[], object], repeat: int = 30) -> float:
    """Return the best of many runs: what the machine's other work cannot blur."""
    return min(timeit.repeat(run, number=1, repeat=repeat))


SECOND = sine(440, 1)
SECOND_16 = pcm.as_int16(SECOND)


@pytest.mark.parametrize(
    "run",
    [
        lambda: pcm.as_int16(SECOND),
        lambda: pcm.as_int16(SECOND_16.astype(">i2")),
        lambda: pcm.to_bytes(SECOND_16),
        lambda: pcm.to_float(SECOND_16),
        lambda: pcm.from_float(SECOND * 2, clip=True),
        lambda: pcm.to_mono(np.stack([SECOND_16, SECOND_16], axis=1)),
        lambda: list(pcm.split(SECOND_16, 0.02)),
        lambda: pcm.Joiner().push(SECOND_16),  # type: ignore[arg-type]
        lambda: pcm.duration(SECOND_16),
        lambda: pcm.level(SECOND_16),
        lambda: pcm.silence(1),
        lambda: pcm.ulaw_decode(pcm.ulaw_encode(SECOND_16)),
        lambda: pcm.alaw_decode(pcm.alaw_encode(SECOND_16)),
    ],
)
def test_a_second_of_audio_costs_less_than_a_millisecond(run: Callable[[], object]) -> None:
    """Everything but resampling is vectorised."""
    run()  # makes the tables

    assert least_seconds(run) < 1e-3


MINUTE = np.tile(SECOND, 60)
MINUTE_16 = pcm.as_int16(MINUTE)
MINUTE_32 = MINUTE.astype(np.float32)


@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (
            lambda: pcm.as_int16(MINUTE_32),
            lambda: np.clip(np.rint(MINUTE_32 * 32768), -32768, 32767).astype(np.int16),
        ),
        (
            lambda: pcm.as_int16(MINUTE),
            lambda: np.clip(np.rint(MINUTE * 32768), -32768, 32767).astype(np.int16),
        ),
        (lambda: pcm.to_float(MINUTE_16), lambda: MINUTE_16.astype(np.float32) / 32768),
        (lambda: pcm.level(MINUTE_16), lambda: np.sqrt(np.mean((MINUTE_16 / np.float32(32768)) ** 2))),
        (
            lambda: pcm.to_mono(MINUTE_16.reshape(-1, 2)),
            lambda: MINUTE_16.reshape(-1, 2).mean(axis=1).astype(np.int16),
        ),
    ],
)
def test_a_plain_numpy_expression_is_not_much_faster(ours: Callable[[], object], plain: Callable[[], object]) -> None:
    """On a minute of audio the checks and the care cost less than half of the work itself."""
    turns = [(least_seconds(ours, 1), least_seconds(plain, 1)) for _ in range(30)]  # a slow while falls on both

    assert min(one for one, _ in turns) < 1.5 * min(other for _, other in turns)
