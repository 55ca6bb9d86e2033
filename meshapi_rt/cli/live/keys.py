"""What typed characters mean: one key at a time, or with Enter behind them where a terminal gives lines only."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

__all__ = ["Command", "Keys", "Lines", "Said", "Typed"]

_CTRL_C, _CTRL_D, _CTRL_U, _CTRL_W, _ESCAPE = "\x03", "\x04", "\x15", "\x17", "\x1b"
_ERASE = "\x7f\b"
_ENTER = "\r\n"


class Command(enum.Enum):
    """What a key asks for."""

    TALK = " "
    MUTE = "m"
    HELP = "?"
    QUIT = "q"


@attrs.frozen
class Said:
    """A line that was typed for the other side."""

    text: str


Typed = Command | Said
_BY_KEY = {command.value: command for command in Command} | {_CTRL_D: Command.QUIT}


class Keys:
    """Single keys; Enter begins a line, and the next one ends it.

    Args:
        always_typing: There is nothing but lines: keys are characters of one, and Ctrl-D quits.

    Attributes:
        line: The line that is being typed, ``None`` while keys are commands.
    """

    def __init__(self, *, always_typing: bool = False) -> None:
        self._always = always_typing
        self._sequence = ""  # an escape sequence that has begun, as of an arrow
        self.line: str | None = "" if always_typing else None

    def take(self, text: str) -> Iterator[Typed]:
        """Take what was typed, and yield what it asks for.

        Raises:
            KeyboardInterrupt: Ctrl-C was read as a character, as on Windows.
        """
        for character in text:
            if character == _CTRL_C:
                raise KeyboardInterrupt
            if self._sequence or character == _ESCAPE:
                self._escape(character)
            elif self.line is None:
                yield from self._command(character)
            else:
                yield from self._edit(character, self.line)
        if self._sequence == _ESCAPE:  # nothing came with it: the key itself
            self._sequence = ""
            self.line = "" if self._always else None

    def end(self) -> Iterator[Typed]:
        """Take note that nothing more comes: whoever typed has gone."""
        yield Command.QUIT

    def _escape(self, character: str) -> None:
        """Swallow a sequence: ESC [ ... letter, ESC O letter, or ESC and a character."""
        self._sequence += character
        inside = self._sequence in (_ESCAPE, "\x1b[", "\x1bO")
        if not inside and not (self._sequence.startswith("\x1b[") and character in "0123456789;<?"):
            self._sequence = ""

    def _command(self, character: str) -> Iterator[Typed]:
        if character in _ENTER:
            self.line = ""
        elif (command := _BY_KEY.get(character.lower())) is not None:
            yield command

    def _edit(self, character: str, line: str) -> Iterator[Typed]:
        if character in _ENTER:
            self.line = "" if self._always else None
            if line.strip():
                yield Said(line.strip())
        elif character in _ERASE:
            self.line = line[:-1]
        elif character == _CTRL_U:
            self.line = ""
        elif character == _CTRL_W:
            self.line = line[: len(line.rstrip()) - len((line.split() or [""])[-1])]
        elif character == _CTRL_D:
            if not line:
                yield Command.QUIT
        elif character.isprintable():
            self.line = line + character


class Lines:
    """Whole lines: text, or a key alone; the end of them quits. An empty line is the space bar.

    Args:
        commands: Whether a key alone counts; lines of a program are always text, and their end is not the end of all.
    """

    line: str | None = None

    def __init__(self, *, commands: bool) -> None:
        self._commands = commands
        self._begun = ""

    def take(self, text: str) -> Iterator[Typed]:
        """Take what came, and yield what it asks for."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            yield from self._line(line.strip())

    def end(self) -> Iterator[Typed]:
        """Take note that nothing more comes."""
        rest, self._begun = self._begun.strip(), ""
        if rest:
            yield from self._line(rest)
        if self._commands:
            yield Command.QUIT

    def _line(self, line: str) -> Iterator[Typed]:
        command = _BY_KEY.get(line.lower() or " ") if self._commands else None
        if command is not None:
            yield command
        elif line:
            yield Said(line)
