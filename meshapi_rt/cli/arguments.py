"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..params import AUTHS
from .terminal import Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

__all__ = ["add_command", "add_server", "seconds"]


def add_command(
    commands: _SubParsersAction[ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace, Screen], int],
    *,
    does: str,
    description: str,
) -> ArgumentParser:
    """Add a command to the parser of the program, and return its own.

    Args:
        commands: Of the program.
        name: What is typed.
        run: Does it, and returns the exit code.
        does: What it does, in some words, for the list of commands.
        description: The same at length, for its own help.
    """
    parser = commands.add_parser(name, help=does, description=description)
    parser.set_defaults(run=run)
    return parser


def add_server(parser: ArgumentParser) -> None:
    """Add the options that say which server is meant, and how the token gets there."""
    add = parser.add_argument
    add("--base-url", metavar="URL", help="the server (default: MESHAPI_BASE_URL, else the gateway)")
    add("--auth", choices=AUTHS, default=AUTHS[0], help="how the token is sent (default: %(default)s)")


def seconds(text: str) -> float:
    """Read a duration that is given as an argument."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"takes seconds above 0, not {text}")
