"""Realtime speech-to-speech sessions through the Mesh API gateway, for plain synchronous Python."""

from .version import __version__

__all__ = ["__version__"]
