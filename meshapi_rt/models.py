"""The realtime models that the gateway is known to serve (protocol.md 1.4)."""

from __future__ import annotations

import enum

__all__ = ["MODELS"]


class MODELS(str, enum.Enum):
    """Known realtime model ids; each member is a plain string. Other ids pass as they are.

    The gateway's ``GET /v1/models`` is the authority.
    """

    GPT_REALTIME_MINI = "openai/gpt-realtime-mini"
    """Retires upstream on 2027-01-20."""
    GPT_REALTIME = "openai/gpt-realtime"
    """Retires upstream on 2027-01-20."""
    GPT_REALTIME_1_5 = "openai/gpt-realtime-1.5"
    """Takes no ``reasoning``."""
    GPT_REALTIME_2 = "openai/gpt-realtime-2"
    """A reasoning model."""
    GPT_REALTIME_2_1 = "openai/gpt-realtime-2.1"
    """The current recommendation for voice agents."""
    GPT_REALTIME_2_1_MINI = "openai/gpt-realtime-2.1-mini"
    GPT_REALTIME_WHISPER = "openai/gpt-realtime-whisper"
    """Streaming transcription only; no turn detection."""
    GPT_REALTIME_TRANSLATE = "openai/gpt-realtime-translate"
    """Continuous translation, with events of its own."""

    __str__ = str.__str__

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)
