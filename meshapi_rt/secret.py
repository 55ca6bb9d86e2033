"""The token, held so that nothing which prints, logs or pickles its surroundings can show it."""

from __future__ import annotations

from typing import NoReturn
from urllib.parse import quote

from .errors import ConfigurationError

__all__ = ["Secret"]

_HIDDEN = "***"


class Secret:
    """A token whose ``repr`` and ``str`` show nothing, and which refuses to be pickled or copied to disk."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def check(self) -> None:
        """Raise a ``ConfigurationError`` for what cannot be a token; apart, so that no frame holds it by then."""
        if not isinstance(self._value, str):
            raise ConfigurationError(f"the token must be a string, not {type(self._value).__name__}")
        if not self._value.isascii() or not self._value.isprintable() or " " in self._value:
            raise ConfigurationError("the token must be printable ASCII without spaces: check how it was copied")
        if not self._value:
            raise ConfigurationError("the token is empty: check how it was set")

    def reveal(self) -> str:
        """Return the token itself. Keep it out of local variables of frames that can raise."""
        return self._value

    def redact(self, text: str) -> str:
        """Return *text* with the token, plain or percent-encoded, replaced by ``***``."""
        for form in (self._value, quote(self._value, safe=""), quote(self._value)):
            if form in text:
                text = text.replace(form, _HIDDEN)
        return text

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled: give it to the other process by the environment")
