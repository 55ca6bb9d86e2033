"""A live conversation: what keys do, what the agent tells, and when it is over."""

from __future__ import annotations

import argparse
import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from ...agent import AgentState, TurnTiming, Utterance, VoiceAgent
from ...devices import BaseMicrophone, BaseSpeaker, FileMicrophone, Speaker
from ...errors import DeviceError, MeshAPIError, TimedOut
from ...message import RealtimeMessage
from ...session import RealtimeSession
from ...shapes import NOT_GIVEN
from ..terminal import Screen, json_line, one_line
from .keyboard import Keyboard, is_terminal, keyboard
from .keys import Command, Keys, Lines, Said, Typed
from .options import NONE
from .screen import LiveScreen, Now, summary

__all__ = ["LiveTalk"]

_TICK = 0.05  # seconds between two looks at keys and news
_LINGER = 2.0  # seconds of quiet after which a conversation is over that nobody can go on with
_END_SECONDS = 5.0  # for an agent that is about to end
_LOOK_BACK = 8  # answers among which the timing of one is looked for

_News: TypeAlias = "AgentState | Utterance | MeshAPIError | RealtimeMessage"


class LiveTalk:
    """An agent, its devices, a keyboard and a screen.

    Threads:
        The main thread does everything; those of the agent only put news into a queue.

    Args:
        args: Of the command.
        screen: Where to show things.
        session: Nobody else uses it.
        microphone: What ``args`` say.
        speaker: Likewise.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        screen: Screen,
        session: RealtimeSession,
        microphone: BaseMicrophone,
        speaker: BaseSpeaker,
    ) -> None:
        self._microphone = None if args.microphone == NONE else microphone
        self._speaker = None if args.speaker == NONE else speaker
        self._key = args.push_to_talk
        self._json = args.json
        self._timeout = args.timeout
        self._model = args.model
        drawn = screen.live and not args.debug
        self._person = is_terminal()
        self._single = drawn and self._person
        self._typist: Keys | Lines = (
            Keys(always_typing=self._microphone is None) if self._single else Lines(commands=self._person)
        )
        self._screen = LiveScreen(screen, drawn=drawn, transcript=not args.json)
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._agent = VoiceAgent(
            session,
            microphone=microphone,
            speaker=speaker,
            turn=_turn(args),
            instructions=NOT_GIVEN if args.instructions is None else args.instructions,
            voice=NOT_GIVEN if args.voice is None else args.voice,
            echo_gate=False if args.headphones else None,
            on_state=self._news.put,
            on_transcript=self._news.put,
            on_error=self._news.put,
            on_message=self._news.put,
        )
        self._state = AgentState.STOPPED
        self._since = time.monotonic()  # in that state
        self._lines: deque[str] = deque()  # of a pipe, which wait for their turn
        self._asked_at: float | None = None  # when something was typed that the agent has not taken up yet
        self._talking = contextlib.ExitStack()  # holds the key
        self._down = False
        self._over = False
        self._failure: MeshAPIError | None = None

    def introduce(self, microphone: str, speaker: str) -> None:
        """Say who talks to whom, and which keys there are."""
        self._screen.note(f"talking to {self._model}; microphone: {microphone}; speaker: {speaker}")
        if self._key:
            self._screen.note("terminals tell no release of a key: one press begins a turn, another ends it")
        if self._person:
            self._screen.note("  ".join(self._keys()))

    def _keys(self) -> tuple[str, ...]:
        """Say what keys do now, the most important first."""
        if self._microphone is None and self._single:
            return "Enter send", "Ctrl-D quit"
        enter = "" if self._single else "+Enter"
        space = "space" if self._single else "Enter"
        talk = ("send" if self._down else "talk") if self._key else "interrupt"
        mute = () if self._microphone is None else (f"m{enter} mute",)
        line = "Enter type" if self._single else "text+Enter say it"
        return f"{space} {talk}", f"q{enter} quit", line, *mute

    # -- from beginning to end ---

    def hold(self) -> None:
        """Converse until somebody ends it, or nothing more can come.

        Raises:
            MeshAPIError: The session was lost, a device broke, or the server is silent.
            OutputGone: Nobody reads the transcript.
        """
        self._agent.start()
        try:
            with keyboard(single=self._single) as typed:
                while not self._over:
                    self._step(typed)
        finally:
            self._over = True
            self._screen.wipe()
            self._agent.stop()
            self._talking.close()
            self._hear_news()
            if told := summary(self._agent.metrics, self._troubles()):
                self._screen.note(told)
        if self._failure is not None:
            raise self._failure

    def _step(self, typed: Keyboard) -> None:
        ended = typed.ended
        for command in self._typist.take(typed.read(_TICK)):
            self._obey(command)
        if typed.ended and not ended:
            for command in self._typist.end():
                self._obey(command)
        self._hear_news()
        if not self._over:
            self._say_next()
            self._look_for_the_end(typed)
            self._screen.draw(self._now())

    def _now(self) -> Now:
        microphone = self._microphone
        return Now(
            state=self._state,
            level=None if microphone is None else microphone.level,
            muted=microphone is not None and microphone.mute,
            ready=self._key,
            line=self._typist.line,
            keys=self._keys() if self._single else (),
        )

    # -- what the user wants ---

    def _obey(self, command: Typed) -> None:
        self._screen.redraw()
        if isinstance(command, Said):
            self._type(command.text)
        elif command is Command.QUIT:
            self._over = True
        elif command is Command.MUTE:
            self._mute()
        elif command is Command.HELP:
            self._screen.note("  ".join(self._keys()))
        elif self._key:
            self._talk()
        else:
            self._doing(self._agent.interrupt)

    def _type(self, text: str) -> None:
        if self._person:
            self._say(text)
        else:
            self._lines.append(text)

    def _say(self, text: str) -> None:
        self._asked_at = time.monotonic()
        self._doing(lambda: self._agent.say(text))

    def _say_next(self) -> None:
        """Say the next line of a pipe once the answer to the last one was heard."""
        if self._lines and self._is_quiet(_TICK * 2):
            self._say(self._lines.popleft())

    def _mute(self) -> None:
        if self._microphone is None:
            self._screen.note("there is no microphone")
            return
        self._microphone.mute = not self._microphone.mute
        if not self._single:
            self._screen.note("muted" if self._microphone.mute else "not muted")

    def _talk(self) -> None:
        """Press the key, or release it."""
        self._down = not self._down
        if self._down:
            self._doing(lambda: self._talking.enter_context(self._agent.talk()))
        else:
            self._doing(self._talking.close)
        if not self._single:
            self._screen.note("speak; Enter ends the turn" if self._down else "the turn is over")

    def _doing(self, what: Callable[[], object]) -> None:
        """Have the agent do something; one that has just ended will be noticed soon."""
        with contextlib.suppress(MeshAPIError):
            what()

    # -- what there is to tell ---

    def _hear_news(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._hear(self._news.get_nowait())

    def _hear(self, news: _News) -> None:
        if isinstance(news, Utterance):
            self._screen.said(news, self._timing(news.item_id) if news.role == "assistant" else None)
        elif isinstance(news, RealtimeMessage):
            self._message(news)
        elif isinstance(news, AgentState):
            self._change(news)
        elif isinstance(news, DeviceError):
            self._failure, self._over = self._failure or news, True
        else:
            self._screen.note(f"the server reports {one_line(str(news))}")

    def _message(self, message: RealtimeMessage) -> None:
        if message.type == "meshapi.reconnected":
            self._screen.note("the connection was lost; there is a new one")
        if self._json and message.text is not None and message.event is not None:
            self._screen.out(json_line(message.text) + "\n")

    def _timing(self, item_id: str) -> TurnTiming | None:
        turns = self._agent.metrics.turns[-_LOOK_BACK:]
        return next((turn for turn in turns if turn.item_id == item_id), None)

    def _change(self, state: AgentState) -> None:
        self._state, self._since, self._asked_at = state, time.monotonic(), None
        self._screen.redraw()
        if state is AgentState.STOPPED and not self._over:
            self._over = True
            self._agent.wait(_END_SECONDS)  # it raises what ended the session
            self._screen.note("the server has closed the session")

    # -- the end ---

    def _is_quiet(self, seconds: float) -> bool:
        """Tell whether nobody has spoken, typed or thought for a while."""
        idle = self._state is AgentState.LISTENING and self._asked_at is None and not self._down
        return idle and time.monotonic() - self._since >= seconds

    def _no_more(self, typed: Keyboard) -> bool:
        """Tell whether the user has said everything."""
        if self._lines or self._typist.line:
            return False
        if self._microphone is None:
            return typed.ended
        return isinstance(self._microphone, FileMicrophone) and not self._microphone.saying

    def _look_for_the_end(self, typed: Keyboard) -> None:
        no_more = self._no_more(typed)
        if no_more and self._is_quiet(_LINGER):
            self._over = True
        stuck = self._state is AgentState.THINKING or (no_more and self._state is AgentState.USER_SPEAKING)
        waiting_since = self._since if stuck and not self._down else self._asked_at
        if waiting_since is not None and time.monotonic() - waiting_since > self._timeout:
            raise TimedOut(f"no answer came within {self._timeout:g} s; see --timeout")

    def _troubles(self) -> dict[str, int]:
        found = {}
        if self._microphone is not None:
            found["overruns of the microphone"] = self._microphone.overruns
        if self._speaker is not None:
            found["underruns of the speaker"] = self._speaker.underruns
        if isinstance(self._speaker, Speaker):
            found["dropouts of the speaker"] = self._speaker.dropouts
        return found


def _turn(args: argparse.Namespace) -> Literal["server_vad", "semantic_vad", "push_to_talk"]:
    if args.push_to_talk:
        return "push_to_talk"
    return "semantic_vad" if args.semantic_vad else "server_vad"
