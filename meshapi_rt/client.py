"""``MeshAPI``, the door to the gateway, and ``client.realtime.connect()``."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

import attrs

from . import cells, pcm
from .endpoint import headers_to_send, realtime_url
from .errors import ConfigurationError
from .models import MODELS
from .params import AUTHS, CONNECT_SECONDS, Auth, RealtimeConnectParams
from .policy import ReconnectPolicy
from .secret import Secret
from .waiting import Deadline, Wait, seconds

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Unpack

    from .contents import Image, Input
    from .reply import Reply
    from .session import RealtimeSession
    from .shapes import ResponseOptions
    from .tools.tool import Approve, Tool
    from .transcribing import Transcription

__all__ = ["MeshAPI", "Realtime", "RealtimeConnectParams"]

DEFAULT_BASE_URL = "https://api.meshapi.ai"


class MeshAPI:
    """A client of the gateway: holds the token and the settings that its sessions share.

    Any thread may use it. As a context manager it closes its sessions at the end.

    Args:
        token: The key; from ``MESHAPI_TOKEN`` if not given.
        base_url: ``http(s)://`` or ``ws(s)://``, with or without a path; from ``MESHAPI_BASE_URL`` if not given, else
            ``https://api.meshapi.ai``.
        auth: The default of ``RealtimeConnectParams.auth``.
        headers: Request headers for every session.
        query: Query parameters for every session.
        ssl_context: For TLS; by default one that verifies with the system's authorities (or certifi's where
            the system has none), shared by all sessions.
        proxy: An HTTP proxy's URL; ``None``: the environment's; ``False``: none.
        allow_insecure: Whether the token may travel without TLS to a host other than this machine.

    Raises:
        ConfigurationError: No token, or a base URL that cannot be meant.
    """

    def __init__(
        self,
        token: str | None = None,
        base_url: str | None = None,
        *,
        auth: Auth = "subprotocol",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        allow_insecure: bool = False,
    ) -> None:
        self._base_url = base_url or os.environ.get("MESHAPI_BASE_URL") or DEFAULT_BASE_URL
        # Guards _ssl_context, _sessions and _closed.
        self._lock = threading.Lock()
        self._ssl_context = ssl_context
        self._sessions: weakref.WeakSet[RealtimeSession] = weakref.WeakSet()
        self._closed = False
        self._secret = _find_token() if token is None else Secret(token)
        del token  # a traceback that prints local variables does not show it
        self._secret.check()
        if auth not in AUTHS:
            raise ConfigurationError(f"auth must be one of {', '.join(map(repr, AUTHS))}; not {auth!r}")
        self._auth: Auth = auth
        self._headers = dict(headers or {})
        self._query = dict(query or {})
        self._proxy = proxy
        self._allow_insecure = allow_insecure
        realtime_url(self._base_url, {}, allow_insecure=allow_insecure)
        self.realtime = Realtime(self)

    @property
    def base_url(self) -> str:
        """The base URL in use."""
        return self._base_url

    @property
    def sessions(self) -> tuple[RealtimeSession, ...]:
        """The open sessions of this client."""
        with self._lock:
            known = list(self._sessions)
        return tuple(session for session in known if not session.closed)

    def ask(
        self,
        *inputs: Input,
        model: str,
        image: Image | Sequence[Image] | None = None,
        image_detail: Literal["auto", "low", "high"] = "auto",
        rate: int = pcm.SAMPLE_RATE,
        timeout: float | None = 120.0,
        cancel: threading.Event | None = None,
        **options: Unpack[ResponseOptions],
    ) -> Reply:
        """Open a session, ask, and close it.

        ::

            print(MeshAPI().ask("What is the capital of France?", model="openai/gpt-realtime-mini"))

        Args:
            *inputs: As in ``session.ask``, like everything but:
            model: A model id.
            image: As in ``session.ask``.
            image_detail: As in ``session.ask``.
            rate: As in ``session.ask``.
            timeout: Seconds for all of it, connecting included.
            cancel: As in ``session.ask``.
            **options: As in ``session.ask``: ``instructions``, ``voice``, ``output_modalities``, ...

        Raises:
            ConnectError: There is no session; as in ``connect``. Otherwise as in ``session.ask``.
        """
        from .contents import Message  # noqa: PLC0415 - scripts that only listen do without it

        wait = Wait(timeout, cancel)
        with self.realtime.connect(model=model, timeout=_for_connect(wait), cancel=cancel) as session:
            content = Message(inputs, image, image_detail, rate)
            return session._exchange(content, "auto", wait, options).answer()

    def transcribe(
        self,
        audio: Path | pcm.AudioLike,
        *,
        transcription: str | Mapping[str, Any] = "gpt-transcribe",
        turn_detection: str | Mapping[str, Any] | None = "server_vad",
        model: str = MODELS.GPT_REALTIME_WHISPER,
        rate: int = pcm.SAMPLE_RATE,
        timeout: float | None = 120.0,
        cancel: threading.Event | None = None,
    ) -> Transcription:
        """Open a transcription session, have a recording transcribed, and close it.

        Args:
            audio: A file as ``Path``; or PCM16 bytes, an int16 or a float array.
            transcription: A transcription model, or a mapping with ``model``, ``language``, ``prompt``, ...
            turn_detection: What cuts the recording into turns; ``None`` for one turn. Some models take none.
            model: The model id to connect with.
            rate: Samples per second of bytes and arrays.
            timeout: Seconds for all of it, connecting included.
            cancel: Ends the wait with ``Cancelled`` when it is set.

        Returns:
            The turns with their times; ``str()`` of it is the text.

        Raises:
            ConnectError: There is no session.
            RealtimeError: The server refused something.
            TimedOut: Time was up.
            AudioFormatError: It is no audio; likewise ``AudioFileError``.
        """
        from .transcribing import transcribe, turn_detection_for  # noqa: PLC0415 - few need it

        wait = Wait(timeout, cancel)
        wanted = {"model": transcription} if isinstance(transcription, str) else dict(transcription)
        turns = turn_detection_for(str(wanted.get("model")), turn_detection)
        query = {"intent": "transcription"}  # upstream's own way (protocol.md 1.1, O); whether it gets there is open
        with self.realtime.connect(model=model, query=query, timeout=_for_connect(wait), cancel=cancel) as session:
            return transcribe(
                session, audio, transcription=wanted, turn_detection=turns, rate=rate, wait=wait, cancel=cancel
            )

    def close(self, timeout: float = 1.0) -> None:
        """Close every session, all at once; ``connect`` then refuses. Any number of times.

        Args:
            timeout: Seconds after which it returns, whatever the servers do.
        """
        seconds("timeout", timeout)
        with self._lock:
            self._closed = True
            known = list(self._sessions)
        closers = [
            threading.Thread(target=session.close, kwargs={"timeout": timeout}, name="meshapi-rt-closer", daemon=True)
            for session in known
        ]
        deadline = Deadline(timeout)
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(None if timeout is None else deadline.left() + 0.05)

    def __enter__(self) -> MeshAPI:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MeshAPI {self._base_url.partition('?')[0]}, {len(self.sessions)} open sessions>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a token and is not pickled: make one in the other process")

    def _context(self) -> ssl.SSLContext:
        """Return the shared context; making one costs about 29 ms and 850 KiB."""
        from .transport.opening import default_context  # noqa: PLC0415 - see there

        with self._lock:
            if self._ssl_context is None:
                self._ssl_context = default_context()
            return self._ssl_context

    def _connect(self, params: RealtimeConnectParams) -> RealtimeSession:
        from .connecting import open_session  # noqa: PLC0415 - sessions load what they need with the first

        auth = params.auth or self._auth
        url = realtime_url(
            self._base_url,
            {"model": params.model, **self._query, **params.query},
            allow_insecure=self._allow_insecure,
        )
        context = params.ssl_context or (self._context() if url.startswith("wss:") else None)
        headers = headers_to_send({**self._headers, **params.headers}, auth)
        return self._adopt(
            open_session(
                params,
                url=url,
                secret=self._secret,
                auth=auth,
                headers=headers,
                context=context,
                proxy=self._proxy if params.proxy is None else params.proxy,
                check=self._check_open,
            )
        )

    def _adopt(self, session: RealtimeSession) -> RealtimeSession:
        with self._lock:
            closed = self._closed
            self._sessions.add(session)
        if closed:
            session.close()
            self._check_open()
        return session

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("this client is closed: make a new MeshAPI()")


def _for_connect(wait: Wait) -> float | None:
    """Return the seconds for opening a session, of those for all of a call."""
    return min(CONNECT_SECONDS, wait.left())


def _find_token() -> Secret:
    if not os.environ.get("MESHAPI_TOKEN"):
        raise ConfigurationError(
            "no token: set the environment variable MESHAPI_TOKEN to your Mesh API key (rsk_...), or pass token="
        )
    return Secret(os.environ["MESHAPI_TOKEN"])


class Realtime:
    """``client.realtime``: opens sessions."""

    def __init__(self, client: MeshAPI) -> None:
        self._client = client

    @overload
    def connect(self, params: RealtimeConnectParams, /) -> RealtimeSession: ...

    @overload
    def connect(
        self,
        *,
        model: str,
        auth: Auth | None = None,
        timeout: float | None = 10.0,
        cancel: threading.Event | None = None,
        wait: bool = True,
        headers: Mapping[str, str] = ...,
        query: Mapping[str, str] = ...,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        audio_frames: Literal["base64", "binary"] = "base64",
        max_message_size: int = ...,
        max_unread_bytes: int = ...,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close_timeout: float = 1.0,
        keepalive: float | None = 45.0,
        keepalive_for: float | None = 1800.0,
        reconnect: bool | ReconnectPolicy = False,
        keep_audio: bool = False,
        max_kept_audio_bytes: int = ...,
        tools: Sequence[Callable[..., Any] | Tool] = (),
        approve: Approve | None = None,
        tool_timeout: float | None = 60.0,
        tool_rounds: int = 8,
    ) -> RealtimeSession: ...

    def connect(  # type: ignore[misc]  # the keywords are those of RealtimeConnectParams
        self, params: RealtimeConnectParams | None = None, /, **settings: Any
    ) -> RealtimeSession:
        """Open a session, and wait until the server has said hello.

        In a Jupyter notebook, running a cell that connects again first closes the sessions which the same cell opened
        when it ran before, displayed or not, interrupted or not: IPython keeps what was displayed, so that they
        would stay open. Those of other cells, several of one run, and those that other threads open live on. The cell
        is known by its id, and by its text where the front end sends no id. Elsewhere nothing of this happens.

        Args:
            params: All settings in one object; or
            settings: the fields of :class:`RealtimeConnectParams` as keywords. ``model`` is needed.

        Raises:
            ConnectError: No session: which step failed, what was seen and what to do. ``ConnectTimeout`` when
                ``timeout`` ran out, ``ConnectRefused`` (also a ``RealtimeError``) when the server said no.
            Cancelled: ``cancel`` was set.
            ConfigurationError: The settings cannot be meant. Nothing was opened.
        """
        if params is None:
            unknown = sorted(set(settings) - {field.name for field in attrs.fields(RealtimeConnectParams)})
            if unknown:
                raise TypeError(f"connect() does not know {', '.join(unknown)}: see RealtimeConnectParams")
            if "model" not in settings:
                raise TypeError("connect() needs a model: connect(model='openai/gpt-realtime-mini')")
            params = RealtimeConnectParams(**settings)
        elif settings:
            raise TypeError("give connect() either a RealtimeConnectParams or keywords, not both")
        return cells.renewed(lambda: self._client._connect(params))
