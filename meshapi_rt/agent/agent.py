"""``VoiceAgent``: what a user holds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ..devices import AudioSink, AudioSource, BaseMicrophone, Microphone, Speaker
from ..errors import ConfigurationError, MeshAPIError, SessionClosed
from ..message import RealtimeMessage
from ..models import MODELS
from ..session import RealtimeSession
from ..shapes import NOT_GIVEN, NotGiven
from ..waiting import Wait
from .conduct import Conduct
from .conductor import Conductor
from .ears import Ears
from .gate import EchoGate, Gate
from .habits import Habits, not_negative
from .herald import Herald, Listener
from .metrics import AgentMetrics
from .mouth import Mouth
from .orders import Ended, Hush, Press, Release, Released, Replace, Say
from .states import AgentState
from .utterances import Utterance

if TYPE_CHECKING:
    from ..tools.tool import Tool

__all__ = ["VoiceAgent"]

_TRANSCRIPTION = "gpt-4o-mini-transcribe"
_END_SECONDS = 3.0  # for threads that wait for nothing longer than a second
_LONGEST_WAIT = 0.2  # seconds that Ctrl-C may take where a wait cannot be interrupted

A = TypeVar("A", bound="VoiceAgent")


class Connects(Protocol):
    """A client: ``MeshAPI``."""

    @property
    def realtime(self) -> Any:
        """What opens sessions."""


class VoiceAgent:
    """Listens to a microphone, answers through a speaker, calls tools, and lets itself be interrupted.

    ```python
    with client.realtime.connect(model=MODELS.GPT_REALTIME_MINI, reconnect=True) as session:
        VoiceAgent(session, on_transcript=lambda said: print(said.role, said.text) if said.final else None).run()
    ```

    When the user speaks up, playback stops within 50 ms, what comes late of the answer is dropped, and the server is
    told how much was heard: to the sample, also long after it had finished the answer (protocol.md 4.8). Items of
    which nothing was heard are deleted.

    Args:
        session: A session, which stays open; or a client, of which one is opened (with ``reconnect=True``) and closed.
        microphone: ``None`` for the default sound device; a ``Microphone``, a ``FileMicrophone`` or any
            ``AudioSource``. One that is given is not closed.
        speaker: Likewise: ``Speaker``, ``FileSpeaker`` or any ``AudioSink``.
        tools: Functions that the model may call; see ``session.tool``.
        turn: ``"server_vad"``: the server hears turns by their pauses; ``"semantic_vad"``: by what is said;
            ``"push_to_talk"``: they are between :meth:`talk` and its end. A mapping is a ``turn_detection`` of one's
            own; with ``interrupt_response`` false speech does not cut answers off.
        instructions: What the model is told; not given leaves the session's.
        voice: Likewise.
        transcription: Of the user's speech: a model, a mapping, or ``None`` for none. Not given, there is one if
            there is an *on_transcript*.
        echo_gate: Whether the microphone is silenced while it hears nothing but the speaker; ``False`` for headphones.
            ``None``: for sound devices, not for recordings. An :class:`EchoGate` says how.
        preroll_ms: What is sent of the time before :meth:`talk`, so that the first syllable is not lost.
        linger: Seconds of quiet after which all is over, once a recording that serves as microphone has ended.
        on_state: Called with each new :class:`AgentState`.
        on_transcript: Called with each :class:`Utterance` as it grows and when it is final, of both sides, in the
            order of the conversation.
        on_error: Called with what did not end the session: a ``DeviceError`` of microphone or speaker, an error event
            of the server, a response that failed. The agent goes on without a device that broke; see :meth:`replace`.
            Without this function a broken device ends the agent, and the others go to the log.
        on_message: Called with every message of the server that the agent takes in, as :meth:`~.RealtimeSession.events`
            would yield it.
        model: What a client connects with.

    Raises:
        ConfigurationError: Something cannot be meant.
        DeviceError: There is no default sound device, or it cannot be opened.
        MissingExtraError: It is needed, and the ``[audio]`` extra is not installed.

    Threads:
        ``meshapi-rt-agent-N`` follows the session, plays, and decides; ``meshapi-rt-agent-ears-N`` reads the
        microphone and sends; ``meshapi-rt-agent-herald-N`` calls the callbacks, one at a time: a slow one delays the
        next, and nothing else. All are daemons, start with :meth:`start` and end with :meth:`stop`. Any thread,
        callbacks too, may call anything. The messages of the session are the agent's while it runs; calls such as
        ``session.ask()`` work beside it, and their answers are spoken.
    """

    def __init__(
        self,
        session: RealtimeSession | Connects,
        *,
        microphone: AudioSource | None = None,
        speaker: AudioSink | None = None,
        tools: Sequence[Callable[..., Any] | Tool] = (),
        turn: Literal["server_vad", "semantic_vad", "push_to_talk"] | Mapping[str, Any] = "server_vad",
        instructions: str | NotGiven = NOT_GIVEN,
        voice: str | Mapping[str, Any] | NotGiven = NOT_GIVEN,
        transcription: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        echo_gate: bool | EchoGate | None = None,
        preroll_ms: float = 300,
        linger: float = 1.0,
        on_state: Callable[[AgentState], object] | None = None,
        on_transcript: Callable[[Utterance], object] | None = None,
        on_error: Callable[[MeshAPIError], object] | None = None,
        on_message: Callable[[RealtimeMessage], object] | None = None,
        model: str = MODELS.GPT_REALTIME_MINI,
    ) -> None:
        self._source_of_session = session
        self._settings: dict[str, Any] = {"instructions": instructions, "voice": voice, "transcription": transcription}
        if transcription is NOT_GIVEN and on_transcript is not None:
            self._settings["transcription"] = _TRANSCRIPTION
        self._habits = Habits.of(turn, linger)
        self._settings["turn_detection"] = self._habits.detection
        self._preroll = not_negative("preroll_ms", preroll_ms) / 1000
        self._tools = tools
        self._model = model
        self._gate_rules = echo_gate
        # Guards _began, _stopped and _talking. Held for looking and changing only.
        self._lock = threading.Lock()
        self._began = self._stopped = self._talking = False
        self._session: RealtimeSession | None = None
        self._conduct: Conduct | None = None
        self._conductor: Conductor | None = None
        self._ears: Ears | None = None
        self._gate: Gate | None = None
        self._mouth: Mouth | None = None
        self._herald = Herald()
        self._listener = Listener(
            self._herald, on_state=on_state, on_transcript=on_transcript, on_error=on_error, on_message=on_message
        )
        self._own: list[Any] = []  # what is to be closed at the end
        self._sink = speaker if speaker is not None else self._owned(Speaker())
        try:
            self._microphone = microphone if microphone is not None else self._owned(Microphone())
        except BaseException:
            self._close_own()
            raise

    def _owned(self, device: Any) -> Any:
        self._own.append(device)
        return device

    # -- from beginning to end ---

    def run(self, timeout: float | None = None) -> None:
        """Converse until :meth:`stop` is called, the session is closed, a recording is over, or Ctrl-C.

        Ctrl-C is a good end, and raises nothing.

        Args:
            timeout: Seconds after which it ends all the same.

        Raises:
            ConnectionLost: The session ended in any way but a proper close (or the ``RealtimeError`` that ended it).
            DeviceError: Microphone or speaker broke, and there is no *on_error*; the session lives on.
            RealtimeError: The server refused the configuration; the session lives on.
            ConnectError: No session could be opened.
        """
        try:
            self.start()
            self.wait(timeout)
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()

    def start(self) -> None:
        """Begin, and return: for notebooks, and programs that do something else meanwhile.

        Raises:
            ConfigurationError: It was started before.
            ConnectError: No session could be opened; as in ``connect``.
            RealtimeError: The server refused the configuration, or a tool. The session lives on.
        """
        with self._lock:
            if self._began:
                raise ConfigurationError("a voice agent runs once: make another one")
            self._began = True
        self._herald.start()
        try:
            session = self._session = self._open()
            if self._tools:
                session.tools.add(*self._tools)
            session.update(**self._settings)
            self._begin(session)
        except BaseException:
            self.stop()
            raise

    def _open(self) -> RealtimeSession:
        given = self._source_of_session
        if isinstance(given, RealtimeSession):
            return given
        session: RealtimeSession = given.realtime.connect(model=self._model, reconnect=True)
        self._own.append(session)
        return session

    def _begin(self, session: RealtimeSession) -> None:
        self._mouth = Mouth(self._sink)
        self._conduct = Conduct(session, self._mouth, self._habits, self._listener)
        conductor = Conductor(session, self._conduct)
        self._ears = self._make_ears(session, conductor)
        self._conduct.listen_with(self._ears)
        self._conductor = conductor
        conductor.start()
        self._ears.start()

    def _make_ears(self, session: RealtimeSession, conductor: Conductor) -> Ears:
        if isinstance(self._microphone, BaseMicrophone) and self._microphone.format != "audio/pcm":
            raise ConfigurationError(
                f"a voice agent listens to audio/pcm, and {self._microphone!r} gives {self._microphone.format}: make it"
                " without format=, and the agent converts what the session wants"
            )
        self._gate = self._make_gate()
        return Ears(
            session,
            self._microphone,
            gate=self._gate,
            preroll=self._preroll if self._habits.key else None,
            released=lambda seconds: conductor.order(Released(seconds)),
            ended=lambda failure: conductor.order(Ended(failure)),
        )

    def _make_gate(self) -> Gate | None:
        wanted = self._gate_rules
        if wanted is None:
            wanted = isinstance(self._microphone, Microphone) and isinstance(self._sink, Speaker)
        if wanted is False:
            return None
        loudest = getattr(self._sink, "loudest", None)
        if loudest is None:
            raise ConfigurationError(
                f"an echo gate needs a speaker with loudest(since, until), and {self._sink!r} has none: echo_gate=False"
            )
        return Gate(wanted if isinstance(wanted, EchoGate) else EchoGate(), loudest)

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of an agent that was started; it goes on if the time is up first.

        Raises:
            ConnectionLost: As in :meth:`run`, likewise the others.
        """
        conductor = self._conductor
        if conductor is None:
            return
        wait = Wait(timeout)
        while not conductor.over.is_set():
            nap = wait.slice()
            if nap == 0:
                return
            conductor.over.wait(_LONGEST_WAIT if nap is None else min(nap, _LONGEST_WAIT))
        if conductor.failure is not None and not isinstance(conductor.failure, SessionClosed):
            raise conductor.failure

    def stop(self) -> None:
        """Fall silent and end; safe to call twice, and from any thread, callbacks too.

        An answer under way is cancelled, and the server is told how much of it was heard. A session that was given
        lives on.
        """
        with self._lock:
            first, self._stopped, began, self._began = not self._stopped, True, self._began, True
        if not first:
            return
        if self._ears is not None:
            self._ears.close(_END_SECONDS)
        if self._conductor is not None:
            self._conductor.stop(_END_SECONDS)
        self._close_own()
        if began:
            self._herald.close(_END_SECONDS)

    def _close_own(self) -> None:
        while self._own:
            self._own.pop().close()

    def __enter__(self: A) -> A:  # noqa: PYI019 - Self needs 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- speaking to it ---

    @contextlib.contextmanager
    def talk(self) -> Iterator[None]:
        """Hold the key: what is said inside ``with agent.talk():`` is a turn. It cuts off an answer that is heard.

        Less than 100 ms is no turn. Any thread, one at a time. Where the session reconnects meanwhile, the turn so
        far is said again on the new connection, its last two minutes at most.

        Raises:
            ConfigurationError: The agent takes turns by voice, is not running, or the key is held already.
        """
        conductor = self._running()
        if not self._habits.key:
            raise ConfigurationError('talk() is for turn="push_to_talk": this agent hears turns by itself')
        with self._lock:
            if self._talking:
                raise ConfigurationError("talk() is under way: one key, one turn at a time")
            self._talking = True
        conductor.order(Press())
        try:
            yield
        finally:
            up = time.monotonic()
            conductor.order(Release(up))
            if self._ears is not None:  # at once, too: the block that covers this moment may be the next
                self._ears.release(up)
            with self._lock:
                self._talking = False

    def say(self, text: str) -> None:
        """Say something by keyboard; it is answered like speech, and cuts off an answer that is heard.

        Raises:
            ConfigurationError: The agent is not running, or there is no text.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"say() takes what the user typed, not {text!r}")
        self._running().order(Say(text, time.monotonic()))

    def interrupt(self) -> None:
        """Cut off the answer that is heard or under way, as speech would: for a button. Without one nothing happens.

        Raises:
            ConfigurationError: The agent is not running.
        """
        self._running().order(Hush())

    def replace(self, *, microphone: AudioSource | None = None, speaker: AudioSink | None = None) -> None:
        """Go on with another microphone or speaker, for example after a ``DeviceError``; any thread.

        What was still to be heard from the speaker is cut off. The old devices are not closed.

        Raises:
            ConfigurationError: The agent is not running, or the echo gate cannot work with that speaker.
        """
        conductor = self._running()
        assert self._session is not None
        assert self._ears is not None
        assert self._conduct is not None
        if speaker is not None:
            self._sink = speaker
            conductor.order(Replace(speaker))
        if microphone is not None:
            self._microphone = microphone
        if microphone is not None or self._gate is not None:
            self._ears.close(_END_SECONDS)
            self._ears = self._make_ears(self._session, conductor)
            self._conduct.listen_with(self._ears)
            self._ears.start()

    def _running(self) -> Conductor:
        conductor = self._conductor
        if conductor is None or conductor.over.is_set():
            raise ConfigurationError("the voice agent is not running: start() it, or use it in `with`")
        return conductor

    # -- what is known ---

    @property
    def state(self) -> AgentState:
        """What it is doing."""
        return AgentState.STOPPED if self._conduct is None else self._conduct.state

    @property
    def session(self) -> RealtimeSession | None:
        """The session; ``None`` before the start, where it was made with a client."""
        given = self._source_of_session
        return given if isinstance(given, RealtimeSession) else self._session

    @property
    def metrics(self) -> AgentMetrics:
        """A snapshot of what was measured so far; also after the end."""
        conduct = self._conduct
        if conduct is None or self._mouth is None:
            return AgentMetrics()
        counts = conduct.counts
        return AgentMetrics(
            turns=tuple(conduct.stopwatch.turns.copy()),
            interruptions=counts.interruptions,
            truncated=counts.truncated,
            deleted=counts.deleted,
            harmless=counts.harmless,
            late=self._mouth.late,
            gated=0 if self._gate is None else self._gate.silenced,
            reconnects=counts.reconnects,
        )

    def __repr__(self) -> str:
        return f"<VoiceAgent, {self.state.value}>"
