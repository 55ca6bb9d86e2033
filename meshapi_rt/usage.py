"""What was used, in tokens and seconds, added up over a session, and what that costs at the caller's rates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .errors import ConfigurationError
from .order import remember

__all__ = ["Meter", "Rates", "Tokens", "Usage"]

_KINDS = ("text", "audio", "image")


def _count(source: object, key: str) -> int:
    value = source.get(key) if isinstance(source, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@attrs.frozen(kw_only=True, repr=False)
class Tokens:
    """Tokens by what they stand for. Instances can be added.

    Attributes:
        text: Of text, transcripts, instructions, tools and arguments.
        audio: Of audio.
        image: Of images.
        other: Those of which the server did not say what they stand for.
    """

    text: int = 0
    audio: int = 0
    image: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.text + self.audio + self.image + self.other

    @classmethod
    def told(cls, total: int, details: object) -> Tokens:
        """Read a count and its details, each of which may be missing (protocol.md 4.13)."""
        kinds = {kind: _count(details, f"{kind}_tokens") for kind in _KINDS}
        return cls(**kinds, other=max(0, total - sum(kinds.values())))

    def __add__(self, more: Tokens) -> Tokens:
        if not isinstance(more, Tokens):
            return NotImplemented
        return Tokens(**{kind: count + getattr(more, kind) for kind, count in self})

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Yield each kind with its count."""
        yield from ((kind, getattr(self, kind)) for kind in (*_KINDS, "other"))

    def __repr__(self) -> str:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self if count)
        return f"{self.total:,} ({kinds})" if kinds else "0"


@attrs.frozen(kw_only=True, repr=False)
class Usage:
    """What responses and transcriptions used. Instances can be added: ``a + b``, ``sum(usages, Usage())``.

    Every detail may be missing from what the server tells; tokens of an untold kind are ``other``.

    Attributes:
        responses: How many responses it is about, whatever became of them.
        input: Tokens that they read, the cached ones included. Each response reads its whole context again.
        cached: How many of those came from the cache, at a lower price.
        output: Tokens that they made.
        untold: Tokens of a total that was told without its parts.
        transcriptions: How many transcriptions of the user's speech it is about; they are billed apart.
        transcription_input: Tokens of audio and text that those read, where they are billed by tokens.
        transcription_output: Tokens that they wrote, likewise.
        transcription_seconds: Seconds of audio that they heard, where they are billed by time.
    """

    responses: int = 0
    input: Tokens = Tokens()
    cached: Tokens = Tokens()
    output: Tokens = Tokens()
    untold: int = 0
    transcriptions: int = 0
    transcription_input: Tokens = Tokens()
    transcription_output: Tokens = Tokens()
    transcription_seconds: float = 0.0

    @classmethod
    def of_response(cls, usage: object) -> Usage:
        """Read the ``usage`` of a response; ``None`` counts as a response that used nothing."""
        if not isinstance(usage, Mapping):
            return cls(responses=1)
        details = usage.get("input_token_details")
        read = Tokens.told(_count(usage, "input_tokens"), details)
        made = Tokens.told(_count(usage, "output_tokens"), usage.get("output_token_details"))
        return cls(
            responses=1,
            input=read,
            cached=_cached(details, read),
            output=made,
            untold=max(0, _count(usage, "total_tokens") - read.total - made.total),
        )

    @classmethod
    def of_transcription(cls, usage: object) -> Usage:
        """Read the ``usage`` of a transcription in either of its shapes: tokens, or seconds (protocol.md 4.10)."""
        seconds = usage.get("seconds") if isinstance(usage, Mapping) else None
        timed = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < math.inf
        details = usage.get("input_token_details") if isinstance(usage, Mapping) else None
        read = Tokens.told(_count(usage, "input_tokens"), details)
        return cls(
            transcriptions=1,
            # What is transcribed is audio, and what comes of it is text.
            transcription_input=Tokens(text=read.text, audio=read.total - read.text),
            transcription_output=Tokens(text=_count(usage, "output_tokens")),
            transcription_seconds=float(seconds) if timed and seconds is not None else 0.0,
        )

    @property
    def input_tokens(self) -> int:
        """All tokens that the responses read."""
        return self.input.total

    @property
    def cached_tokens(self) -> int:
        """Those of them that came from the cache."""
        return self.cached.total

    @property
    def output_tokens(self) -> int:
        """All tokens that the responses made."""
        return self.output.total

    @property
    def total_tokens(self) -> int:
        """All tokens of the responses, read or made; those of transcriptions are apart."""
        return self.input.total + self.output.total + self.untold

    def cost(self, rates: Rates | Mapping[str, float]) -> float:
        """Return what it costs, in the currency of *rates*.

        Cached tokens are billed once, at the cached rate.

        Args:
            rates: A :class:`Rates`, or a mapping with some of its fields.

        Raises:
            ConfigurationError: Something was used that has no rate; the message names it. Or a rate is unknown, or
                no number.
        """
        if isinstance(rates, Mapping):
            unknown = [str(name) for name in rates if name not in attrs.fields_dict(Rates)]
            if unknown:
                known = ", ".join(attrs.fields_dict(Rates))
                raise ConfigurationError(f"{unknown[0]!r} is no rate; the rates are {known}")
            rates = Rates(**rates)
        if self.untold:
            raise ConfigurationError(
                f"{self.untold:,} tokens cannot be priced: the server told a total without input and output"
            )
        missing = [f"{name} ({used:,.6g} used)" for name, used, _ in self._billed() if getattr(rates, name) is None]
        if missing:
            raise ConfigurationError(f"there is no rate for {' and '.join(missing)}: give it in Rates(...)")
        return math.fsum(used * getattr(rates, name) / unit for name, used, unit in self._billed())

    def _billed(self) -> Iterator[tuple[str, float, float]]:
        """Yield what was used: the rate's name, how much, and how much the rate is for."""
        cached = dict(self.cached)
        fresh = {kind: max(0, count - cached[kind]) for kind, count in self.input}
        # What was cached of a kind, and read without its kind being told, is among the others.
        surplus = sum(max(0, cached[kind] - count) for kind, count in self.input)
        fresh["other"] = max(0, fresh["other"] - surplus)
        for group, counts in (("input", fresh), ("cached", cached), ("output", dict(self.output))):
            yield from ((f"{kind}_{group}", count, 1e6) for kind, count in counts.items() if count)
        heard = dict(self.transcription_input)
        yield from ((f"transcription_{kind}_input", count, 1e6) for kind, count in heard.items() if count)
        if self.transcription_output.total:
            yield "transcription_output", self.transcription_output.total, 1e6
        if self.transcription_seconds:
            yield "transcription_minute", self.transcription_seconds, 60.0

    def __add__(self, more: Usage) -> Usage:
        if not isinstance(more, Usage):
            return NotImplemented
        names = attrs.fields_dict(Usage)
        return Usage(**{name: getattr(self, name) + getattr(more, name) for name in names})

    def __repr__(self) -> str:
        told = [f"{self.responses:,} response{'s' * (self.responses != 1)}"]
        if self.total_tokens:
            told.append(f"input {self.input!r}")
            told += [f"of it cached {self.cached!r}"] if self.cached.total else []
            told.append(f"output {self.output!r}")
            told += [f"untold {self.untold:,}"] if self.untold else []
        if self.transcriptions:
            told.append(f"{self.transcriptions:,} transcription{'s' * (self.transcriptions != 1)}")
            told += [f"of {self.transcription_seconds:.1f} s"] if self.transcription_seconds else []
            if self.transcription_input.total or self.transcription_output.total:
                told.append(f"input {self.transcription_input!r}, output {self.transcription_output!r}")
        return f"<Usage: {'; '.join(told)}>"


