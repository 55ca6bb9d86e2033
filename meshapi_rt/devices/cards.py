"""Sound devices: which there are, which one is meant, and opening it. The one room that knows sounddevice.

Errors of PortAudio, and of its absence, become :class:`.DeviceError` here, one sentence with the remedy.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from ..errors import DeviceError, MissingExtraError

__all__ = ["Device", "DeviceId", "Kind", "Stream", "choose", "devices", "find", "open_stream"]

Kind: TypeAlias = Literal["input", "output"]
DeviceId: TypeAlias = "int | str | None"

_NAMES: dict[Kind, str] = {"input": "microphone", "output": "speaker"}
_NO_LIBRARY = {
    "linux": "install it with your system's packages, for example `apt install libportaudio2`",
    "darwin": "it comes with the package: pip install --force-reinstall sounddevice",
    "win32": "it comes with the package: pip install --force-reinstall sounddevice",
}
_NO_DEVICE = {
    "linux": "connect one, and see that the sound server runs (`pactl info`) or that you are in the group audio",
    "darwin": "connect one, and look into System Settings > Sound",
    "win32": "connect one, and look into Settings > System > Sound",
}
_REFUSED = {
    "linux": "see that the sound server runs (`pactl info`), or that you are in the group audio, and that no other "
    "program holds it",
    "darwin": "allow the terminal to use it in System Settings > Privacy & Security > Microphone, and see that no "
    "other program holds it",
    "win32": "let desktop apps use it in Settings > Privacy & security > Microphone, and see that no other program "
    "holds it",
}


def _remedy(advice: dict[str, str]) -> str:
    """Choose the advice for this platform."""
    return advice.get(sys.platform, advice["linux"])


def remedy_for_silence() -> str:
    """Return what to do about a microphone that gives nothing but zeros."""
    return _remedy(_REFUSED)


@attrs.frozen(kw_only=True)
class Device:
    """A sound device as the system offers it.

    Attributes:
        number: What :class:`.Microphone` and :class:`.Speaker` take; it may change when devices come and go.
        name: Its name.
        api: The system's sound interface that offers it; the same device may be there through several.
        inputs: Channels it records, 0 for none.
        outputs: Channels it plays, 0 for none.
        rate: Frames per second that it prefers.
        default_input: Whether it is the microphone if none is named.
        default_output: Whether it is the speaker if none is named.
    """

    number: int
    name: str
    api: str
    inputs: int
    outputs: int
    rate: int
    default_input: bool
    default_output: bool

    def channels(self, kind: Kind) -> int:
        """Channels in one direction."""
        return self.inputs if kind == "input" else self.outputs

    def is_default(self, kind: Kind) -> bool:
        """Whether it is taken for this direction if none is named."""
        return self.default_input if kind == "input" else self.default_output


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise MissingExtraError("using sound devices", "audio") from exc
    except OSError as exc:
        raise DeviceError(f"the PortAudio library is missing: {_remedy(_NO_LIBRARY)}") from exc
    return sounddevice


def devices(*, refresh: bool = False) -> list[Device]:
    """Return the sound devices of this machine.

    Args:
        refresh: Look for devices that have come or gone since this process first asked. Everything in this process
            that uses PortAudio has to be closed before.

    Raises:
        DeviceError: PortAudio is missing, or failed; or a refresh is asked for while a device is open.
        MissingExtraError: sounddevice is not installed.
    """
    sd = _sounddevice()
    try:
        if refresh:
            _start_again(sd)
        apis = sd.query_hostapis()
        default_input, default_output = sd.default.device
        # -1 where a program has set no default of its own: then the first interface's counts.
        first = apis[sd.default.hostapi] if apis else {}
        default_input = first.get("default_input_device", -1) if default_input == -1 else default_input
        default_output = first.get("default_output_device", -1) if default_output == -1 else default_output
        return [
            Device(
                number=number,
                name=info["name"],
                api=apis[info["hostapi"]]["name"],
                inputs=info["max_input_channels"],
                outputs=info["max_output_channels"],
                rate=round(info["default_samplerate"]),
                default_input=number == default_input,
                default_output=number == default_output,
            )
            for number, info in enumerate(sd.query_devices())
        ]
    except sd.PortAudioError as exc:
        raise DeviceError(f"the sound devices cannot be listed: {_reason(exc)}; {_remedy(_REFUSED)}") from exc


def _start_again(sd: Any) -> None:
    with _open_lock:
        if _open:
            names = ", ".join(repr(stream.device.name) for stream in _open)
            raise DeviceError(f"devices cannot be looked for while one is open: close {names} first")
        sd._terminate()
        sd._initialize()


def choose(wanted: DeviceId, kind: Kind) -> Device:
    """Find the device that is meant among those of this machine.

    Raises:
        DeviceError: As :func:`devices` and :func:`find`.
        MissingExtraError: sounddevice is not installed.
    """
    return find(wanted, kind, devices())


def find(wanted: DeviceId, kind: Kind, among: list[Device]) -> Device:
    """Find the device that is meant.

    Args:
        wanted: A number; a name or a part of one, in any case; or ``None`` for the default.
        kind: The direction that it must have.
        among: Where to look.

    Raises:
        DeviceError: There is none, or more than one; with the choices.
    """
    name = _NAMES[kind]
    able = [device for device in among if device.channels(kind)]
    if not able:
        raise DeviceError(f"there is no {name} on this machine; {_remedy(_NO_DEVICE)}")
    choices = "; ".join(f"{device.number} {device.name!r} ({device.api})" for device in able)
    if wanted is None:
        found = [device for device in able if device.is_default(kind)]
        problem = f"there is no default {name}"
    elif isinstance(wanted, str):
        found = _named(wanted, able, kind)
        problem = f"{wanted!r} is the name of {len(found) or 'no'} {name}{'s' if len(found) > 1 else ''}"
    elif isinstance(wanted, int) and not isinstance(wanted, bool):
        found = [device for device in able if device.number == wanted]
        problem = f"no {name} has the number {wanted}"
    else:
        raise DeviceError(f"a {name} is chosen by number or name, not by {wanted!r}; choose one of: {choices}")
    if len(found) != 1:
        raise DeviceError(f"{problem}; choose one of: {choices}")
    return found[0]


def _named(wanted: str, able: list[Device], kind: Kind) -> list[Device]:
    """Return the devices of that name; the whole name goes before a part, the default's interface before others."""
    text = wanted.casefold().strip()
    found = [device for device in able if text and text in device.name.casefold()]
    for better in (
        [device for device in found if device.name.casefold() == text],
        [device for device in found if any(other.api == device.api and other.is_default(kind) for other in able)],
    ):
        found = better or found
    return found


