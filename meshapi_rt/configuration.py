"""What the server says about its session: the effective configuration, and how long it lives. Bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .items import text_of

__all__ = ["Configuration", "node"]


class Configuration:
    """The session, as ``session.created`` and ``session.updated`` tell it.

    Attributes:
        settings: The effective configuration, as the server last confirmed it.
        id: The server's name for the session.
        expires_at: Unix seconds at which the server will end it, or ``None``.
    """

    def __init__(self) -> None:
        self.settings: Mapping[str, Any] = {}
        self.id: str | None = None
        self.expires_at: float | None = None

    def configure(self, event: Mapping[str, Any]) -> None:
        """Take in an event that shows the session."""
        session = event.get("session")
        if not isinstance(session, dict):
            return
        self.settings = session
        self.id = text_of(session, "id") or self.id
        expires = session.get("expires_at")
        if isinstance(expires, (int, float)) and not isinstance(expires, bool):
            self.expires_at = float(expires)

    @property
    def manual_turns(self) -> bool:
        """Whether the client says where a turn ends, because turn detection is off."""
        told = node(self.settings, "audio", "input")
        return isinstance(told, Mapping) and told.get("turn_detection", "") is None

    @property
    def takes_pcm(self) -> bool:
        """Whether the input format is PCM."""
        return self.input_format == "audio/pcm"

    @property
    def input_format(self) -> str:
        """The format of the user's audio: PCM, unless it was changed."""
        return str(node(self.settings, "audio", "input", "format", "type") or "audio/pcm")

    @property
    def output_format(self) -> str:
        """The format of the assistant's audio, likewise."""
        return str(node(self.settings, "audio", "output", "format", "type") or "audio/pcm")

    @property
    def session_type(self) -> str:
        """``realtime`` or ``transcription``."""
        kind = self.settings.get("type")
        return kind if isinstance(kind, str) else "realtime"


def node(source: Mapping[str, Any], *path: str) -> Any:
    """Return what lies at the end of a path of keys; ``None`` where there is none."""
    found: Any = source
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
