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
        wrong = _what_is_wrong(value)
        self._value = value
        if wrong:
            del value, self._value  # a traceback that prints local variables shows neither
            raise ConfigurationError(wrong)

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


def _what_is_wrong(value: object) -> str | None:
    if not isinstance(value, str):
        return f"the token must be a string, not {type(value).__name__}"
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        return "the token must be printable ASCII without spaces around it: check how it was copied"
    return None