# Guards _open, and that nobody opens a device while PortAudio starts again.
_open_lock = threading.Lock()
_open: set[Stream] = set()


class Stream:
    """An open device: when it runs, its callback is called by a thread of its own."""

    def __init__(self, stream: Any, device: Device, errors: type[Exception]) -> None:
        self._stream = stream
        self._errors = errors
        self.device = device
        self.latency: float = stream.latency

    def start(self) -> None:
        """Let it run.

        Raises:
            DeviceError: It cannot.
        """
        try:
            self._stream.start()
        except self._errors as exc:
            raise DeviceError(f"{self.device.name!r} does not start: {_reason(exc)}; {_remedy(_REFUSED)}") from exc

    def close(self) -> None:
        """Stop it at once; what it still holds is dropped. A device that is gone does not mind."""
        try:
            self._stream.abort(ignore_errors=True)
        finally:
            self._stream.close(ignore_errors=True)
            with _open_lock:
                _open.discard(self)


def open_stream(
    kind: Kind,
    device: Device,
    rate: int,
    *,
    block: float,
    latency: float,
    callback: Callable[..., None],
    finished: Callable[[], None],
) -> Stream:
    """Open a device for 16-bit samples.

    Args:
        kind: The direction.
        device: One of :func:`devices`.
        rate: Frames per second.
        block: Seconds that each call of *callback* should be about; 0 leaves it to the device.
        latency: Seconds that the device should hold; it may take more.
        callback: As sounddevice calls it.
        finished: Called once when the stream ends, for whatever reason.

    Raises:
        DeviceError: It cannot be opened.
    """
    sd = _sounddevice()
    make = sd.InputStream if kind == "input" else sd.OutputStream
    try:
        with _open_lock:
            made = make(
                samplerate=rate,
                blocksize=round(rate * block),
                device=device.number,
                channels=min(2, device.channels(kind)),  # one channel alone is refused by some devices
                dtype="int16",
                latency=latency,
                callback=callback,
                finished_callback=finished,
            )
            stream = Stream(made, device, sd.PortAudioError)
            _open.add(stream)
    except (sd.PortAudioError, ValueError) as exc:
        name = _NAMES[kind]
        raise DeviceError(
            f"the {name} {device.name!r} cannot be opened at {rate} Hz: {_reason(exc)}; {_remedy(_REFUSED)}"
        ) from exc
    return stream


def _reason(exc: Exception) -> str:
    """Return what PortAudio says, without the number of its error and the names of its functions."""
    text = str(exc.args[0] if exc.args else exc)
    return text.removeprefix("Error opening InputStream: ").removeprefix("Error opening OutputStream: ").strip()
