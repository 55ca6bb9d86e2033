"""The room resampling: streams from one rate to another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from meshapi_rt.resampling import Resampler

RATES = [(24_000, 48_000), (24_000, 44_100), (24_000, 16_000), (48_000, 24_000), (44_100, 24_000), (16_000, 24_000)]
RATES += [(8_000, 44_100), (48_000, 8_000), (96_000, 24_000), (24_000, 24_000), (11_025, 24_000)]

rates = pytest.mark.parametrize(("rate_in", "rate_out"), RATES)


def sines(rate: int, top: float, seconds: float = 0.5) -> NDArray[np.float64]:
    """Return a high and a low sine."""
    at = np.arange(round(seconds * rate)) / rate
    return np.asarray(9000 * np.sin(2 * np.pi * top * at) + 5000 * np.sin(2 * np.pi * 310 * at))


@rates
def test_signal(rate_in: int, rate_out: int) -> None:
    """A signal comes out as it would have been recorded at the other rate: same moments, 75 dB clean."""
    top = 0.38 * min(rate_in, rate_out)
    resampler = Resampler(rate_in, rate_out)

    made = np.concatenate((resampler.push(sines(rate_in, top).astype(np.int16)), resampler.flush()))

    wanted = sines(rate_out, top)
    assert made.size == -(-round(0.5 * rate_in) * rate_out // rate_in)
    middle = slice(rate_out // 20, -rate_out // 20)
    error = made[middle] - wanted[: made.size][middle]
    assert 10 * np.log10(np.mean(error**2) / np.mean(wanted**2)) < -75


@rates
@given(cuts=st.lists(st.integers(0, 700), max_size=12), data=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_any_pieces(rate_in: int, rate_out: int, cuts: list[int], data: int) -> None:
    """Any cut into pieces gives the same samples; pending tells what flush() returns; it can be used again."""
    source = np.random.default_rng(data).integers(-20_000, 20_000, sum(cuts) + 50).astype(np.int16)
    resampler = Resampler(rate_in, rate_out)
    whole = np.concatenate((resampler.push(source), resampler.flush()))

    parts, at = [], 0
    for cut in [*cuts, 50]:
        parts.append(resampler.push(source[at : at + cut]))
        at += cut
    pending = resampler.pending
    parts.append(resampler.flush())

    assert parts[-1].size == pending
    assert np.array_equal(np.concatenate(parts), whole)


@rates
@given(wanted=st.lists(st.integers(1, 600), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_needed(rate_in: int, rate_out: int, wanted: list[int]) -> None:
    """needed() inputs give that many outputs, and one input less does not."""
    resampler, given_, ready = Resampler(rate_in, rate_out), 0, 0
    for count in wanted:
        needed = resampler.needed(max(0, count - ready))
        if needed > 1:
            ready += resampler.push(np.zeros(needed - 1, np.int16)).size
            assert ready < count
            needed = 1
        ready += resampler.push(np.zeros(needed, np.int16)).size
        assert ready >= count
        ready -= count
        given_ += count


@rates
def test_rush(rate_in: int, rate_out: int) -> None:
    """Outputs that are rushed are the next ones; those behind them are as if nothing had happened."""
    source = sines(rate_in, 0.2 * min(rate_in, rate_out)).astype(np.int16)
    calm, hurried = Resampler(rate_in, rate_out), Resampler(rate_in, rate_out)
    whole = np.concatenate((calm.push(source), calm.flush()))

    first = hurried.push(source[:3000])
    pending = hurried.pending
    rushed = hurried.rush(pending // 2)
    rest = np.concatenate((hurried.push(source[3000:]), hurried.flush()))

    made = np.concatenate((first, rushed, rest))
    assert rushed.size == pending // 2
    assert hurried.rush(5).size == 0
    assert np.array_equal(made[: first.size], whole[: first.size])
    assert np.array_equal(rest, whole[first.size + rushed.size :])
    assert np.abs(made.astype(int) - whole).max(initial=0) < 2500  # the filter rings where it sees silence


@rates
def test_delay(rate_in: int, rate_out: int) -> None:
    """What comes out is at most 32 samples of the lower rate, and one, behind what went in."""
    resampler = Resampler(rate_in, rate_out)

    made = resampler.push(np.zeros(rate_in, np.int16)).size

    assert 1 - made / rate_out <= 33 / min(rate_in, rate_out)


def test_folding() -> None:
    """A tone above what the lower rate can hold is not heard."""
    at = np.arange(48_000) / 48_000
    for hertz in (12_500, 14_000, 20_000):
        made = Resampler(48_000, 24_000).push((20_000 * np.sin(2 * np.pi * hertz * at)).astype(np.int16))
        assert np.abs(made[200:]).max() < 20


def test_loudest() -> None:
    """What overshoots the scale is clipped; a constant stays what it is."""
    made = Resampler(24_000, 48_000).push(np.where(np.arange(2400) % 200 < 100, 32_767, -32_768).astype(np.int16))
    constant = Resampler(44_100, 24_000).push(np.full(4410, 1000, np.int16))

    assert (made.max(), made.min()) == (32_767, -32_768)
    assert set(constant[100:]) == {1000}


@pytest.mark.parametrize("rate", [0, -1, 24_000.0, "24000"])
def test_bad_rates(rate: object) -> None:
    """A rate is a positive whole number."""
    with pytest.raises(ValueError, match="whole number of Hz"):
        Resampler(24_000, rate)  # type: ignore[arg-type]
