"""The command line: ``meshapi-rt talk``, ``serve``, ``devices`` and ``doctor``.

Exit codes: 0; 1 for a failure, told in one line on stderr; 2 for wrong usage; 130 after Ctrl-C; 141 when whoever
read the output went away; 129 and 143 when a conversation was ended by SIGHUP or SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

from ..errors import MeshAPIError
from ..version import __version__
from . import devices, doctor, serve, talk
from .terminal import OutputGone, Screen, one_line

__all__ = ["main"]

FAILED, WRONG_USAGE, INTERRUPTED, OUTPUT_GONE = 1, 2, 130, 141  # the last two: 128 and the number of the signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the name of the program; ``None`` takes those of the process.

    Returns:
        The exit code. Nothing is raised.
    """
    screen = Screen(sys.stdout, sys.stderr)
    debug = False
    try:
        with _ctrl_c():
            args = _parser().parse_args(argv)
            debug = args.debug
            with _log(debug):
                code: int = args.run(args, screen)
                return code
    except SystemExit as exc:  # argparse has told why
        screen.flush()
        return exc.code if isinstance(exc.code, int) else WRONG_USAGE
    except KeyboardInterrupt:
        screen.end_status()
        return INTERRUPTED
    except OutputGone:
        return OUTPUT_GONE
    except Exception as exc:  # noqa: BLE001 - a user of the shell gets a line, not a traceback
        if debug:
            screen.note(traceback.format_exc())
        screen.note(f"meshapi-rt: {one_line(_problem(exc))}")
        return FAILED


def _problem(exc: Exception) -> str:
    if isinstance(exc, (MeshAPIError, OSError)):
        return str(exc) or type(exc).__name__
    return f"{type(exc).__name__}: {exc} (a bug of meshapi-rt: --debug shows where)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meshapi-rt",
        description="Realtime speech-to-speech sessions through the Mesh API gateway.",
    )
    parser.add_argument("--version", action="version", version=f"meshapi-rt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (talk, serve, devices, doctor):
        subparser = command.add_parser(commands)
        subparser.add_argument("--debug", action="store_true", help="show the log, and the traceback of a failure")
    return parser


@contextlib.contextmanager
def _log(wanted: bool) -> Iterator[None]:
    """Show the log of this package, and of no other: theirs might show the token."""
    if not wanted:
        yield
        return
    log, handler = logging.getLogger("meshapi_rt"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(relativeCreated)8.0f ms %(message)s"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


@contextlib.contextmanager
def _ctrl_c() -> Iterator[None]:
    """Let the first Ctrl-C raise ``KeyboardInterrupt``, and a second one end the process during the clean-up.

    Where Ctrl-C is ignored (a job in the background of a shell script) or handled by the caller, it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(INTERRUPTED)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, leave)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
