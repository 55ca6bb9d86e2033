"""One connection: its socket on one side, its session on the other, limits and pings between them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any

from websockets.exceptions import ConnectionClosed

from .armed import Armed
from .failures import Refusal, Terminal, terminal_event
from .handshake import Verdict
from .host import Running, Timer, TranscriptionJob
from .ids import new_id
from .options import ServerOptions
from .outbox import Action, Outbox
from .pump import answer, start_thread, transcribe
from .record import Record, SessionInfo
from .rendering import Rendered
from .script import Play
from .session import Session, parse
from .settings import SessionSettings
from .turn import TurnItem
from .values import Fail
from .wire import Connection

__all__ = ["Link"]

log = logging.getLogger("meshapi_rt")

# Unsent bytes at which responders wait, and at which the client is no longer read. The second is far away,
# so that a client that first sends much and then reads much is never held up.
_ANSWER_LIMIT = 1024 * 1024
_CLIENT_LIMIT = 32 * 1024 * 1024
_CLOSE_SECONDS = 1.0  # for the last frames and the closing handshake
_LOOK_SECONDS = 0.2  # how often a responder that waits for room looks whether anybody still wants it
_NO_LIMIT_SECONDS = 86_400  # what expires_at says where the server has no limit


class Link:
    """Carries one session; it is the session's host.

    Threads:
        Everything runs on the loop's thread, but for :meth:`_submit`, which responders call on theirs.
    """

    def __init__(
        self,
        ws: Connection,
        verdict: Verdict,
        options: ServerOptions,
        record: Callable[[Record], None] | None,
        responders: str,
    ) -> None:
        limit = options.session_limit
        expires_at = int(time.time() + (_NO_LIMIT_SECONDS if limit is None else limit))
        self.model = verdict.model
        assert ws.wire is not None
        self.wire = ws.wire
        self.number = ws.number
        self._ws = ws
        self._play: Play | None = None  # the faults of this connection, if there are any
        self._options = options
        self._record = record
        self._responders = responders  # the name of the threads that answer
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox()
        self.queue: Callable[[Action], None] = self._outbox.put_action
        self._timers: weakref.WeakSet[asyncio.TimerHandle] = weakref.WeakSet()  # the loop holds them
        self._tasks: set[asyncio.Task[bool]] = set()  # held, as the loop does not hold them
        self._ended = False  # nothing is sent any more, but what waits in the outbox
        self._finale: Action | None = None  # the end that follows an empty outbox
        self._last_frame = self._loop.time()
        self.session = Session(self, SessionSettings(verdict.session_type, verdict.model, expires_at))

    async def run(self, faults: Sequence[Armed] = ()) -> None:
        """Carry the session until one side ends it, or a fault does."""
        if faults:
            self.arm(faults)
        self.session.open()
        tasks = [asyncio.ensure_future(self._write())]
        if self._options.ping_interval is not None:
            tasks.append(asyncio.ensure_future(self._keep_alive(self._options.ping_interval)))
        self._arm_limits()
        try:
            await self._read()
        finally:
            self._stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self, terminal: Terminal) -> None:
        """End the session with a terminal error and a close; what was sent before still goes out."""
        if self._ended:
            return
        self._say(terminal_event(terminal))
        self.finish(partial(self._ws.close, terminal.close_code, terminal.code))

    def finish(self, finale: Action) -> None:
        """End the session; *finale* ends the connection behind what was sent before. The first one counts."""
        if self._finale is not None:
            return
        self._stop()
        self._finale = finale
        self._outbox.put("")  # wakes the writer
        self._loop.call_later(_CLOSE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        left = self.wire.stall_left  # a stall that ends still lets out what it held, and the end
        self._loop.call_later(left + _CLOSE_SECONDS if left else 0, self.cut)

    def cut(self) -> None:
        """End the connection without a close frame."""
        self._stop()
        self._ws.transport.abort()

    async def go_away(self) -> None:
        """Close the connection, as the server stops."""
        self._stop()
        if self.wire.stalled:
            self.cut()
        await self._ws.close(1001, "the server stops")

    def info(self) -> SessionInfo:
        """Take a picture of the session."""
        settings = self.session.settings
        items = tuple(TurnItem.of(item) for item in self.session.conversation.items)
        return SessionInfo(settings.id, self.model, settings.wire(), items)

    def arm(self, faults: Sequence[Armed]) -> list[asyncio.Future[None]]:
        """Let faults wait for their moment; what comes back is done when those have happened that do not wait."""
        if self._ended:
            return []
        if self._play is None:
            self._play = Play(self, self.number)
        return self._play.arm(faults)

    def _stop(self) -> None:
        self._ended = True
        self._outbox.release()
        self.session.close()
        for timer in tuple(self._timers):
            timer.cancel()
        self._timers.clear()

    # -- the session's host ------------------------------------------------------------------------------

    def send(self, event: dict[str, Any]) -> None:
        """Queue an event; the only way out for a session."""
        if self._ended:
            return
        self._say({"type": event["type"], "event_id": event.get("event_id") or new_id("event"), **event})

    def _say(self, event: dict[str, Any]) -> None:
        if self._play is None:
            self.put(event)
        else:
            self._play.send(event)

    def put(self, frame: dict[str, Any] | str | bytes) -> None:
        """Queue an event or a frame as it is, unless the session has ended."""
        if self._ended:
            return
        if isinstance(frame, dict):
            if self._options.binary_audio and frame["type"] == "response.output_audio.delta":
                frame = base64.b64decode(frame["delta"])
            else:
                frame = json.dumps(frame)
        self._note("server", frame if isinstance(frame, str) else None, len(frame))
        self._outbox.put(frame)

    def answer(self, running: Running) -> None:
        """Let the responder answer on a thread of its own."""
        responder = self._options.responder

        def submit(pieces: Sequence[Rendered]) -> bool:
            return self._submit(running, pieces)

        def finish(failure: Fail | None) -> None:
            self._call(lambda: self.session.speaking.finish(running, failure))

        start_thread(lambda: answer(responder, running, submit, finish), self._responders)

    def transcribe(self, job: TranscriptionJob) -> None:
        """Let speech be written down on a thread of its own."""

        def work() -> None:
            transcript = failure = None
            try:
                transcript = transcribe(self._options.responder, job.samples)
            except Exception as exc:
                log.exception("transcribe() of the responder raised")
                failure = f"transcribe() raised {type(exc).__name__}: {exc}"
            self._call(lambda: self.session.listening.transcribed(job, transcript, failure))

        start_thread(work, self._responders)

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something later, unless the session has ended."""

        def act() -> None:
            self._timers.discard(timer)
            if not self._ended:
                action()

        timer = self._loop.call_later(seconds, act)
        self._timers.add(timer)
        return timer

    # -- from the responders' threads --------------------------------------------------------------------

    def _submit(self, running: Running, pieces: Sequence[Rendered]) -> bool:
        """Hand pieces to the loop and wait until they are queued; false where nobody wants more."""
        wanted: Future[bool] = Future()

        def settle(task: asyncio.Task[bool]) -> None:
            failure = None if task.cancelled() else task.exception()
            if failure is None:
                wanted.set_result(not task.cancelled() and task.result())
            else:  # raised where the responder waits, which ends the response as failed
                wanted.set_exception(failure)

        def begin() -> None:
            if self._ended:  # maybe with the loop, which would leave a task as it is
                wanted.set_result(False)
                return
            task = self._loop.create_task(self._absorb(running, pieces))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(settle)

        if not self._schedule(begin):
            return False
        while not running.turn.cancelled.is_set():
            with contextlib.suppress(FutureTimeoutError):
                return wanted.result(_LOOK_SECONDS)
        return False  # a loop that has ended leaves the future as it is

    def _schedule(self, action: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:  # the server has stopped
            return False
        return True

    def _call(self, action: Callable[[], None]) -> None:
        def act() -> None:
            if not self._ended:
                action()

        self._schedule(act)

    async def _absorb(self, running: Running, pieces: Sequence[Rendered]) -> bool:
        for piece in pieces:
            await self._outbox.wait_below(_ANSWER_LIMIT)
            if self._ended or not self.session.speaking.absorb(running, piece):
                return False
        return True

    # -- the socket --------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async for frame in self._ws:
                self._last_frame = self._loop.time()
                await self.wire.may_read()
                if not self._ended:  # afterwards frames are read only to find the close
                    self._receive(frame)
                    await self._outbox.wait_below(_CLIENT_LIMIT)
        except ConnectionClosed:
            log.debug("session %s ended without a proper close", self.session.settings.id)
        except Exception:
            log.exception("session %s of the local server failed", self.session.settings.id)
            self.end(Terminal("internal_error", "The local server failed; its log says why."))
            await self._ws.wait_closed()

    def _receive(self, frame: str | bytes) -> None:
        self._note("client", frame if isinstance(frame, str) else None, len(frame))
        if self._play is not None:
            self._play.received(frame)
            if self._ended:  # a fault came first
                return
        if isinstance(frame, str):
            self.session.receive(frame)
        elif self._options.binary_audio and frame:
            self.session.receive_audio(frame)

    async def _write(self) -> None:
        try:
            while self._finale is None or not self._outbox.empty:
                frame = await self._outbox.take()
                if not isinstance(frame, (str, bytes)):
                    await frame()
                elif frame:
                    await self.wire.send(frame)
            await self._finale()
        except ConnectionClosed:
            self._stop()

    async def _keep_alive(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await asyncio.wait_for(self._ping(), self._options.ping_timeout)
            except ConnectionClosed:
                return
            except asyncio.TimeoutError:
                self.end(Terminal("connection_timeout", "Heartbeats of the client are missing."))
                return

    async def _ping(self) -> None:
        pong = await self._ws.ping()
        await pong

    # -- limits ------------------------------------------------------------------------------------------

    def _arm_limits(self) -> None:
        limit = self._options.session_limit
        if limit is not None:
            minutes = f"{limit / 60:g} minutes" if limit >= 60 else f"{limit:g} seconds"
            message = f"The session hit its maximum duration of {minutes}."
            self.call_later(limit, lambda: self.end(Terminal("session_duration_exceeded", message)))
        self._check_idle()

    def _check_idle(self) -> None:
        timeout = self._options.idle_timeout
        if timeout is None:
            return
        left = self._last_frame + timeout - self._loop.time()
        if left > 0:
            self.call_later(left, self._check_idle)
        else:
            self.end(Terminal("idle_timeout", f"No frame of the client for {timeout:g} seconds."))

    def _note(self, sender: str, frame: str | None, size: int) -> None:
        if self._record is None:
            return
        try:
            event = None if frame is None else parse(frame)
        except Refusal:
            event = None
        self._record(Record(self.session.settings.id, sender, event, size))
