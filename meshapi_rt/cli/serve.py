"""``meshapi-rt serve``: the local server, until Ctrl-C."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import MeshAPIError
from ..hosts import is_loopback
from .arguments import add_command
from .terminal import Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

__all__ = ["add_parser"]


def add_parser(commands: _SubParsersAction[ArgumentParser]) -> ArgumentParser:
    """Add the command to the parser of the program, and return its own."""
    parser = add_command(
        commands,
        "serve",
        run,
        does="run a local server that speaks the gateway's protocol",
        description="Run a local server that speaks the gateway's protocol and repeats what it hears, until Ctrl-C. "
        "The environment variables that lead a client to it go to standard output.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8765, help="0 takes any free port (default: %(default)s)")
    parser.add_argument("--token", help="the only token that is taken (default: any)")
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text}")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Serve until Ctrl-C, which raises ``KeyboardInterrupt``."""
    from ..local import LocalServer  # noqa: PLC0415 - no other command pays for it

    with LocalServer(host=args.host, port=args.port, token=args.token) as server:
        screen.note(f"listening on {server.url}; Ctrl-C ends it. Clients find it with")
        screen.out(f"MESHAPI_BASE_URL={server.url}\n")
        screen.out("MESHAPI_TOKEN=" + ("local\n" if args.token is None else "(the token given as --token)\n"))
        if not is_loopback(args.host):
            screen.note("others on the network can reach it, without TLS")
        server.wait()
    raise MeshAPIError("the local server has stopped")
