"""The local server as people hold it: start, stop, look inside, from any thread."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..errors import ConfigurationError, MissingExtraError
from .faults import injectable
from .options import ServerOptions
from .record import Record, SessionInfo
from .sightings import Sightings

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Self

    from ..client import MeshAPI
    from .engine import Engine
    from .faults import Fault, Faults
    from .responder import Responder

__all__ = ["LocalServer", "run"]

log = logging.getLogger("meshapi_rt")

_numbers = itertools.count(1)
_ANSWER_SECONDS = 5.0  # for a question to the server's thread, which never blocks
_STOP_SECONDS = 2.0
_T = TypeVar("_T")


class LocalServer:
    """A realtime server on loopback that speaks the gateway's protocol, for development, demos and tests.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`; it can be started again.

    Args:
        host: The address to listen on.
        port: 0 takes any free port.
        responder: Who answers: ``responder(turn)`` returns or yields ``str``, :class:`Text`,
            :class:`Audio`, :class:`ToolCall` and :class:`Fail`. It runs on a thread of its own for every
            response and may block. ``None`` has a parrot answer. If it has a method ``transcribe(pcm)``,
            that writes down the user's speech where a session asks for transcription.
        token: The only token that is taken; ``None`` takes any, but none at all.
        models: The model ids that are taken; ``None`` takes any.
        idle_timeout: Seconds without a frame of the client after which a session ends; ``None``: never.
        session_limit: Seconds that a session lives at most; ``None``: for ever.
        ping_interval: Seconds between the server's pings; ``None``: no pings.
        ping_timeout: Seconds that a ping may wait to be sent and answered before the session ends with
            ``connection_timeout``; ``None``: for ever. A client that does not read answers no ping.
        ssl_context: A server-side context with a certificate makes it ``https``.
        binary_audio: Take binary frames as audio, and send audio as binary frames instead of
            ``response.output_audio.delta`` events. Off, binary frames are ignored, as the gateway does.
        auth_failure: How a refused session is told: ``"frame"`` upgrades, sends one error and closes;
            ``"status"`` answers the handshake with an HTTP status. Both exist (protocol.md 1.3).
        max_sessions: How many may be open at once; ``None``: any number.
        record: Keep every event in :attr:`transcript`.
        faults: What goes wrong on purpose: :mod:`meshapi_rt.local.faults`.

    Raises:
        ConfigurationError: An argument cannot work.
        MissingExtraError: The extra ``local`` is not installed.

    Threads:
        ``meshapi-rt-local-server-N`` runs everything but responders, which run on
        ``meshapi-rt-local-responder-N-M`` each. All are daemons. Any thread may call any method.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        responder: Responder | None = None,
        token: str | None = None,
        models: Collection[str] | None = None,
        idle_timeout: float | None = 60.0,
        session_limit: float | None = 1800.0,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        binary_audio: bool = False,
        auth_failure: Literal["frame", "status"] = "frame",
        max_sessions: int | None = None,
        record: bool = False,
        faults: Faults | None = None,
    ) -> None:
        try:
            from . import engine  # noqa: PLC0415, F401 - the extra is needed from here on
        except ImportError as exc:
            raise MissingExtraError("the local server", "local") from exc
        self._options = ServerOptions(
            host=host,
            port=port,
            responder=responder,
            token=token,
            models=models,
            idle_timeout=idle_timeout,
            session_limit=session_limit,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            ssl_context=ssl_context,
            binary_audio=binary_audio,
            auth_failure=auth_failure,
            max_sessions=max_sessions,
            record=record,
            faults=faults,
        )
        # Guards _thread, _loop, _engine and _port. Held while the thread starts and stops; the thread
        # itself never takes it, and readers look without it: each name is set in one step.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine | None = None
        self._port = 0
        self._responders = ""  # the name of the threads that answer, in the present run
        self._seen = Sightings()

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen. Returns as soon as connections are accepted.

        Raises:
            ConfigurationError: The address cannot be listened on, or the server is running.
        """
        with self._lock:
            if self._thread is not None:
                raise ConfigurationError("the local server is running already; stop() it first")
            started: Future[int] = Future()
            self._seen.begin()
            number = next(_numbers)
            self._responders = f"meshapi-rt-local-responder-{number}"
            self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
            self._thread.name = f"meshapi-rt-local-server-{number}"
            self._thread.start()
            try:
                self._port = started.result()
            except Exception as exc:
                self._thread.join()
                self._thread = self._engine = self._loop = None
                if not isinstance(exc, OSError):
                    raise
                address = f"{self._options.host}:{self._options.port}"
                raise ConfigurationError(f"the local server cannot listen on {address}: {exc}") from exc
        return self

    def stop(self) -> None:
        """Close every session with 1001 and stop listening; safe to call twice, and from any thread.

        Returns within 2 s whatever clients do. A responder that blocks is told by ``turn.cancelled``; one
        that does not look ends with its next piece, on its daemon thread.
        """
        with self._lock:
            if self._thread is None:
                return
            engine = self._engine
            assert engine is not None
            self._post(engine.stop)
            self._thread.join(_STOP_SECONDS)
            self._thread = self._engine = self._loop = None
        self._join_responders(time.monotonic() + _STOP_SECONDS / 10)

    def _join_responders(self, deadline: float) -> None:
        for thread in threading.enumerate():
            mine = thread.name.startswith(f"{self._responders}-")
            if mine and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, started: Future[int]) -> None:
        from .engine import Engine  # noqa: PLC0415 - needs the extra, which __init__ has looked for

        async def main() -> None:
            engine = Engine(self._options, self._responders)
            engine.on_change = lambda: self._seen.count(len(engine.links), engine.connections_total)
            if self._options.record:
                engine.on_record = self._seen.keep
            self._engine, self._loop = engine, asyncio.get_running_loop()
            await engine.main(started.set_result)

        try:
            asyncio.run(main())
        except Exception as exc:
            if started.done():
                log.exception("the local server failed")
            else:
                started.set_exception(exc)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<LocalServer {self.url}>" if self._thread is not None else "<LocalServer, stopped>"

    # -- how to reach it ---------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            ConfigurationError: It is not running.
        """
        if self._thread is None:
            raise ConfigurationError("the local server is not running: start() it, or use it in `with`")
        return self._port

    @property
    def url(self) -> str:
        """What ``MeshAPI(base_url=...)`` takes: ``http://127.0.0.1:PORT``, or ``https://`` with TLS."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._options.host, self._options.host)  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        scheme = "http" if self._options.ssl_context is None else "https"
        return f"{scheme}://{host}:{self.port}"

    def client(self, **options: Any) -> MeshAPI:
        """Make a client of this server.

        Args:
            **options: For ``MeshAPI``; a server with TLS needs an ``ssl_context`` that trusts it.
        """
        from ..client import MeshAPI  # noqa: PLC0415 - the client does not need the server, nor the other way

        options.setdefault("token", self._options.token or "local-token")
        return MeshAPI(base_url=self.url, **options)

    # -- what it sees ------------------------------------------------------------------------------------

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        """A picture of every open session, oldest first."""

        def look(engine: Engine) -> tuple[SessionInfo, ...]:
            return tuple(link.info() for link in engine.links)

        return self._ask(look, ())

    @property
    def connections_total(self) -> int:
        """Sessions opened since the server was made, refused ones not counted."""
        return self._seen.total

    @property
    def transcript(self) -> list[Record]:
        """Every frame so far, in order; empty without ``record=True``."""
        return self._seen.records

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no session is open; false where *timeout* seconds were not enough."""
        return self._seen.wait_idle(timeout)

    def wait(self) -> None:
        """Wait until the server is stopped; Ctrl-C gets through on every platform."""
        while (thread := self._thread) is not None and thread.is_alive():
            thread.join(0.2)

    def drain(self) -> None:
        """End every session as a gateway does that is being replaced: ``service_draining``, then a close.

        New sessions are still taken.
        """
        self._ask(lambda engine: engine.drain_all(), None)

    def drop(self) -> None:
        """Cut every connection without a close frame, as a broken network does."""
        self._ask(lambda engine: engine.cut_all(), None)

    def inject(self, fault: Fault) -> int:
        """Let something go wrong in every open session; returns when it has, and in how many.

        Args:
            fault: One with a moment waits for it, counted from now; one that changes events changes those to come;
                ``Refuse`` waits for connections to come. ``times`` counts on each session by itself.

        Raises:
            ConfigurationError: It is no fault, or one that only a server's own script can have.
        """
        engine, loop, fault = self._engine, self._loop, injectable(fault)
        if engine is None or loop is None:
            return 0
        injecting = engine.inject(fault)
        try:
            return asyncio.run_coroutine_threadsafe(injecting, loop).result(_ANSWER_SECONDS)
        except (RuntimeError, CancelledError):  # the server has stopped, or stops
            injecting.close()
            return 0

    def _ask(self, question: Callable[[Engine], _T], stopped: _T) -> _T:
        """Have the server's thread do something, and wait for it; *stopped* where there is none."""
        engine, answer = self._engine, Future[_T]()

        def work() -> None:
            assert engine is not None
            try:
                answer.set_result(question(engine))
            except Exception as exc:  # noqa: BLE001 - it is raised where the question was asked
                answer.set_exception(exc)

        if engine is None or not self._post(work):
            return stopped
        return answer.result(_ANSWER_SECONDS)

    def _post(self, work: Callable[[], None]) -> bool:
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(work)
        except RuntimeError:  # its loop is closed
            return False
        return True


def run(
    host: str = "127.0.0.1",
    port: int = 8765,
    *,
    on_start: Callable[[LocalServer], None] | None = None,
    **options: Any,
) -> None:
    """Serve until Ctrl-C. Prints nothing.

    Args:
        host: As :class:`LocalServer`.
        port: As :class:`LocalServer`.
        on_start: Told the server as soon as it listens.
        **options: All others of :class:`LocalServer`.

    Raises:
        ConfigurationError: An argument cannot work, or the address cannot be listened on.
    """
    with LocalServer(host=host, port=port, **options) as server:
        try:
            if on_start is not None:
                on_start(server)
            server.wait()
        except KeyboardInterrupt:
            return
