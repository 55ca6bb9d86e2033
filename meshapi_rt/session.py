"""``RealtimeSession``: what a user holds."""

from __future__ import annotations

import _thread
import contextlib
import copy
import functools
import queue
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from .asking import Asking
from .commands import InputAudioBuffer, Responses
from .configuring import Configurable
from .engine import Engine, check_close
from .errors import ConfigurationError, ConnectionLost, RealtimeError, SessionClosed, TimedOut
from .handlers import Handler, Handlers
from .inbox import again
from .message import RealtimeMessage
from .pcm import AudioLike
from .stats import SessionStats
from .streams import EventStream
from .usage import Usage
from .waiting import Wait, seconds

if TYPE_CHECKING:
    from .item_commands import Conversation
    from .tools.box import Toolbox
    from .tools.desk import ToolDesk
    from .tools.tool import Approve, Limit

__all__ = ["RealtimeSession"]

_Given = TypeVar("_Given", bound=Handler)
_Function = TypeVar("_Function", bound=Callable[..., Any])
# Guards the desks of all sessions while one is made, so that a session without tools has no lock for it.
_making = threading.Lock()


class RealtimeSession(Asking, Configurable):
    """One live conversation. Made by ``client.realtime.connect()``; also a context manager that closes it.

    Threads:
        A reader thread (``meshapi-rt-reader-N``, daemon) receives; on Linux, a thread other than the main one that
        waits in :meth:`receive` or :meth:`events` may do that meanwhile, so an exception that something throws into
        such a thread from outside can end the connection. Any thread may call any method; several
        threads that receive share the messages, and each message goes to one of them. An event of one thread
        goes out whole, and in the order of that thread. With tools, a thread of their own
        (``meshapi-rt-tools-N``, daemon) sends what calls return, and each call has one (``meshapi-rt-tool-N``),
        which ends with the user's function.
    """

    def __init__(self, engine: Engine, *, model: str, close_timeout: float, tooling: Mapping[str, Any]) -> None:
        self._engine = engine
        self._model = model
        self._close_timeout = close_timeout
        self._tooling = tooling  # the arguments of a ToolDesk
        self._desk: ToolDesk | None = None
        weakref.finalize(self, _abandoned, engine, model).atexit = False

    # -- sending ---

    def send(self, event: object, timeout: float | None = 30.0) -> str:
        """Send one event.

        Args:
            event: A mapping, such as an ``event_types.ClientEvent``, or an instance of an attrs class, with a string
                ``type``. It is not changed. Without an ``event_id`` it is sent with a unique one, which the server
                repeats in an error about it.
            timeout: Seconds to wait for a peer that reads slowly; ``None`` for without limit.

        Returns:
            The ``event_id``.

        Raises:
            EventError: It cannot be sent as JSON. Nothing was sent.
            TimedOut: It could not be handed over in time. The session is over if part of it went out; the
                message says so.
            SessionClosed: The session is closed (likewise ``ConnectionLost`` or the ``RealtimeError`` that
                ended it).
        """
        return self._engine.sender.send(event, timeout)

    def send_audio(self, audio: AudioLike, timeout: float | None = 30.0) -> tuple[str, ...]:
        """Append audio to the input buffer: 24 kHz mono, 16 bit.

        Args:
            audio: PCM16 as a bytes-like object; an int16 array; or a float array in [-1, 1]; arrays of shape
                ``(samples,)`` or ``(samples, 1)``. Empty audio sends nothing; an event carries 10 s at most.
            timeout: Seconds for all of it, as in :meth:`send`.

        Returns:
            The ``event_id`` of each event that was sent; none for binary frames.

        Raises:
            AudioFormatError: It is something else; the message says what was seen. Nothing was sent.
            TimedOut: As in :meth:`send`.
            SessionClosed: As in :meth:`send`.
        """
        return self._engine.sender.send_audio(audio, timeout)

    # -- receiving ---

    def receive(self, timeout: float | None = None, cancel: threading.Event | None = None) -> RealtimeMessage:
        """Wait for the next message.

        Args:
            timeout: Seconds to wait; 0 looks once, ``None`` waits without limit.
            cancel: Ends the wait when it is set.

        Raises:
            TimedOut: A ``TimeoutError``. None came in time; the session goes on.
            Cancelled: *cancel* was set; the session goes on.
            RealtimeError: An error event; the session goes on, unless ``close_code`` is set.
            SessionClosed: An ``EOFError``. The session was closed by either side, and every message before that
                has been taken. Raised again by every later call, as is:
            ConnectionLost: The session ended in any other way.
        """
        try:
            message = self._next(Wait(timeout, cancel))
        finally:
            self._engine.inbox.comes_back()
        if message.error is not None:
            raise message.error
        return message

    def _next(self, wait: Wait) -> RealtimeMessage:
        inbox = self._engine.inbox
        try:
            message = inbox.take() or inbox.get(wait)
        except queue.Empty:
            raise TimedOut(f"no message came within {wait.timeout:g} s; the session is still open") from None
        if message is None:
            assert inbox.ended is not None
            raise again(inbox.ended)
        return message

    def events(
        self,
        on_error: Literal["yield", "raise"] = "yield",
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> EventStream:
        """Return the messages as an iterator that is also a pair of queues.

        Args:
            on_error: ``"yield"`` gives error events like any other, with ``msg.error`` set: most of them do not end
                a session. ``"raise"`` raises them; the next loop goes on behind it.
            timeout: Seconds to wait for each message; beyond it the loop raises ``TimedOut``.
            cancel: Ends the wait with ``Cancelled`` when it is set.
        """
        if on_error not in ("yield", "raise"):
            raise ConfigurationError(f'on_error must be "yield" or "raise", not {on_error!r}')
        return EventStream(
            self._engine.inbox,
            self,
            raise_errors=on_error == "raise",
            timeout=timeout,
            cancel=cancel,
        )

    def __iter__(self) -> Iterator[RealtimeMessage]:
        return iter(self.events())

    def wait_for(
        self,
        what: str | Callable[[RealtimeMessage], object],
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> RealtimeMessage:
        """Take messages until one matches, and return that one. The ones before it are gone.

        Args:
            what: An event type, or a function that says whether a message is meant.
            timeout: Seconds for all of it.
            cancel: Ends the wait when it is set.

        Raises:
            RealtimeError: An error event came that was not waited for; the session goes on.
            TimedOut: None matched in time; the session goes on.
            Cancelled: *cancel* was set; the session goes on.
            SessionClosed: The session ended first (likewise ``ConnectionLost``).
        """
        wait = Wait(timeout, cancel)
        while True:
            try:
                message = self._next(wait)
            except TimedOut:
                named = what if isinstance(what, str) else "matching message"
                raise TimedOut(f"no {named} came within {wait.timeout:g} s; the session is still open") from None
            if message.type == what if isinstance(what, str) else what(message):
                return message
            if message.error is not None:
                raise message.error

    # -- handlers ---

    @overload
    def on(self, event_type: str, handler: Handler) -> Handler: ...

    @overload
    def on(self, event_type: str) -> Callable[[_Given], _Given]: ...

    def on(self, event_type: str, handler: Handler | None = None) -> Handler | Callable[[_Given], _Given]:
        """Have a function called with each message of a type, by :meth:`run`; also a decorator: ``@session.on(...)``.

        Several are called in the order in which they were registered, and one as often as it was. Any thread may
        register one at any time; in the middle of a message it is called from the next one on.

        Args:
            event_type: The type as on the wire, or ``"*"`` for every message: binary frames, and text that is no
                JSON object, go there alone.
            handler: Takes the :class:`RealtimeMessage`; what it returns is of no account.

        Returns:
            The function, for :meth:`off`.

        Raises:
            ConfigurationError: The one is no event type, or the other no plain function.
        """
        if handler is None:
            return self._handlers.adder(event_type)
        self._handlers.add(event_type, handler)
        return handler

    def off(self, event_type: str, handler: Handler) -> None:
        """Undo one :meth:`on`: from now on the function is not called, not even with the message under way.

        Raises:
            ConfigurationError: It is not registered for that type.
        """
        self._handlers.remove(event_type, handler)

    def run(self, timeout: float | None = None, cancel: threading.Event | None = None) -> None:
        """Call the handlers with what comes, on this thread, until the session is closed by either side.

        Messages without a handler are passed over. An exception of a handler surfaces here, and the handlers
        behind it do not get that message; the session goes on, and so does the next ``run()``, with the message
        after it. A handler may call any method, ``close()`` too: what was received before it is still handed out.
        Several threads that run share the messages, so that handlers are called on all of them.

        Args:
            timeout: Seconds to wait for each message; beyond it ``TimedOut`` is raised.
            cancel: Ends the wait with ``Cancelled`` when it is set.

        Raises:
            RealtimeError: An error event that no handler takes, for ``"error"`` or ``"*"``; the session goes on,
                unless ``close_code`` is set.
            TimedOut: None came in time; the session goes on.
            Cancelled: *cancel* was set; the session goes on.
            ConnectionLost: The session ended in any way but a proper close (or the ``RealtimeError`` that ended it).
        """
        with self.events(timeout=timeout, cancel=cancel) as stream:
            self._handlers.dispatch(stream)

    # -- tools ---

    @property
    def tools(self) -> Toolbox:
        """The functions that the model may call: ``add``, ``remove``, ``get``, and it can be looped over.

        The server is told of each change at once. Functions that are given as raw ``tools`` of a ``session.update``
        are not among them: their calls are the caller's to answer.
        """
        return self._tool_desk().box

    def _tool_desk(self) -> ToolDesk:
        with _making:
            if self._desk is None:
                if self._engine.inbox.ended is not None:
                    raise again(self._engine.inbox.ended)
                from .tools.desk import ToolDesk  # noqa: PLC0415 - only sessions with tools need it

                self._desk = ToolDesk(self._engine, **self._tooling)
            return self._desk

    @overload
    def tool(
        self,
        function: _Function,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: Limit = "default",
        approve: Approve | None = None,
    ) -> _Function: ...

    @overload
    def tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: Limit = "default",
        approve: Approve | None = None,
    ) -> Callable[[_Function], _Function]: ...

    def tool(  # type: ignore[misc]  # the keywords are those of Tool.of
        self, function: Callable[..., Any] | None = None, /, **options: Any
    ) -> Any:
        """Let the model call a function: ``@session.tool``, ``@session.tool(timeout=5)`` or ``session.tool(fn)``.

        When a response with calls is complete, they run side by side, each on a daemon thread of its own. What they
        return goes to the server, a text as it is and anything else as JSON, and one response is asked for, which
        comes as any other. Bad arguments, exceptions, a result without JSON form, a refusal and a timeout are told
        to the model as ``{"error": ...}`` and to the log. The calls of a response that was cut never run.

        Args:
            function: What is to be called; it is returned unchanged.
            options: ``name``, ``description``, ``parameters``, ``timeout`` and ``approve``: see
                ``meshapi_rt.tools.Tool.of``.

        Raises:
            ConfigurationError: It cannot be a tool, or its name is taken; the session lives on.
            MissingExtraError: The schema is to come from annotations, and msgspec is not installed.
            SessionClosed: As in :meth:`send`.
        """
        from .tools.tool import Tool  # noqa: PLC0415 - only sessions with tools need it

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self.tools.add(Tool.of(function, **options))
            return function

        return add if function is None else add(function)

    # -- the end ---

    def close(self, code: int = 1000, reason: str = "", timeout: float | None = None) -> None:
        """End the session. Any thread, at any time, any number of times.

        Calls that wait in other threads end with ``SessionClosed``. What was received before can still be read;
        what comes after is dropped. No thread and no socket is left.

        Args:
            code: 1000, or 3000 to 4999 for your own use.
            reason: At most 123 bytes of UTF-8.
            timeout: Seconds after which it returns, whatever the server does; 1 s unless set at ``connect``.
        """
        check_close(code, reason)
        given = seconds("timeout", timeout)
        self._engine.close(code, reason, self._close_timeout if given is None else given)

    def __enter__(self) -> RealtimeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the session has ended, in whatever way. Messages may still wait to be read."""
        return self._engine.inbox.ended is not None

    @property
    def close_code(self) -> int | None:
        """The WebSocket close code; 1005 and 1006 where the server sent none; ``None`` while open."""
        end = self._engine.inbox.ended
        return end.close_code if isinstance(end, (SessionClosed, ConnectionLost, RealtimeError)) else None

    @property
    def close_reason(self) -> str | None:
        """The text that came with the close; ``None`` while open."""
        end = self._engine.inbox.ended
        if isinstance(end, (SessionClosed, ConnectionLost)):
            return end.close_reason
        return None if end is None else str(end)

    # -- what is known ---

    @property
    def id(self) -> str | None:
        """The server's name for the session; ``None`` until its first frame has come."""
        return self._engine.history.id

    @property
    def model(self) -> str:
        """The model id that was asked for; ``settings["model"]`` is what the server calls it."""
        return self._model

    @property
    def settings(self) -> dict[str, Any]:
        """A copy of the effective configuration, as the server last confirmed it; empty before its first frame."""
        return copy.deepcopy(dict(self._engine.history.settings))

    @functools.cached_property
    def _handlers(self) -> Handlers:
        return Handlers()

    @functools.cached_property
    def conversation(self) -> Conversation:
        """The conversation so far, over all connections: items, transcripts of both sides, tool calls, audio.

        ``conversation.item`` creates, retrieves, truncates and deletes items.
        """
        from .item_commands import Conversation  # noqa: PLC0415 - of those that look

        return Conversation(self._engine)

    @functools.cached_property
    def input_audio_buffer(self) -> InputAudioBuffer:
        """Appends, commits and clears the user's audio."""
        return InputAudioBuffer(self._engine)

    @functools.cached_property
    def response(self) -> Responses:
        """Asks for responses and cancels them."""
        return Responses(self._engine)

    @property
    def usage(self) -> Usage:
        """What all responses and transcriptions used so far, over all connections; ``usage.cost(rates)`` prices it.

        In tokens and seconds. Responses that were cancelled, failed or out-of-band count too. It is what the server
        told: what a lost connection had begun is not in it.
        """
        return self._engine.history.usage

    @property
    def stats(self) -> SessionStats:
        """A snapshot of what went back and forth; see :class:`SessionStats`."""
        return self._engine.stats()

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self.closed else "open"
        return f"<RealtimeSession {self.id or '(no id yet)'} of {self._model}, {state}>"

    def _repr_html_(self) -> str:
        from .notebook import session_html  # noqa: PLC0415 - only notebooks need it

        return session_html(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session is a live connection and cannot be pickled: open one in the other process")


def _abandoned(engine: Engine, model: str) -> None:
    """Close a session that nobody holds any more."""
    if engine.inbox.ended is None:
        # On a thread of its own, and started without a lock: garbage is collected on any thread, inside of any lock.
        with contextlib.suppress(RuntimeError):  # the interpreter is about to exit
            _thread.start_new_thread(engine.abort, ())
        told = f"a session of {model} was left open: call close(), or use `with`"
        warnings.warn(told, ResourceWarning, stacklevel=2)
