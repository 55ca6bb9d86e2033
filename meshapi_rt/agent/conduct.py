"""How a voice agent behaves: what the server says, what others ask for, and what follows from it. No thread here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import DeviceError, MeshAPIError, RealtimeError
from ..message import RealtimeMessage
from ..retired import with_retired_names
from ..session import RealtimeSession
from ..wire_format import FORMATS, WireFormat
from .ears import Ears
from .floor import COMMIT_EMPTY, Floor, is_harmless
from .habits import Habits
from .herald import Listener
from .metrics import Counts
from .mouth import Cut, Mouth
from .orders import Ended, Hush, Order, Press, Release, Released, Replace, Say
from .states import AgentState, Facts
from .stenographer import Stenographer
from .stopwatch import Stopwatch

__all__ = ["Conduct"]

log = logging.getLogger("meshapi_rt")

_SHORTEST = 0.1  # seconds that a server takes as a turn (protocol.md 1.5, O)


class Conduct:
    """Does what has to be done, one thing at a time.

    Threads:
        One, the conductor's; any may look at the attributes, and call :meth:`listen_with`.

    Attributes:
        state: What the agent is doing.
        counts: What happened.
        stopwatch: How long answers took.
        words: Writes down what is said.
        failure: What ends the agent, or ``None``.
    """

    def __init__(self, session: RealtimeSession, mouth: Mouth, habits: Habits, listener: Listener) -> None:
        self._session = session
        self._mouth = mouth
        self._habits = habits
        self._listener = listener
        self._floor = Floor(session)
        self._ears: Ears | None = None
        self._facts = Facts()
        self._output = FORMATS["audio/pcm"]
        self._outside: set[str] = set()  # responses that do not join the conversation
        self._calls: set[str] = set()
        self._quiet_since: float | None = None  # since the recording is over and nothing happens
        self._recording_over = False
        self._uncommitted = False  # the last turn may not be known to the server
        self.state = AgentState.STOPPED
        self.counts = Counts()
        self.stopwatch = Stopwatch()
        self.words = Stenographer(session.conversation, listener.utterance, mouth.wants)
        self.failure: MeshAPIError | None = None

    def listen_with(self, ears: Ears) -> None:
        """Go on with a microphone, the first one or another."""
        self._recording_over = False
        if self._ears is not None:
            ears.take_over(self._ears)
        self._ears = ears
        self._configured()

    def begin(self) -> None:
        """Begin."""
        self._facts.running = True
        self._configured()
        self._tell_state()

    def end(self) -> None:
        """Tell what is left to be told."""
        self.words.close()
        self._facts.running = False
        self._tell_state()

    def take(self, message: RealtimeMessage) -> None:
        """Take in a message of the server."""
        self._listener.message(message)
        event = message.outline or {}
        if message.error is not None:
            self._refused(message.error)
        elif message.audio is not None:
            self._say(message.audio, event)
        else:
            handler = _HANDLERS.get(message.type or "")
            if handler is not None:
                handler(self, event)
            self.words.observe(message.type, event)
        self._tell_state()

    def obey(self, order: Order) -> None:
        """Do what another thread asked for."""
        _ORDERS[type(order)](self, order)

    def tick(self, now: float) -> None:
        """Look at what is heard, and at what takes too long."""
        try:
            begun, over = self._mouth.look(now)
        except DeviceError as exc:
            self._speaker_failed(exc)
            begun, over = [], []
        for item in begun:
            self.stopwatch.stop(item)
        for item_id in over:
            self.words.heard_whole(item_id)
        self.words.tick(now)
        self._floor.tick(now)
        self._tell_state()

    def _tell_state(self) -> None:
        facts = self._facts
        facts.sounding, facts.queued, facts.calls = self._mouth.sounding, self._mouth.busy, len(self._calls)
        state = facts.state
        if state is not self.state:
            self.state = state
            self._listener.state(state)

    @property
    def through(self) -> bool:
        """Tell whether a recording has been listened to, and everything about it was said."""
        quiet = self._recording_over and self.state is AgentState.LISTENING and not self._mouth.busy
        if not quiet or self._floor.active is not None or self._habits.key:
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = time.monotonic()
        return time.monotonic() - self._quiet_since >= self._habits.linger

    # -- what others ask for ---

    def _press(self, _order: Press) -> None:
        self._interrupt(cancel=True)
        self._facts.user_speaks, self._facts.awaited = True, False
        self._uncommitted = False
        if self._ears is not None:
            self._ears.press()
        self._tell_state()

    def _hush(self, _order: Hush) -> None:
        self._interrupt(cancel=True)
        self._facts.awaited = False
        self._tell_state()

    def _release(self, order: Release) -> None:
        self.stopwatch.start(order.at)
        if self._ears is not None:
            self._ears.release(order.at)

    def _released(self, order: Released) -> None:
        self._facts.user_speaks = False
        if order.seconds < _SHORTEST:
            self.stopwatch.forget()
            if order.seconds:
                self._floor.send({"type": "input_audio_buffer.clear"})
            return
        self._uncommitted = True
        self._floor.send({"type": "input_audio_buffer.commit"})
        self._ask()

    def _typed(self, order: Say) -> None:
        self._interrupt(cancel=True)
        content = [{"type": "input_text", "text": order.text}]
        item = {"type": "message", "role": "user", "content": content}
        self._floor.send({"type": "conversation.item.create", "item": item})
        self.stopwatch.start(order.at)
        self._ask()

    def _ask(self) -> None:
        self._facts.awaited = True
        self._floor.ask()
        self._tell_state()

    def _microphone_ended(self, order: Ended) -> None:
        if order.failure is None:
            self._recording_over = True
        else:
            self._fail(order.failure)

    def _replace(self, order: Replace) -> None:
        self._send_cuts(self._mouth.interrupt())
        self._mouth.use(order.sink)

    # -- interruption ---

    def _interrupt(self, *, cancel: bool) -> None:
        self.counts.interruptions += self.silence(cancel=cancel)

    def silence(self, *, cancel: bool) -> bool:
        """Fall silent first, then tell the server (protocol.md 4.8); return whether there was something to cut off."""
        active, was_busy = self._floor.active, self._mouth.busy
        running = active is not None and self._mouth.wants(active)  # before what follows: nobody wants it then
        cuts = self._mouth.interrupt()
        self._mouth.drop([active])
        if cancel and (running or active is None):
            self._floor.leave()
        self.stopwatch.forget()
        self._send_cuts(cuts)
        return was_busy or running

    def _send_cuts(self, cuts: Mapping[str, list[Cut]]) -> None:
        for item_id in (item_id for item_id, told in cuts.items() if not told):
            self.words.heard_whole(item_id)
        for cut in (cut for told in cuts.values() for cut in told):
            if cut.audio_end_ms is None:
                self._delete(cut.item_id)
            else:
                place = {"item_id": cut.item_id, "content_index": cut.content_index, "audio_end_ms": cut.audio_end_ms}
                self._floor.send({"type": "conversation.item.truncate", **place}, cut.item_id)
                self.words.cut(cut.item_id)
                self.counts.truncated += 1

    def _delete(self, item_id: str) -> None:
        self._floor.send({"type": "conversation.item.delete", "item_id": item_id}, item_id)
        self.words.heard_nothing(item_id)
        self.counts.deleted += 1

    # -- failures ---

    def _fail(self, failure: MeshAPIError) -> None:
        if not self._listener.error(failure):
            self.failure = failure

    def _speaker_failed(self, failure: DeviceError) -> None:
        self._send_cuts(self._mouth.fail())
        self._fail(failure)

    def _refused(self, error: RealtimeError) -> None:
        if self._floor.refused(error, time.monotonic()):
            return
        self._uncommitted = self._uncommitted and error.code != COMMIT_EMPTY
        if is_harmless(error) and self._floor.is_ours(error):
            self.counts.harmless += 1
            self.words.confirm(self._floor.item_of(error))
            return
        self._facts.awaited = self._facts.awaited and (self._floor.asked or self._floor.active is not None)
        if not self._listener.error(error):
            log.warning("the server refused something of a voice agent: %s", error)

    # -- what the server says ---

    def _configured(self, _event: Mapping[str, Any] | None = None) -> None:
        audio = _inner(self._session.settings, "audio")  # not the event's: an unread one may be outdated
        heard, spoken = _inner(audio, "input"), _inner(audio, "output")
        self._output = _format(spoken) or self._output
        wire = _format(heard)
        if wire is not None and self._ears is not None:
            self._ears.set_format(wire)
        self.words.transcribes = bool(heard.get("transcription"))
        silence = _inner(heard, "turn_detection").get("silence_duration_ms")
        self.stopwatch.silence = silence / 1000 if isinstance(silence, (int, float)) else 0.0

    def _reconnected(self, event: Mapping[str, Any]) -> None:
        """Go on where the last connection broke; a question that nothing was answered to is asked again."""
        self.counts.reconnects += 1
        unanswered = self._facts.awaited and not self._mouth.busy
        self._floor.forget_connection()
        self._mouth.all_done()
        if self._ears is not None:
            self._ears.forget_connection(uncommitted=self._uncommitted)
        if not self._habits.key:
            self._facts.user_speaks = False
        restored = _inner(event, "restored").get("items") or ()
        items = self._session.conversation.items
        self._calls &= {item.call_id for item in items if item.call_id is not None and not item.lost}
        last = next(reversed(items), None)
        if self._uncommitted:
            self._facts.awaited = True  # the turn is said again first
        elif unanswered and last is not None and last.id in restored and last.role == "user":
            self._ask()
        else:
            self._facts.awaited = bool(self._calls)

    def _speech_started(self, _event: Mapping[str, Any]) -> None:
        if self._habits.interrupts:
            self._interrupt(cancel=False)  # the server cancels by itself
        self._facts.user_speaks, self._facts.awaited = True, False

    def _speech_stopped(self, event: Mapping[str, Any]) -> None:
        self._facts.user_speaks = False
        self._facts.awaited = self._habits.answers
        if self._ears is not None:
            self.stopwatch.start_with_speech(event.get("audio_end_ms"), self._ears.heard_at)

    def _timeout(self, _event: Mapping[str, Any]) -> None:
        self._facts.awaited = True

    def _committed(self, event: Mapping[str, Any]) -> None:
        self._uncommitted = False
        self._buffer_emptied(event)

    def _buffer_emptied(self, _event: Mapping[str, Any]) -> None:
        if not self._habits.key:
            self._facts.user_speaks = False

    def _item_added(self, event: Mapping[str, Any]) -> None:
        item = _inner(event, "item")
        if item.get("type") == "function_call_output":
            self._calls.discard(str(item.get("call_id")))
            if not self._calls and self._floor.active is None:
                self._facts.awaited = True

    # -- responses ---

    def _response_created(self, event: Mapping[str, Any]) -> None:
        response = _inner(event, "response")
        response_id = str(response.get("id"))
        if response.get("conversation_id", "") is None:
            self._outside.add(response_id)
            return
        talks_over = self._facts.user_speaks and (self._habits.key or self._habits.interrupts)
        if self._floor.created(response_id, unwanted=talks_over):
            self._facts.awaited = True
        else:
            self._mouth.drop([response_id])

    def _response_done(self, event: Mapping[str, Any]) -> None:
        response = _inner(event, "response")
        response_id = str(response.get("id"))
        if response_id in self._outside or response.get("conversation_id", "") is None:
            self._outside.discard(response_id)
            return
        self._mouth_does(lambda: self._mouth.response_done(response_id))
        if self._mouth.wants(response_id):
            self._note_outcome(response)
        self._floor.done(response_id)

    def _note_outcome(self, response: Mapping[str, Any]) -> None:
        output = response.get("output")
        items = [item for item in output if isinstance(item, Mapping)] if isinstance(output, list) else []
        if response.get("status", "completed") == "completed":
            self._calls.update(str(item.get("call_id")) for item in items if item.get("type") == "function_call")
        self._facts.awaited = self._floor.asked
        error = _inner(_inner(response, "status_details"), "error")
        if response.get("status") == "failed":
            told = RealtimeError(error.get("code"), str(error.get("message") or "the response failed"))
            if not self._listener.error(told):
                log.warning("a response failed: %s", told)

    def _output_item_added(self, event: Mapping[str, Any]) -> None:
        item, response_id = _inner(event, "item"), str(event.get("response_id"))
        item_id = str(item.get("id"))
        if item.get("type") != "message" or response_id in self._outside:
            return
        if self._mouth.announce(item_id, response_id) is None:
            self._delete(item_id)  # of a response that was cut off: nothing of it will be heard
        else:
            self.words.answer_begins(item_id)

    def _output_item_done(self, event: Mapping[str, Any]) -> None:
        item_id = str(_inner(event, "item").get("id"))
        self._mouth_does(lambda: self._mouth.item_done(item_id))

    def _content_part(self, event: Mapping[str, Any]) -> None:
        if _inner(event, "part").get("type") in ("text", "output_text"):
            self._mouth.text_comes(str(event.get("item_id")))

    def _say(self, audio: bytes, event: Mapping[str, Any]) -> None:
        response_id, item_id, index = event.get("response_id"), event.get("item_id"), event.get("content_index")
        if response_id in self._outside:
            return
        self._mouth_does(
            lambda: self._mouth.write(
                audio,
                self._output,
                item_id=item_id if isinstance(item_id, str) else None,
                content_index=index if isinstance(index, int) else 0,
                response_id=response_id,
            )
        )

    def _mouth_does(self, what: Callable[[], None]) -> None:
        try:
            what()
        except DeviceError as exc:
            self._speaker_failed(exc)


def _inner(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = event.get(name)
    return found if isinstance(found, Mapping) else {}


def _format(side: Mapping[str, Any]) -> WireFormat | None:
    return FORMATS.get(str(_inner(side, "format").get("type")))


_ORDERS: dict[type, Callable[[Conduct, Any], None]] = {
    Hush: Conduct._hush,
    Press: Conduct._press,
    Release: Conduct._release,
    Released: Conduct._released,
    Say: Conduct._typed,
    Ended: Conduct._microphone_ended,
    Replace: Conduct._replace,
}

_HANDLERS: dict[str, Callable[[Conduct, Mapping[str, Any]], None]] = with_retired_names(
    {
        "session.created": Conduct._configured,
        "session.updated": Conduct._configured,
        "meshapi.reconnected": Conduct._reconnected,
        "input_audio_buffer.speech_started": Conduct._speech_started,
        "input_audio_buffer.speech_stopped": Conduct._speech_stopped,
        "input_audio_buffer.timeout_triggered": Conduct._timeout,
        "input_audio_buffer.cleared": Conduct._buffer_emptied,
        "input_audio_buffer.committed": Conduct._committed,
        "conversation.item.added": Conduct._item_added,
        "response.created": Conduct._response_created,
        "response.output_item.added": Conduct._output_item_added,
        "response.output_item.done": Conduct._output_item_done,
        "response.content_part.added": Conduct._content_part,
        "response.done": Conduct._response_done,
    }
)
