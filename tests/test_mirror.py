"""The mirror against the server: whatever is said, and in whatever legal disorder it arrives, they agree at the end.

Lifecycles of protocol.md section 4 that the machine walks through: connecting (4.1), turns by voice detection and by
hand (4.2, 4.3), text and audio answers (4.4, 4.5), calls, parallel ones and their outputs (4.6, 4.7), interruption
with truncating and deleting (4.8), cancelling (4.9), transcription (4.10), out-of-band responses (4.11), images
(4.12), usage (4.13), the idle timeout (4.14); and reconnects with restoring. Not: MCP (4.15) and errors (4.16).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from meshapi_rt.conversation import ConversationItem, ConversationView
from meshapi_rt.decoding import Decoder
from meshapi_rt.history import History
from meshapi_rt.local import items as server_items
from meshapi_rt.local.host import Running, TranscriptionJob
from meshapi_rt.local.rendering import Spoken, Written
from meshapi_rt.local.session import Session
from meshapi_rt.local.settings import SessionSettings
from meshapi_rt.local.values import Fail, ToolCall
from meshapi_rt.replay import plan_replay
from meshapi_rt.usage import Usage

from .disorder import TRANSCRIPTION, Disorder, Event
from .local.plain import encode, silence, speech

SOUNDS = {"speech": encode(speech(0.3).tobytes()), "silence": encode(silence(0.4).tobytes())}
WORDS = ["", "one", " two", "\nthree", " ünï", ' {"quoted"}', " and many more words than before"]
SEEDS = st.integers(0, 2**32 - 1)
PCMA = {"type": "audio/pcma"}
PLACES = st.integers(0, 11)
ASKED = st.sampled_from(
    [{}, {"output_modalities": ["text"]}, {}, {"conversation": "none"}, {"audio": {"output": {"format": PCMA}}}]
)
SELDOM = st.sampled_from([False, False, False, True])
SAID = st.lists(st.sampled_from(WORDS), max_size=4)
SOUNDED = st.lists(st.integers(1, 9000), min_size=1, max_size=4)
ENDS = st.sampled_from(["complete", "go on", "cancel", "go on", "complete", "fail"])


@attrs.define(eq=False)
class Timer:
    """Something that happens when the machine says so."""

    action: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.cancelled = True


class Server:
    """One connection's end at the local server, without its socket: its events, and the work it wants done."""

    def __init__(self, put: Callable[[Event], None]) -> None:
        self.put = put
        self.answers: list[Running] = []
        self.jobs: list[TranscriptionJob] = []
        self.timer: Timer | None = None
        self._count = 0
        self.session = Session(self, SessionSettings("realtime", "openai/gpt-realtime", 1790000000))
        self.session.open()

    def send(self, event: Event) -> None:
        """Send an event."""
        self._count += 1
        self.put(json.loads(json.dumps({"event_id": f"event_{self._count}", **event})))

    def answer(self, running: Running) -> None:
        """Keep a response that wants an answer."""
        self.answers.append(running)

    def transcribe(self, job: TranscriptionJob) -> None:
        """Keep a job."""
        self.jobs.append(job)

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:  # noqa: ARG002 - the machine decides
        """Keep the timer of an idle user."""
        self.timer = Timer(action)
        return self.timer

    def tell(self, event_type: str, **fields: Any) -> None:
        """Let the server handle an event of the client."""
        self.session.receive(json.dumps({"type": event_type, **fields}))


