"""``meshapi-rt devices``: the microphones and speakers of this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .arguments import add_command
from .terminal import Screen, printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from ..devices.cards import Device, Kind

__all__ = ["add_parser"]


def add_parser(commands: _SubParsersAction[ArgumentParser]) -> ArgumentParser:
    """Add the command to the parser of the program, and return its own."""
    return add_command(
        commands,
        "devices",
        run,
        does="list microphones and speakers",
        description="List the microphones and speakers of this machine: the number and the name, of which a part is "
        "enough, choose one; * marks what is taken if none is named.",
    )


def run(_args: argparse.Namespace, screen: Screen) -> int:
    """List them on standard output."""
    from ..devices.cards import devices, find  # noqa: PLC0415 - no other command pays for it

    found = devices()
    if not found:
        find(None, "input", found)  # says what to do
    screen.out(_table("microphones", "input", found))
    screen.out(_table("speakers", "output", found))
    return 0


def _table(title: str, kind: Kind, found: list[Device]) -> str:
    able = [device for device in found if device.channels(kind)]
    width = max((len(device.name) for device in able), default=0)
    lines = [
        f"{'*' if device.is_default(kind) else ' '} {device.number:>3}  {device.name:<{width}}  {device.rate} Hz, "
        f"{device.channels(kind)} channel{'s' if device.channels(kind) > 1 else ''}, {device.api}"
        for device in able
    ]
    return printable("\n".join([f"{title}:", *(lines or ["  none"])])) + "\n"
