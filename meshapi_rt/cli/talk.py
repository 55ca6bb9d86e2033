"""``meshapi-rt talk``: say a recording to a model and save what it answers, or converse with it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from .. import audio_files, pcm
from ..client import MeshAPI
from ..errors import MeshAPIError
from ..hosts import is_loopback
from ..models import MODELS
from .arguments import add_command, add_server, seconds
from .exchange import Exchange
from .live import options as live_options
from .terminal import Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

__all__ = ["add_parser"]

_SHORTEST = 0.1  # seconds that a server takes as a turn (protocol.md 1.5, O)
_CLOSE_TIMEOUT = 0.5  # seconds; the answer is here, or Ctrl-C was pressed: nobody waits for a goodbye


def add_parser(commands: _SubParsersAction[ArgumentParser]) -> ArgumentParser:
    """Add the command to the parser of the program, and return its own."""
    parser = add_command(
        commands,
        "talk",
        run,
        does="say a recording to a model and save the answer, or converse with it",
        description="Say a recording to a model and save the answer; with --live, converse with it. The transcript "
        "goes to standard output, progress to standard error. The token is read from MESHAPI_TOKEN; without one, and "
        "without a base URL, a local server is started that repeats what it hears.",
    )
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="the recording; - or none reads standard input")
    add("-o", "--output", type=_output, metavar="WAV", help="where to save the answer (default: it is not saved)")
    add("--model", default=MODELS.GPT_REALTIME_MINI.value, help="the model id (default: %(default)s)")
    add("--voice", help="the voice of the answer")
    add("--instructions", metavar="TEXT", help="how the model should answer")
    add("--fast", action="store_true", help="send the recording at once, not in real time")
    add("--json", action="store_true", help="write the server's events to standard output, one per line")
    add_server(parser)
    add("--timeout", type=seconds, default=30.0, metavar="SECONDS", help="of silence to bear (default: %(default)g)")
    live_options.add(parser)
    parser.set_defaults(misuse=parser.error)
    return parser


def _output(text: str) -> Path:
    if text in ("", "-"):
        raise argparse.ArgumentTypeError("a file is needed: standard output is for the transcript")
    path = Path(text)
    if path.suffix.lower() not in ("", ".wav", ".wave"):
        raise argparse.ArgumentTypeError(f"a WAV file is written: name it {path.stem}.wav, not {path.name}")
    return path


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Hold the conversation; failures are raised."""
    live_options.check(args)
    if args.live:
        from .live.run import run as converse  # noqa: PLC0415 - a recorded question does not pay for it

        return converse(args, screen, lambda stack: _client(args, screen, stack))
    question = _load("-" if args.file is None else args.file)
    _check_output(args.output)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        client = _client(args, screen, stack)
        session = client.realtime.connect(model=args.model, timeout=args.timeout, close_timeout=_CLOSE_TIMEOUT)
        stack.enter_context(session)
        exchange = Exchange(session, screen, timeout=args.timeout, json=args.json, keep=args.output is not None)
        try:
            exchange.configure(voice=args.voice, instructions=args.instructions)
            exchange.say(question, real_time=not args.fast)
            exchange.listen()
        except MeshAPIError:
            _save_rest(exchange, args.output, screen)
            raise
        _finish(exchange, args.output, screen, time.monotonic() - started)
    return 0


def _load(file: str) -> NDArray[np.int16]:
    if file != "-":
        question = audio_files.read(file)
    elif sys.stdin is None or sys.stdin.isatty():
        raise MeshAPIError("no recording: name a file, as in `meshapi-rt talk question.wav -o answer.wav`")
    else:
        question = audio_files.read(sys.stdin.buffer)
    if pcm.duration(question) < _SHORTEST:
        raise MeshAPIError(f"the recording lasts {pcm.duration(question):.3f} s; a turn takes at least {_SHORTEST} s")
    return question


def _check_output(output: Path | None) -> None:
    """Find out before the conversation, not after it, that the answer cannot be saved."""
    if output is None:
        return
    if output.is_dir():
        raise MeshAPIError(f"cannot write {output}: it is a folder")
    if not output.parent.is_dir():
        raise MeshAPIError(f"cannot write {output}: there is no folder {output.parent}")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise MeshAPIError(f"cannot write {output}: permission denied")


def _client(args: argparse.Namespace, screen: Screen, stack: contextlib.ExitStack) -> MeshAPI:
    """Choose whom to talk to: the gateway, a server named by its URL, or one of our own."""
    base_url = args.base_url or os.environ.get("MESHAPI_BASE_URL")
    if os.environ.get("MESHAPI_TOKEN"):
        return MeshAPI(base_url=base_url, auth=args.auth)
    if base_url:
        # On this machine any token will do; elsewhere the client says that it needs one.
        return MeshAPI("local" if _is_here(base_url) else None, base_url, auth=args.auth)
    from ..local import LocalServer  # noqa: PLC0415 - most runs need none

    server = stack.enter_context(LocalServer(idle_timeout=None, session_limit=None))
    screen.note("no MESHAPI_TOKEN: talking to a local server, which repeats what it hears")
    return server.client()


def _is_here(base_url: str) -> bool:
    try:
        host = urlsplit(base_url).hostname
    except ValueError:
        host = None
    return host is None or is_loopback(host)  # None: no URL at all, as the client will say


def _save_rest(exchange: Exchange, output: Path | None, screen: Screen) -> None:
    """Keep the part of an answer that came before it failed."""
    if output is not None and exchange.audio:
        with contextlib.suppress(MeshAPIError):  # the first failure is the one to tell
            audio_files.write(output, exchange.audio)
            screen.note(f"{output} holds the {pcm.duration(exchange.audio):.2f} s that came")


def _finish(exchange: Exchange, output: Path | None, screen: Screen, total: float) -> None:
    if not exchange.spoke:
        screen.note("no transcript: the model sent none")
    if exchange.first_audio is None:
        problem = "the answer holds no audio"
        if output is not None:
            raise MeshAPIError(f"{problem}: {output} was not written")
        screen.note(problem)
        return
    if output is not None:
        audio_files.write(output, exchange.audio)
    saved = f"saved to {output}" if output is not None else "not saved: -o FILE saves it"
    length, delay = pcm.duration(exchange.audio), round(1000 * exchange.first_audio)
    screen.note(
        f"{length:.2f} s of audio ({saved}); first audio {delay} ms after the end of the question; {total:.2f} s in all"
    )