class Mirroring(RuleBasedStateMachine):
    """A client's mirror and a server, with a disorderly line between them."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.view = ConversationView(self.history, None)
        self.line = Disorder(self.deliver)
        self.on_the_line: list[Event] = []
        self.used = Usage()
        self.restored: set[str] = set()  # items that were created again on a new connection
        self.lost: set[str] = set()
        self.deleted: list[str] = []
        self.names = 0
        self.server = Server(self.put)
        self.update: Event = {}

    def put(self, event: Event) -> None:
        """Take an event of the server."""
        self.on_the_line.append(event)
        self.line.put(event)

    def deliver(self, event: Event) -> None:
        """Have the client see an event."""
        self.history.observe(Decoder().text(json.dumps(event).encode()))

    @initialize(
        detection=st.sampled_from([None, {"type": "server_vad"}, {"type": "server_vad", "idle_timeout_ms": 5000}]),
        form=st.sampled_from(["audio/pcm", "audio/pcmu"]),
        timed=st.booleans(),
    )
    def configure(self, detection: Event | None, form: str, timed: bool) -> None:
        """Begin as clients do."""
        transcription = {"model": "whisper-1" if timed else "gpt-4o-transcribe"}
        output = {"format": {"type": form} if form == "audio/pcmu" else {"type": form, "rate": 24000}}
        audio = {"input": {"turn_detection": detection, "transcription": transcription}, "output": output}
        self.server.tell("session.update", session={"type": "realtime", "audio": audio})
        self.flush(0)

    # -- the user ---

    @rule(sound=st.sampled_from(list(SOUNDS)))
    def append(self, sound: str) -> None:
        self.server.tell("input_audio_buffer.append", audio=SOUNDS[sound])

    @rule(clear=SELDOM)
    def end_turn(self, clear: bool) -> None:
        self.server.tell(f"input_audio_buffer.{'clear' if clear else 'commit'}")

    @precondition(lambda self: self.server.timer and not self.server.timer.cancelled)
    @rule()
    def stay_silent(self) -> None:
        assert self.server.timer is not None
        self.server.timer.cancel()
        self.server.timer.action()

    @rule(kind=st.sampled_from(["user", "system", "assistant", "image"]), after=PLACES, again=st.booleans())
    def write(self, kind: str, after: int, again: bool) -> None:
        self.names += 1
        item_id = self.deleted.pop() if again and self.deleted else f"mine_{self.names}"
        content: list[Event] = [{"type": "output_text" if kind == "assistant" else "input_text", "text": item_id}]
        if kind == "image":
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{encode(item_id.encode())}"})
        role = "user" if kind == "image" else kind
        known = [None, None, "root", *(item.id for item in self.view if not item.lost)]
        item = {"id": item_id, "type": "message", "role": role, "content": content}
        previous = known[after % len(known)]
        place = {} if previous is None else {"previous_item_id": previous}
        self.server.tell("conversation.item.create", item=item, **place)

    @precondition(lambda self: self.server.jobs)
    @rule(which=PLACES, text=st.sampled_from(WORDS), fails=st.booleans())
    def transcribe(self, which: int, text: str, fails: bool) -> None:
        job = self.server.jobs.pop(which % len(self.server.jobs))
        failure = "unclear" if fails and not text else None
        self.server.session.listening.transcribed(job, None if failure else text, failure)

    # -- the model ---

    @rule(asked=ASKED, words=SAID, sizes=SOUNDED, calls=st.integers(0, 3), end=ENDS)
    def respond(self, asked: Event, words: list[str], sizes: list[int], calls: int, end: str) -> None:
        """Have a response, and perhaps all of it at once."""
        self.server.tell("response.create", response=asked)
        self.speak(-1, words, sizes, calls, end)

    @rule(which=PLACES, words=SAID, sizes=SOUNDED, calls=st.sampled_from([0, 0, 1]), end=ENDS)
    def speak(self, which: int, words: list[str], sizes: list[int], calls: int, end: str) -> None:
        """Go on with a response, and perhaps end it."""
        if not self.running:
            return
        running = self.running[which % len(self.running)]
        pieces: list[Written | Spoken | ToolCall] = [Written(word) for word in words]
        if running.builder.plan.modality == "audio":
            pieces += [Spoken(bytes(size)) for size in sizes]
        pieces += [ToolCall("look", '{"place": "Zürich", "days": 3}')] * calls
        speaking = self.server.session.speaking
        for piece in pieces:
            speaking.absorb(running, piece)
        if end == "cancel":
            self.server.tell("response.cancel", response_id=running.turn.response_id)
        elif end != "go on":
            speaking.finish(running, Fail() if end == "fail" else None)

    @property
    def running(self) -> list[Running]:
        """The responses that are not done."""
        return [running for running in self.server.answers if not running.builder.over]

    # -- the client ---

    def known(self, which: int, *types: str) -> ConversationItem | None:
        """Choose among the items that the client knows."""
        items = [item for item in self.view if item.type in types and not item.lost]
        return items[which % len(items)] if items else None

    @rule(which=PLACES, really=SELDOM)
    def delete(self, which: int, really: bool) -> None:
        item = really and self.known(which, "message", "function_call", "function_call_output")
        if item and item.id in self.server.session.conversation:
            self.server.tell("conversation.item.delete", item_id=item.id)
            self.deleted += [item.id] if item.id.startswith("mine_") else []
            self.restored.discard(item.id)

    @precondition(lambda self: self.running)
    @rule(seed=SEEDS, heard=st.booleans())
    def interrupt(self, seed: int, heard: bool) -> None:
        """Cut short what is being said: truncate what was heard, delete what was not (protocol.md 4.8)."""
        self.flush(seed)
        items = [item for item in self.view if item.response_id in {run.turn.response_id for run in self.running}]
        for item in items[-1:]:
            if heard and item.audio_ms:
                cut = {"item_id": item.id, "content_index": 0, "audio_end_ms": item.audio_ms // 2}
                self.server.tell("conversation.item.truncate", **cut)
            elif item.id in self.server.session.conversation:
                self.server.tell("conversation.item.delete", item_id=item.id)

    @rule(which=PLACES)
    def retrieve(self, which: int) -> None:
        item = self.known(which, "message")
        if item is not None:
            self.server.tell("conversation.item.retrieve", item_id=item.id)

    @rule(which=PLACES, share=st.floats(0, 1))
    def truncate(self, which: int, share: float) -> None:
        spoken = [item for item in self.view if item.role == "assistant" and item.audio_ms and not item.lost]
        if spoken and (item := spoken[which % len(spoken)]).id not in self.restored:
            end = int(share * (item.audio_ms or 0))
            self.server.tell("conversation.item.truncate", item_id=item.id, content_index=0, audio_end_ms=end)

    @rule(which=PLACES)
    def answer_call(self, which: int) -> None:
        item = self.known(which, "function_call")
        if item is not None:
            output = {"type": "function_call_output", "call_id": item.call_id, "output": f"seen for {item.id}"}
            self.server.tell("conversation.item.create", item=output)

    # -- the line ---

    @rule(seed=SEEDS)
    def flush(self, seed: int) -> None:
        self.line.flush(random.Random(seed))
        for event in self.on_the_line:
            if event["type"] == "response.done":
                self.used += Usage.of_response(event["response"]["usage"])
            elif event["type"] == f"{TRANSCRIPTION}completed":
                self.used += Usage.of_transcription(event["usage"])
        self.on_the_line.clear()

    @rule(newest=st.integers(0, 12), really=SELDOM)
    def reconnect(self, newest: int, really: bool) -> None:
        """Lose what is on the line, and restore what the mirror knows, as a session does."""
        if not really:
            return
        self.line.lose()
        self.on_the_line.clear()
        self.server.session.close()
        replay = plan_replay(self.history, newest, lambda _: None)
        told = {clause.rpartition("(")[2].rstrip(")") for clause in replay.lost if clause.endswith(")")}
        assert not told & self.lost, "what was lost once is not lost again"
        self.lost |= told

        answers: list[Event] = []
        self.server = Server(answers.append)
        self.server.tell("session.update", session=replay.update)
        for item in replay.items:
            self.server.tell("conversation.item.create", item=item)
        hello, updated, *joined = answers
        assert all(event["type"].startswith("conversation.item.") for event in joined), joined
        self.restored = {event["item"]["id"] for event in joined}
        self.history.forget_connection()
        self.deliver(hello)
        self.history.resumed(self.restored)
        self.deliver(updated)
        self.server.put = self.put
        for event in joined:
            if event["type"].endswith(".done"):
                self.deliver(event)

    # -- what must hold ---

    @rule(seed=SEEDS)
    def settle(self, seed: int) -> None:
        """When all is said and has arrived, both sides agree."""
        for running in self.running:
            self.server.session.speaking.finish(running, None)
        self.flush(seed)
        shown = [item for item in self.view if not item.lost]
        there = self.server.session.conversation.items
        assert [item.id for item in shown] == [item.id for item in there]
        for mine, theirs in zip(shown, there, strict=True):
            self.compare(mine, theirs)
        assert repr(self.history.usage) == repr(self.used)
        if not self.server.session.listening._buffer.announced:
            assert self.history.busy is None

    def compare(self, mine: ConversationItem, theirs: server_items.Item) -> None:
        """Hold one item against the server's."""
        assert (mine.type, mine.role) == (theirs.type, theirs.role)
        for name in ("name", "call_id", "arguments"):
            assert getattr(mine, name) == theirs.fields.get(name), name
        if mine.type == "function_call":
            answers = [item.fields for item in self.server.session.conversation.items if "output" in item.fields]
            given = [answer["output"] for answer in answers if answer["call_id"] == mine.call_id]
            assert mine.output == (given[0] if given else None)
        if mine.id in self.restored:
            words = " ".join(part.fields["text"] for part in theirs.parts if part.fields.get("text"))
            assert " ".join(part.text for part in mine.parts if part.text) == words
            return
        assert mine.status == theirs.status
        assert [part.type for part in mine.parts] == [part.type for part in theirs.parts]
        for part, other in zip(mine.parts, theirs.parts, strict=True):
            if other.truncated:
                assert other.sound is not None
                assert part.heard_ms == other.sound.ms
                continue
            assert part.heard_ms is None
            told = other.fields.get("text") or other.fields.get("transcript")
            assert (part.text or None) == (told or None)
            if other.sound is not None and (mine.role == "assistant" or part.audio_ms is not None):
                assert part.audio_ms == other.sound.ms

    def teardown(self) -> None:
        self.settle(1)


def walk(examples: int) -> None:
    run_state_machine_as_test(
        Mirroring,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_mirror_and_server_agree() -> None:
    """A sample; the soak has ten thousand."""
    walk(60)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_mirror_and_server_agree_ten_thousand_times() -> None:
    """Ten thousand random conversations, each in a random legal order of events."""
    walk(10_000)