def _cached(details: object, read: Tokens) -> Tokens:
    """Read the cached tokens.

    Those of an untold kind are counted as text as far as there was any, then as audio, then as image: the cheapest
    kind first, which saves the least. So a cost is never told too low.
    """
    told = details.get("cached_tokens_details") if isinstance(details, Mapping) else None
    cached = Tokens.told(_count(details, "cached_tokens"), told)
    if not cached.other:
        return cached
    counts = dict(cached)
    for kind in _KINDS:
        more = min(counts["other"], max(0, getattr(read, kind) - counts[kind]))
        counts[kind] += more
        counts["other"] -= more
    return Tokens(**counts)


class Meter:
    """Adds up a session's usage from its events; what is told again is not added again.

    Attributes:
        usage: The sum. It is replaced as a whole, so that other threads may read it.
    """

    def __init__(self) -> None:
        self.usage = Usage()
        self._counted: dict[str, None] = {}

    def has(self, response_id: str) -> bool:
        """Tell whether a response is in the sum, and so is over."""
        return response_id in self._counted

    def responded(self, response: Mapping[str, Any]) -> None:
        """Add a response that is done."""
        if self._is_new(response.get("id"), ""):
            self.usage += Usage.of_response(response.get("usage"))

    def transcribed(self, event: Mapping[str, Any]) -> None:
        """Add a transcription that is completed."""
        if self._is_new(event.get("item_id"), f" {event.get('content_index')}"):
            self.usage += Usage.of_transcription(event.get("usage"))

    def _is_new(self, name: object, suffix: str) -> bool:
        if not isinstance(name, str):
            return True  # it cannot be recognised
        new = name + suffix not in self._counted
        remember(self._counted, name + suffix)
        return new


def _is_price(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigurationError(f"the rate {attribute.name} must be a number, 0 or more, or None; not {value!r}")


def _price() -> Any:
    return attrs.field(default=None, validator=_is_price)


@attrs.frozen(kw_only=True)
class Rates:
    """Prices, in any one currency: per million tokens, and per minute. ``None`` where there is none.

    Attributes:
        text_input: Text that is read, not from the cache; likewise ``audio_input`` and ``image_input``.
        text_cached: Text that is read from the cache; likewise ``audio_cached`` and ``image_cached``.
        text_output: Text that is made; likewise ``audio_output`` and ``image_output``.
        other_input: Tokens of which the server does not say what they stand for; likewise ``other_cached`` and
            ``other_output``.
        transcription_minute: A minute of speech, for transcription models that are billed by time.
        transcription_text_input: Text that a transcription model reads, where it is billed by tokens.
        transcription_audio_input: Audio that it reads.
        transcription_output: Text that it writes.

    Raises:
        ConfigurationError: A rate is no number, or below 0.
    """

    text_input: float | None = _price()
    text_cached: float | None = _price()
    text_output: float | None = _price()
    audio_input: float | None = _price()
    audio_cached: float | None = _price()
    audio_output: float | None = _price()
    image_input: float | None = _price()
    image_cached: float | None = _price()
    image_output: float | None = _price()
    other_input: float | None = _price()
    other_cached: float | None = _price()
    other_output: float | None = _price()
    transcription_minute: float | None = _price()
    transcription_text_input: float | None = _price()
    transcription_audio_input: float | None = _price()
    transcription_output: float | None = _price()
