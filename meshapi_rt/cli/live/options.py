"""The options of ``meshapi-rt talk --live``, and what does not go together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

__all__ = ["NONE", "Choice", "add", "check"]

NONE = "none"
_WAV = {".wav", ".wave"}
_SOUNDS = _WAV | {".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".m4a"}

Choice: TypeAlias = "int | str | Path | None"
"""The number or the name of a device, a file, :data:`NONE`, or ``None`` for the default device."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser of ``talk``."""
    group = parser.add_argument_group(
        "a conversation",
        "It ends with q or Ctrl-C, or by itself where a recording is the microphone and was answered. On a terminal "
        "keys say what to do; lines that are piped in are said one after the other.",
    )
    option = group.add_argument
    option("--live", action="store_true", help="converse through microphone and speaker")
    named = "name or number of a device (`meshapi-rt devices`),"
    option("--microphone", type=_microphone, metavar="NAME", help=f"{named} a recording, or none")
    option("--speaker", type=_speaker, metavar="NAME", help=f"{named} a WAV file to write, or none: answers are text")
    option("--headphones", action="store_true", help="the microphone cannot hear the speaker: never silence it")
    turns = group.add_mutually_exclusive_group()
    turns.add_argument("--push-to-talk", action="store_true", help="the space bar begins and ends turns, not a pause")
    turns.add_argument("--semantic-vad", action="store_true", help="what is said ends turns, not a pause alone")


def _microphone(text: str) -> Choice:
    if not text.strip():
        raise argparse.ArgumentTypeError("takes the name or the number of a device, a file, or none")
    if text.isdecimal():
        return int(text)
    path = Path(text)
    if path.suffix.lower() in _SOUNDS or path.is_file():
        return path
    return NONE if text.lower() == NONE else text


def _speaker(text: str) -> Choice:
    choice = _microphone(text)
    if isinstance(choice, Path) and choice.suffix.lower() not in _WAV:
        raise argparse.ArgumentTypeError(f"a WAV file is written: name it {choice.stem}.wav, not {choice.name}")
    return choice


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant, by ``args.misuse``, which ends the program with a usage line."""
    problem = _of_live(args) if args.live else _of_recording(args)
    if problem is not None:
        args.misuse(problem)


def _of_recording(args: argparse.Namespace) -> str | None:
    given = {
        "--microphone": args.microphone is not None,
        "--speaker": args.speaker is not None,
        "--headphones": args.headphones,
        "--push-to-talk": args.push_to_talk,
        "--semantic-vad": args.semantic_vad,
    }
    names = [name for name, is_given in given.items() if is_given]
    return f"{', '.join(names)}: for conversations; add --live" if names else None


def _of_live(args: argparse.Namespace) -> str | None:
    from .keyboard import is_terminal  # noqa: PLC0415 - a recorded question does not pay for it

    microphone, speaker = args.microphone, args.speaker
    if args.file is not None:
        return f"--live listens to a microphone; a recording serves as one: --microphone {args.file}"
    if args.output is not None:
        return f"--live saves nothing by itself; a file serves as speaker: --speaker {args.output}"
    if args.fast:
        return "--fast is for recordings; a conversation takes place in real time"
    if args.push_to_talk and not is_terminal():
        return "--push-to-talk needs a terminal as standard input: a key is pressed there"
    if microphone == NONE and (args.push_to_talk or args.semantic_vad):
        return "--microphone none: there is no speech that could be taken in turns"
    if args.headphones and (_no_device(microphone) or _no_device(speaker)):
        return "--headphones is for sound devices: a file hears no echo"
    if speaker == NONE and args.voice is not None:
        return "--speaker none: answers are text, and have no --voice"
    if isinstance(speaker, Path) and isinstance(microphone, Path) and _same(speaker, microphone):
        return f"{speaker} cannot be both: it would be replaced by what is played"
    return None


def _no_device(choice: Choice) -> bool:
    return isinstance(choice, Path) or choice == NONE


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
