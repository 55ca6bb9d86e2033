"""What a voice agent measures: how long answers take, and what became of interruptions."""

from __future__ import annotations

import math

import attrs

__all__ = ["AgentMetrics", "Counts", "TurnTiming"]


@attrs.frozen(kw_only=True)
class TurnTiming:
    """One answer, in seconds.

    Attributes:
        latency: From the end of the user's speech to the first audio out of the speaker. Speech ends with its last
            sound where the server tells when that was (server VAD: the silence that it waits for counts), else when
            it reports the end; at the release of the key; with the call of ``say()``.
        server: The part of it until the first audio had come: voice detection, model, network.
        own: The rest: this process, the speaker's pre-buffer, the device.
        item_id: What was heard.
    """

    latency: float
    server: float
    own: float
    item_id: str


@attrs.frozen(kw_only=True)
class AgentMetrics:
    """A snapshot.

    Attributes:
        turns: Every answer that was heard, oldest first; the ten thousand newest.
        interruptions: Times that the user cut an answer off.
        truncated: Items that were cut where they were heard last.
        deleted: Items of which nothing was heard.
        harmless: Refusals of the server that are races to be expected, and nobody's business (protocol.md 1.9).
        late: Bytes of audio that came for answers which were cut off, and were dropped.
        gated: Blocks of the microphone that were taken for an echo and silenced.
        reconnects: Connections that were replaced.
    """

    turns: tuple[TurnTiming, ...] = ()
    interruptions: int = 0
    truncated: int = 0
    deleted: int = 0
    harmless: int = 0
    late: int = 0
    gated: int = 0
    reconnects: int = 0

    @property
    def p50(self) -> float | None:
        """The median latency in seconds; ``None`` before the first answer."""
        return self.percentile(50)

    @property
    def p95(self) -> float | None:
        """The latency that 95 of 100 answers keep below, in seconds; ``None`` before the first answer."""
        return self.percentile(95)

    def percentile(self, percent: float) -> float | None:
        """Return the latency that so many answers of a hundred keep within (nearest rank)."""
        ranked = sorted(turn.latency for turn in self.turns)
        return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)] if ranked else None

    def __str__(self) -> str:
        if not self.turns:
            return f"no answers yet; {self.interruptions} interruptions"
        return (
            f"{len(self.turns)} answers, first audio after {1000 * (self.p50 or 0):.0f} ms (p50) and "
            f"{1000 * (self.p95 or 0):.0f} ms (p95); {self.interruptions} interruptions"
        )


@attrs.define
class Counts:
    """What the conductor counts; it alone writes."""

    interruptions: int = 0
    truncated: int = 0
    deleted: int = 0
    harmless: int = 0
    reconnects: int = 0
