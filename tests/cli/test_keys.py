"""What keys mean."""

from __future__ import annotations

import pytest

from meshapi_rt.cli.live.keys import Command, Keys, Lines, Said
from meshapi_rt.cli.terminal import cells, tail

TALK, MUTE, HELP, QUIT = Command.TALK, Command.MUTE, Command.HELP, Command.QUIT


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        (" mM?q", [TALK, MUTE, MUTE, HELP, QUIT]),
        ("\x04", [QUIT]),
        ("xyz\x7f\t", []),
        ("\rmax quit\r", [Said("max quit")]),
        ("\rcolor\b\bour\r m", [Said("colour"), TALK, MUTE]),
        ("\r  \rq", [QUIT]),
        ("\rone\x15two three\x17four\n", [Said("two four")]),
        ("\ra\x04\r", [Said("a")]),
        ("\r\x04", [QUIT]),
        ("\rar\x1b[Dr\x1b[1;5Cow\x1bOA\x1bb\r", [Said("arrow")]),
        ("\x1b[Am", [MUTE]),
        ("\rgrüße 日本\r", [Said("grüße 日本")]),
    ],
)
def test_single_keys(typed: str, means: list[object]) -> None:
    """A key is a command; behind Enter keys are a line until the next Enter, with the usual ways to correct it."""
    assert list(Keys().take(typed)) == means


def test_escape_drops_a_line() -> None:
    """The escape key alone gives up the line; a sequence may come in pieces behind its first two characters."""
    keys, lines = Keys(), []

    for typed in ("\rnever mind", "\x1b"):
        assert list(keys.take(typed)) == []
        lines.append(keys.line)

    assert lines == ["never mind", None]
    assert list(keys.take("\x1b[1;")) + list(keys.take("5Cm")) == [MUTE]


def test_nothing_but_lines() -> None:
    """Where there is nothing to command, every key belongs to a line, and the next one begins at once."""
    keys = Keys(always_typing=True)

    assert list(keys.take("quit me\rq \x1b")) == [Said("quit me")]
    assert keys.line == ""
    assert list(keys.take("\x04")) == [QUIT]


def test_ctrl_c_as_a_character() -> None:
    """Where Ctrl-C is no signal it interrupts all the same."""
    with pytest.raises(KeyboardInterrupt):
        list(Keys().take("\x03"))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_of_a_terminal(size: int) -> None:
    """A key and Enter is a command, an empty line the space bar, anything else text, however it comes."""
    typed, lines = "hello\nm\r\n\nQ \nmq\nlast", Lines(commands=True)

    means = [meant for at in range(0, len(typed), size) for meant in lines.take(typed[at : at + size])]

    assert means == [Said("hello"), MUTE, TALK, QUIT, Said("mq")]
    assert list(lines.end()) == [Said("last"), QUIT]


def test_lines_of_a_pipe() -> None:
    """Lines of a program are text, whatever they are; their end is not the end of the conversation."""
    lines = Lines(commands=False)

    assert list(lines.take("q\n\n m \n")) == [Said("q"), Said("m")]
    assert list(lines.end()) == []


def test_widths() -> None:
    """Wide characters count twice, and what is too wide loses its beginning."""
    assert [cells(text) for text in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]
    assert [tail("日本語です", width) for width in (10, 9, 8, 3)] == ["日本語です", "...語です", "...です", "..."]
    assert tail("abc", 0) == ""
