"""What was used, and what it costs: the server's shapes in, sums and prices out."""

from __future__ import annotations

from typing import Any

import pytest

from meshapi_rt import ConfigurationError, Rates, Usage
from meshapi_rt.usage import Tokens

WHOLE = {  # protocol.md 4.13
    "total_tokens": 410,
    "input_tokens": 260,
    "output_tokens": 150,
    "input_token_details": {
        "text_tokens": 170,
        "audio_tokens": 90,
        "image_tokens": 0,
        "cached_tokens": 128,
        "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 40, "audio_tokens": 110},
}
RATES = Rates(
    text_input=4, text_cached=0.4, text_output=16, audio_input=32, audio_cached=0.4, audio_output=64, image_input=5
)


def test_a_whole_usage() -> None:
    """Every number of the documented shape is there."""
    usage = Usage.of_response(WHOLE)
    assert usage.input == Tokens(text=170, audio=90)
    assert usage.cached == Tokens(text=128)
    assert usage.output == Tokens(text=40, audio=110)
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.total_tokens) == (260, 128, 150, 410)
    assert usage.responses == 1


@pytest.mark.parametrize(
    ("told", "read", "cached", "made"),
    [
        (None, Tokens(), Tokens(), Tokens()),
        ({}, Tokens(), Tokens(), Tokens()),
        ({"input_tokens": 7, "output_tokens": 3}, Tokens(other=7), Tokens(), Tokens(other=3)),
        ({"input_tokens": 7, "input_token_details": {"text_tokens": 5}}, Tokens(text=5, other=2), Tokens(), Tokens()),
        ({"input_token_details": {"text_tokens": 5, "audio_tokens": 2}}, Tokens(text=5, audio=2), Tokens(), Tokens()),
        (
            {"input_token_details": {"text_tokens": 5, "audio_tokens": 9, "cached_tokens": 8}},
            Tokens(text=5, audio=9),
            Tokens(text=5, audio=3),  # what is not told saves as little as it can
            Tokens(),
        ),
        (
            {"input_tokens": 9, "input_token_details": {"cached_tokens": 8}},
            Tokens(other=9),
            Tokens(other=8),
            Tokens(),
        ),
        ({"input_tokens": "7", "output_tokens": True, "total_tokens": -5}, Tokens(), Tokens(), Tokens()),
        (
            {"input_tokens": 7, "input_token_details": [1], "output_token_details": "x"},
            Tokens(other=7),
            Tokens(),
            Tokens(),
        ),
    ],
)
def test_details_may_be_missing(told: Any, read: Tokens, cached: Tokens, made: Tokens) -> None:
    """Whatever is left out, the rest is counted."""
    usage = Usage.of_response(told)
    assert (usage.input, usage.cached, usage.output) == (read, cached, made)
    assert usage.total_tokens == read.total + made.total


def test_a_total_without_its_parts() -> None:
    """It counts, and cannot be priced."""
    usage = Usage.of_response({"total_tokens": 12})
    assert usage.total_tokens == usage.untold == 12
    with pytest.raises(ConfigurationError, match="12 tokens cannot be priced"):
        usage.cost(RATES)


def test_the_two_shapes_of_transcriptions() -> None:
    """Tokens and seconds, apart from the responses."""
    details = {"text_tokens": 1, "audio_tokens": 20}
    tokens = {"type": "tokens", "input_tokens": 21, "output_tokens": 6, "input_token_details": details}
    usage = Usage.of_transcription(tokens) + Usage.of_transcription({"type": "duration", "seconds": 2.5})
    assert usage == Usage(
        transcriptions=2,
        transcription_input=Tokens(text=1, audio=20),
        transcription_output=Tokens(text=6),
        transcription_seconds=2.5,
    )
    assert usage.total_tokens == 0
    assert Usage.of_transcription({"input_tokens": 9}).transcription_input == Tokens(audio=9)
    odd: Any
    for odd in (None, {"seconds": float("nan")}, {"seconds": True}, {"seconds": "3"}, []):
        assert Usage.of_transcription(odd) == Usage(transcriptions=1)


def test_adding() -> None:
    """By field; sum() works from an empty one; other things are refused."""
    twice = sum([Usage.of_response(WHOLE)] * 2, Usage())
    assert (twice.responses, twice.total_tokens, twice.cached.text) == (2, 820, 256)
    with pytest.raises(TypeError):
        twice + 5  # type: ignore[operator]


def test_cached_tokens_are_billed_once() -> None:
    """At their own rate, out of those that were read."""
    expected = (42 * 4 + 128 * 0.4 + 90 * 32 + 40 * 16 + 110 * 64) / 1e6
    assert Usage.of_response(WHOLE).cost(RATES) == pytest.approx(expected)


def test_cached_tokens_of_a_kind_that_was_not_told_when_read() -> None:
    """They are among the others that were read, and are not billed with them again."""
    told = {
        "input_tokens": 100,
        "input_token_details": {"cached_tokens": 60, "cached_tokens_details": {"text_tokens": 60}},
    }
    assert Usage.of_response(told).cost(Rates(text_cached=1, other_input=10)) == pytest.approx((60 + 400) / 1e6)


def test_transcriptions_are_priced_by_minute_or_by_token() -> None:
    """Each shape with its own rates."""
    timed = Usage.of_transcription({"seconds": 90})
    assert timed.cost({"transcription_minute": 0.006}) == pytest.approx(0.009)
    tokens = Usage.of_transcription({"input_tokens": 1000, "output_tokens": 100})
    assert tokens.cost({"transcription_audio_input": 6, "transcription_output": 10}) == pytest.approx(0.007)


def test_missing_rates_are_named() -> None:
    """One sentence with what was used and has no price; what was not used needs none."""
    with pytest.raises(ConfigurationError, match=r"no rate for text_cached \(128 used\) and audio_output \(110 used\)"):
        Usage.of_response(WHOLE).cost({"text_input": 4, "audio_input": 32, "text_output": 16})
    assert Usage().cost({}) == 0


@pytest.mark.parametrize(
    "rates", [{"audio_out": 1}, {"audio_output": "1"}, {"audio_output": -1}, {"audio_output": True}]
)
def test_rates_are_checked(rates: Any) -> None:
    """Unknown names and what is no price are refused by name."""
    with pytest.raises(ConfigurationError, match="audio_out"):
        Usage().cost(rates)


def test_it_reads_well() -> None:
    """A repr for people."""
    usage = Usage.of_response(WHOLE) + Usage.of_transcription({"seconds": 2.5})
    assert repr(usage) == (
        "<Usage: 1 response; input 260 (text 170, audio 90); of it cached 128 (text 128); "
        "output 150 (text 40, audio 110); 1 transcription; of 2.5 s>"
    )
    assert repr(Usage()) == "<Usage: 0 responses>"
