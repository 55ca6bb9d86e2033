"""``meshapi-rt doctor``: what of all that a session needs works here, and what to do about the rest.

``checkup`` does the checks one after the other, ``report`` shows them; ``packages``, ``route`` (with ``certificate``),
``service`` and ``sound`` are the checks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from ...models import MODELS
from ..arguments import add_command, add_server, seconds
from ..terminal import Screen

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from .checkup import Check

__all__ = ["add_parser"]

_FAILED = 1


def add_parser(commands: _SubParsersAction[ArgumentParser]) -> ArgumentParser:
    """Add the command to the parser of the program, and return its own."""
    parser = add_command(
        commands,
        "doctor",
        run,
        does="look whether everything that is needed works",
        description="Look at Python and packages, at the way to the server, at the token, a session and its first "
        "answer, and at the sound devices: a line each, with the remedy where something is wrong. The exit code is 0 "
        "if all that is needed works, else 1; warnings don't count. The token is read from MESHAPI_TOKEN and never "
        "shown. Without one, the way to the server is looked at all the same, and a local server shows that the rest "
        "works.",
    )
    add = parser.add_argument
    add("--model", default=MODELS.GPT_REALTIME_MINI.value, help="the model id (default: %(default)s)")
    add_server(parser)
    add("--offline", action="store_true", help="use no network: a local server stands in for the gateway")
    add("--json", action="store_true", help="write a line of JSON for each check")
    add("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="for each check (default: %(default)g)")
    return parser


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Do the checks, and show each as soon as it is done."""
    from .checkup import Result, Status, examine  # noqa: PLC0415 - no other command pays for it
    from .report import Report  # noqa: PLC0415

    report, cancel, results = Report(screen, json=args.json), threading.Event(), list[Result]()
    with contextlib.ExitStack() as stack:
        checks = _checks(args, stack, cancel)
        stack.callback(cancel.set)
        for result in stack.enter_context(contextlib.closing(examine(checks, args.timeout, cancel, report.begin))):
            report.show(result)
            results.append(result)
    report.sum_up(results)
    return _FAILED if any(result.finding.status is Status.FAIL for result in results) else 0


def _checks(args: argparse.Namespace, stack: contextlib.ExitStack, cancel: threading.Event) -> list[Check]:
    from .packages import package_checks  # noqa: PLC0415 - no other command pays for them
    from .route import Route  # noqa: PLC0415
    from .service import Service  # noqa: PLC0415
    from .sound import sound_checks  # noqa: PLC0415

    route = Route(args.base_url or os.environ.get("MESHAPI_BASE_URL"), given=bool(args.base_url))
    service = Service(
        route.base_url,
        model=args.model,
        auth=args.auth,
        leads_here=route.leads_here,
        offline=args.offline,
        cancel=cancel,
    )
    stack.callback(service.close)
    way = [] if args.offline else route.checks()
    return [*package_checks(), *way, *service.checks(), *sound_checks(cancel)]
