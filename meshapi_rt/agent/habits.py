"""How a voice agent takes turns: what the user's arguments mean, and which cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import ConfigurationError

__all__ = ["Habits", "not_negative"]


@attrs.frozen(kw_only=True)
class Habits:
    """How turns are taken.

    Attributes:
        detection: The session's ``turn_detection``; ``None``: the user holds a key to speak.
        linger: Seconds of quiet behind the end of a recording after which all is over.
    """

    detection: Mapping[str, Any] | None
    linger: float

    @classmethod
    def of(cls, turn: object, linger: object) -> Habits:
        """Read what a user wrote.

        Raises:
            ConfigurationError: It cannot be meant.
        """
        return cls(detection=_turn_detection(turn), linger=not_negative("linger", linger))

    @property
    def key(self) -> bool:
        """Whether the user holds a key to speak; else the server hears turns."""
        return self.detection is None

    @property
    def interrupts(self) -> bool:
        """Whether speech cuts an answer off."""
        return self.detection is None or self.detection.get("interrupt_response") is not False

    @property
    def answers(self) -> bool:
        """Whether the server answers a turn by itself."""
        return self.detection is not None and self.detection.get("create_response") is not False


def _turn_detection(turn: object) -> dict[str, Any] | None:
    if turn == "push_to_talk":
        return None
    if turn in ("server_vad", "semantic_vad"):
        return {"type": turn, "create_response": True, "interrupt_response": True}
    if isinstance(turn, Mapping) and turn.get("type") in ("server_vad", "semantic_vad"):
        return dict(turn)
    raise ConfigurationError(
        f'turn must be "server_vad", "semantic_vad", "push_to_talk" or a turn_detection mapping, not {turn!r}'
    )


def not_negative(name: str, value: object) -> float:
    """Return a number as it is, unless it is none, or below 0."""
    if not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        raise ConfigurationError(f"{name} must be a number, 0 or more; not {value!r}")
    return float(value)
