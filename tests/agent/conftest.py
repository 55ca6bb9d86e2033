"""The virtual sound card, for agents that hear and speak through it."""

from ..devices.conftest import card, sound_server

__all__ = ["card", "sound_server"]
