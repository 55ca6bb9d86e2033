"""What the agent hears: blocks of the microphone on their way to the session."""

from __future__ import annotations

import base64
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from .. import pcm
from ..devices.blocks import Blocks
from ..devices.microphone import BaseMicrophone
from ..devices.protocols import AudioSource
from ..errors import Cancelled, DeviceError, MeshAPIError, TimedOut
from ..session import RealtimeSession
from ..wire_format import FORMATS, WireFormat
from .gate import Gate

__all__ = ["Ears"]

log = logging.getLogger("meshapi_rt")

_LOOK = 0.25  # seconds at most between two looks at whether the key went up or all is over
_BLOCK = 0.02  # seconds of a block of G.711
_PCM = FORMATS["audio/pcm"]
_TRACE = 3000  # blocks whose time is remembered: a minute
_LONGEST_TURN = 120.0  # seconds of an open turn that are kept for another connection: 6 MB
_numbers = itertools.count(1)


class Ears:
    """Reads a microphone and sends what it hears: all of it, or what is said while the key is down.

    Args:
        session: Where it goes.
        source: The microphone.
        gate: What silences echoes; ``None`` lets everything through.
        preroll: Seconds before the key goes down that are sent too; ``None``: there is no key, all is sent.
        released: Called behind the last block after the key went up, with the seconds that were sent.
        ended: Called when the recording is over, or with what broke; the thread ends then.

    Threads:
        ``meshapi-rt-agent-ears-N`` reads, sends and calls; it ends with the microphone, the session, or
        :meth:`close`. Any thread calls the others.
    """

    def __init__(
        self,
        session: RealtimeSession,
        source: AudioSource,
        *,
        gate: Gate | None,
        preroll: float | None,
        released: Callable[[float], object],
        ended: Callable[[MeshAPIError | None], object],
    ) -> None:
        self._session = session
        self._source = source
        self._gate = gate
        self._preroll = preroll
        self._released = released
        self._ended = ended
        self._over = threading.Event()
        # Guards what follows. Held for looking and changing only, never while reading or sending.
        self._lock = threading.Lock()
        self._down = False  # the key
        self._up_at: float | None = None  # when it went up, until that was reported
        self._sent = 0.0  # seconds since the key went down
        self._clock = 0.0  # seconds of audio that the connection got
        self._trace: deque[tuple[float, float]] = deque(maxlen=_TRACE)  # that clock, and when it was heard
        self._wire = _PCM
        self._turn: deque[tuple[bytes, float]] = deque()  # what was sent since the key went down
        self._again = False  # it is to be sent again
        self._whole = False  # likewise, and reported: the key is up
        # The thread's:
        self._kept: deque[tuple[bytes, float]] = deque()
        self._kept_seconds = 0.0
        self._blocks = Blocks(pcm.SAMPLE_RATE, _BLOCK, _PCM)
        self._blocks_wire = _PCM
        self._thread = threading.Thread(target=self._run, name=f"meshapi-rt-agent-ears-{next(_numbers)}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End; a microphone that hangs keeps the thread and nothing else."""
        self._over.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    # -- the conductor's side ---

    def set_format(self, wire: WireFormat) -> None:
        """Send that from now on."""
        with self._lock:
            self._wire = wire

    def press(self) -> None:
        """Send from now on, and what was said just before."""
        with self._lock:
            self._down, self._up_at, self._sent = True, None, 0.0
            self._again = self._whole = False
            self._turn.clear()

    def release(self, at: float) -> None:
        """Send what was said until then, and report."""
        with self._lock:
            if self._down:
                self._up_at = at
        if not self._thread.is_alive():
            self._report_release()

    def forget_connection(self, *, uncommitted: bool = False) -> None:
        """Take note of another connection: it has heard nothing, so what was said while the key is down is sent again.

        Args:
            uncommitted: Likewise of the last turn, though the key is up; it is reported again.
        """
        with self._lock:
            self._clock = self._sent = 0.0
            self._trace.clear()
            self._whole = uncommitted and not self._down
            self._again = self._down or self._whole
        if not self._thread.is_alive():
            self._resend()

    def take_over(self, other: Ears) -> None:
        """Go on where another microphone ended, on the same connection; before the start."""
        with other._lock, self._lock:
            self._down, self._up_at, self._sent = other._down, other._up_at, other._sent
            self._turn, self._again, self._whole = other._turn, other._again, other._whole
            self._clock, self._trace = other._clock, other._trace

    def heard_at(self, ms: float) -> float | None:
        """Return when something was said that lies so far into the audio of this connection; ``None`` if unknown."""
        with self._lock:
            for clock, ended in reversed(self._trace):
                if clock * 1000 <= ms:
                    return ended + min(ms / 1000 - clock, 1.0)
        return None

    # -- the thread ---

    def _run(self) -> None:
        failure: MeshAPIError | None = None
        try:
            while not self._over.is_set() and self._listen():
                pass
        except Cancelled:
            pass
        except MeshAPIError as exc:
            failure = exc
        except Exception as exc:  # noqa: BLE001 - a source of somebody else's
            failure = DeviceError(f"the microphone failed: {exc!r}")
            failure.__cause__ = exc
        self._report_release()
        if not self._over.is_set() and not self._session.closed:
            self._ended(failure)

    def _listen(self) -> bool:
        """Take a block; false at the end."""
        self._resend()
        try:
            block = self._source.read(_LOOK, self._over)
        except TimedOut:
            if self._up_at is not None:
                self._report_release()
            return True
        if not block:
            return False
        source = self._source
        ended = source.captured_at if isinstance(source, BaseMicrophone) else time.monotonic()
        passed = [block] if self._gate is None else self._gate.pass_on(block, ended)
        for one in passed:
            self._take(one, ended)
        return True

    def _take(self, block: bytes, ended: float) -> None:
        with self._lock:
            wanted, last = self._preroll is None or self._down, self._up_at is not None and ended >= self._up_at
        if not wanted:
            self._keep(block, ended)
            return
        while self._kept:
            self._send(*self._kept.popleft())
        self._kept_seconds = 0.0
        self._send(block, ended)
        if last:
            self._report_release()

    def _keep(self, block: bytes, ended: float) -> None:
        assert self._preroll is not None
        self._kept.append((block, ended))
        self._kept_seconds += _seconds(block)
        while self._kept and self._kept_seconds - _seconds(self._kept[0][0]) >= self._preroll:
            self._kept_seconds -= _seconds(self._kept.popleft()[0])

    def _resend(self) -> None:
        """Say a turn again where that is due, to a connection that may have heard some of its end."""
        with self._lock:
            again, whole, turn = self._again, self._whole, tuple(self._turn)
            self._again = self._whole = False
            if again:
                self._sent = 0.0
        if not again:
            return
        try:
            self._session.send({"type": "input_audio_buffer.clear"})
        except TimedOut as exc:
            log.warning("the input buffer was not cleared: %s", exc)
        for block, ended in turn:
            self._deliver(block, ended)
        if whole:
            self._released(self._sent)

    def _report_release(self) -> None:
        self._resend()
        with self._lock:
            if not self._down or self._up_at is None:
                return
            self._down, self._up_at = False, None
            sent = self._sent
        self._released(sent)

    def _send(self, block: bytes, ended: float) -> None:
        with self._lock:
            if self._down:
                self._turn.append((block, ended))
                while ended - self._turn[0][1] > _LONGEST_TURN:
                    self._turn.popleft()
        self._deliver(block, ended)

    def _deliver(self, block: bytes, ended: float) -> None:
        with self._lock:
            wire = self._wire
            seconds = _seconds(block)
            self._sent += seconds
            self._clock += seconds
            self._trace.append((self._clock, ended))
        try:
            if wire is _PCM:
                self._session.send_audio(block)
            else:
                self._send_coded(block, ended, wire)
        except TimedOut as exc:
            log.warning("the session took no audio: %s", exc)

    def _send_coded(self, block: bytes, ended: float, wire: WireFormat) -> None:
        if wire is not self._blocks_wire:
            self._blocks, self._blocks_wire = Blocks(pcm.SAMPLE_RATE, _BLOCK, wire), wire
        self._blocks.add(np.frombuffer(block, "<i2").astype(np.int16), ended, muted=False)
        while (coded := self._blocks.pop(hush=False)) is not None:
            audio = base64.b64encode(coded.data).decode()
            self._session.send({"type": "input_audio_buffer.append", "audio": audio})


def _seconds(block: bytes) -> float:
    return len(block) / 2 / pcm.SAMPLE_RATE
