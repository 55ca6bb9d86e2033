"""What a voice agent is doing, as one word."""

from __future__ import annotations

import enum

import attrs

__all__ = ["AgentState", "Facts"]


class AgentState(str, enum.Enum):
    """What a voice agent is doing; a plain string, too."""

    STOPPED = "stopped"
    """Not begun yet, or over."""
    LISTENING = "listening"
    """Nobody speaks, and nothing is awaited."""
    USER_SPEAKING = "user_speaking"
    """The server hears speech, or the key is down."""
    THINKING = "thinking"
    """An answer is awaited, and nothing of it has sounded."""
    SPEAKING = "speaking"
    """An answer is heard: from its first sample out of the speaker to its last."""
    TOOL_RUNNING = "tool_running"
    """A function runs, and nothing is heard meanwhile."""


@attrs.define
class Facts:
    """What is known at one moment."""

    running: bool = False
    user_speaks: bool = False
    sounding: bool = False
    calls: int = 0
    awaited: bool = False
    queued: bool = False  # there is an answer that has not begun to sound

    @property
    def state(self) -> AgentState:
        """The first that applies: who speaks counts more than what is done meanwhile."""
        if not self.running:
            return AgentState.STOPPED
        if self.user_speaks:
            return AgentState.USER_SPEAKING
        if self.sounding:
            return AgentState.SPEAKING
        if self.calls:
            return AgentState.TOOL_RUNNING
        return AgentState.THINKING if self.awaited or self.queued else AgentState.LISTENING
