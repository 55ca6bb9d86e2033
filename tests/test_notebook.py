"""What replies, conversations and sessions look like in a notebook: everything escaped, bounded, and well formed."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from meshapi_rt import RealtimeSession, Reply, Timings, Tokens, ToolCall, Usage, audio_files, pcm
from meshapi_rt.local import Audio, Fail, LocalServer, Text, Turn
from meshapi_rt.local import ToolCall as Call

from .conftest import TOKEN, client_of
from .faces import environment
from .peers import Line, peer

EVIL = "<script>alert('1')</script> & \"<b>\" $1 and $2"
TONE = np.round(8000 * np.sin(np.arange(24_000) / 10)).astype(np.int16)
ALLOWED = {"div", "span", "strong", "code", "svg", "path", "audio"}


class Page(HTMLParser):
    """Reads HTML, and insists on what it is made of."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        self.tags.append((tag, dict(attributes)))
        assert not any(name.startswith("on") for name, _ in attributes)
        if not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def players(self) -> list[NDArray[np.int16]]:
        """Return what can be played."""
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "audio"]
        data = [base64.b64decode(source.removeprefix("data:audio/wav;base64,"), validate=True) for source in sources]
        return [audio_files.read(io.BytesIO(wav)) for wav in data]

    def waves(self) -> list[str]:
        """Return the paths that are drawn."""
        return [attributes["d"] or "" for tag, attributes in self.tags if tag == "path"]


def page(shown: Any) -> Page:
    """Return what a notebook would show."""
    return Page(shown._repr_html_())


def reply(**fields: Any) -> Reply:
    """Return a reply: a written one, unless told otherwise."""
    plain: dict[str, Any] = {
        "text": "",
        "transcript": "",
        "audio": np.empty(0, np.int16),
        "status": "completed",
        "status_details": None,
        "tool_calls": (),
        "items": (),
        "usage": Usage(responses=1),
        "response_id": "resp_1",
        "timings": Timings(waited=0.0, first_text=None, first_audio=None, total=1.5),
    }
    return Reply(**{**plain, **fields})


# -- replies ---


def test_a_spoken_reply() -> None:
    """Its words, a picture of its sound, a player with all of it, and how long it took."""
    usage = Usage(responses=1, input=Tokens(text=20), cached=Tokens(text=5), output=Tokens(audio=10))
    timings = Timings(waited=0.3, first_text=0.25, first_audio=0.5, total=1.5)
    shown = page(reply(transcript="Good morning.", audio=TONE, usage=usage, timings=timings))

    assert "Good morning." in shown.text
    (played,) = shown.players()
    np.testing.assert_array_equal(played, TONE)
    assert len(shown.waves()) == 1
    facts = "1.0 s of audio · waited 0.30 s · first text 0.25 s · first audio 0.50 s · total 1.50 s"
    used = "input 20 (text 20) · of it cached 5 (text 5) · output 10 (audio 10)"
    assert f"{facts} · {used} · resp_1" in shown.text


def test_a_written_reply() -> None:
    """It has no player, and of the times only those that there are."""
    shown = page(reply(text="Good\nmorning."))

    assert "Good\nmorning." in shown.text
    assert "total 1.50 s · resp_1" in shown.text
    assert {tag for tag, _ in shown.tags} == {"div"}
    assert "first" not in shown.text


def test_a_reply_that_says_nothing() -> None:
    """Says so."""
    assert "(nothing was said)" in page(reply()).text


def test_the_usage_of_several_responses() -> None:
    """Where tools were called on the way, it tells how many there were."""
    usage = Usage(responses=2, input=Tokens(text=20), output=Tokens(text=10))

    assert "total 1.50 s · 2 responses · input 20 (text 20)" in page(reply(text="x", usage=usage)).text


def test_text_and_speech() -> None:
    """A reply may have both."""
    shown = page(reply(text="written", transcript="spoken", audio=TONE))

    assert "written" in shown.text
    assert "spoken" in shown.text


@pytest.mark.parametrize(
    ("status", "details", "told"),
    [
        ("failed", {"error": {"code": "server_error", "message": EVIL}}, f"failed server_error: {EVIL}"),
        ("failed", None, "failed error: the reply failed"),
        ("cancelled", {"reason": "turn_detected"}, "cancelled turn_detected"),
        ("incomplete", {"reason": "max_output_tokens"}, "incomplete max_output_tokens"),
        ("incomplete", {}, "incomplete "),
        (EVIL, {"reason": [EVIL]}, EVIL),
    ],
)
def test_a_reply_that_is_not_complete(status: str, details: dict[str, Any] | None, told: str) -> None:
    """Says why."""
    shown = page(reply(text="Well", status=status, status_details=details))

    assert told in shown.text
    assert "Well" in shown.text


def test_calls_of_tools() -> None:
    """As the model wrote them, JSON or not, with what it was told."""
    calls = [ToolCall(call_id="1", name="weather", arguments='{"city": "<Paris>"}', output="<sunny>", duration=0.25)]
    calls += [ToolCall(call_id="2", name=EVIL, arguments=EVIL)]
    shown = page(reply(tool_calls=tuple(calls)))

    assert 'weather({"city": "<Paris>"})→ <sunny>0.25 s' in shown.text
    assert f"{EVIL}({EVIL})" in shown.text
    assert "nothing was said" not in shown.text


@pytest.mark.parametrize("field", ["text", "transcript", "response_id"])
def test_what_others_wrote_is_escaped(field: str) -> None:
    """A transcript may hold anything."""
    shown = reply(**{field: EVIL})._repr_html_()

    assert "<script" not in shown
    assert EVIL in Page(shown).text
    assert "mathjax_ignore" in shown


def test_half_a_surrogate_pair() -> None:
    """It would keep the kernel from sending the output at all."""
    page(reply(text="a\ud800b")).text.encode()


def test_the_size_is_bounded() -> None:
    """What is left out is said."""
    hour = np.tile(TONE, 3600)
    calls = tuple(ToolCall(call_id=str(number), name="f", arguments="x" * 100_000) for number in range(1000))
    shown = reply(text="y" * 1_000_000, transcript="z" * 1_000_000, audio=hour, tool_calls=calls)._repr_html_()

    assert len(shown) < 4_000_000
    seen = Page(shown)
    assert seen.players()[0].size == 60 * pcm.SAMPLE_RATE
    assert "Players hold 60 s of audio at most: reply.save(...) writes all of it." in seen.text
    assert "3600.0 s of audio" in seen.text
    assert seen.text.count("990,000 further characters") == 2
    assert seen.text.count("99,000 further characters") == 20
    assert "and 980 further calls: see reply.tool_calls" in seen.text


# -- the waveform ---


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(24_000, np.int16),
        np.array([1], np.int16),
        np.full(181, -32768, np.int16),
        np.array([32767, -32768] * 100, np.int16),
        np.random.default_rng(1).integers(-32768, 32768, 1_000_003).astype(np.int16),
    ],
    ids=["silent", "one sample", "lowest", "full", "long"],
)
def test_any_audio_is_drawn_within_its_frame(audio: NDArray[np.int16]) -> None:
    """At most 180 strokes, each of some height."""
    (path,) = page(reply(transcript="x", audio=audio)).waves()

    strokes = re.findall(r"M(\d+) ([\d.]+)V([\d.]+)", path)
    assert "".join(f"M{x} {top}V{bottom}" for x, top, bottom in strokes) == path
    assert len(strokes) == min(180, audio.size)
    for x, top, bottom in strokes:
        assert 0 < int(x) < 360
        assert 0 <= float(top) < float(bottom) <= 40


def test_the_waveform_follows_the_sound() -> None:
    """Loud is high, and silence is a line."""
    audio = np.concatenate([np.zeros(12_000, np.int16), TONE[:12_000]])
    (path,) = page(reply(transcript="x", audio=audio)).waves()

    heights = [float(bottom) - float(top) for top, bottom in re.findall(r"M\d+ ([\d.]+)V([\d.]+)", path)]
    assert max(heights[:89]) == 1.0
    assert min(heights[92:]) > 30


# -- conversations and sessions ---


def talker(turn: Turn) -> Iterator[Text | Audio | Fail | Call]:
    """Speaks; calls a function, fails, or says what nobody should."""
    if turn.outputs:
        yield Text("It is sunny.")
    elif turn.text == "call":
        yield Call("weather", {"city": "<Paris>"})
    elif turn.text == "fail":
        yield Text("Well")
        yield Fail("server_error", EVIL)
    elif turn.text.startswith("seconds"):
        yield Audio(np.tile(TONE, int(turn.text.split()[1])), EVIL)
    else:
        yield Text(turn.text)


@pytest.fixture
def connect() -> Iterator[Callable[..., RealtimeSession]]:
    """Open sessions with the talker."""
    with LocalServer(responder=talker) as server, server.client(token=TOKEN) as client:
        opened: list[RealtimeSession] = []  # none is garbage before it is closed

        def connect(**settings: Any) -> RealtimeSession:
            opened.append(client.realtime.connect(model="<m>", **settings))
            return opened[-1]

        yield connect


def test_a_conversation(connect: Callable[..., RealtimeSession]) -> None:
    """Both sides, calls with their outputs, what went wrong, and audio where it is kept."""
    session = connect(keep_audio=True)
    session.ask(EVIL)
    (call,) = session.ask("call").tool_calls
    session.conversation.item.create_function_output(call.call_id, {"sky": "<blue>"})
    session.ask("fail")

    shown = page(session.conversation)

    assert shown.text.count(EVIL) == 2
    assert 'callsweather({"city": "<Paris>"})→ {"sky": "<blue>"}' in shown.text
    assert shown.text.count("<blue>") == 1
    assert "unfinished" in shown.text
    assert len(shown.players()) == len(shown.waves()) == 2


def test_a_conversation_without_audio(connect: Callable[..., RealtimeSession]) -> None:
    """Where none is kept, its length is told."""
    session = connect()
    session.conversation.item.create_user_message(TONE)
    session.ask("seconds 1")

    shown = page(session.conversation)

    assert not shown.players()
    assert "(audio)" in shown.text
    assert "spoken, 1.0 s" in shown.text


def test_audio_of_a_conversation_is_bounded(connect: Callable[..., RealtimeSession]) -> None:
    """The latest is what one wants to hear; the rest is drawn."""
    session = connect(keep_audio=True)
    for seconds in (20, 30, 40):
        session.ask(f"seconds {seconds}")

    shown = page(session.conversation)

    assert [played.size // pcm.SAMPLE_RATE for played in shown.players()] == [20, 40]
    assert len(shown.waves()) == 3
    assert shown.text.count("Players hold 60 s of audio at most: conversation.audio(item_id) returns all of it.") == 1


def test_a_truncated_answer(connect: Callable[..., RealtimeSession]) -> None:
    """Is shown as far as it was heard."""
    session = connect(keep_audio=True)
    item_id = session.ask("seconds 2").items[0]["id"]
    session.conversation.item.truncate(item_id, 500)

    shown = page(session.conversation)

    assert "interrupted at 0.5 s" in shown.text
    assert [played.size for played in shown.players()] == [pcm.SAMPLE_RATE // 2]


def test_a_long_conversation(connect: Callable[..., RealtimeSession]) -> None:
    """The latest items, and how many there were before."""
    session = connect()
    for number in range(60):
        session.conversation.item.create_user_message(f"number {number}", wait=number == 59)

    shown = page(session.conversation)

    assert "10 earlier items are not shown" in shown.text
    assert "number 10" in shown.text
    assert "number 9\n" not in shown.text
    assert "number 59" in shown.text


def test_an_empty_conversation(connect: Callable[..., RealtimeSession]) -> None:
    """Says so."""
    assert page(connect().conversation).text == "(nothing was said yet)"


def test_a_session_open_and_closed(connect: Callable[..., RealtimeSession]) -> None:
    """What it is, what was said, what it used, and how it ended."""
    session = connect(keep_audio=True)
    session.update(voice="marin", tools=[{"type": "function", "name": "weather", "parameters": {"type": "object"}}])
    session.ask(EVIL)

    shown = page(session)

    assert shown.text.startswith(f"● <m> · open {session.id}")
    assert "voice marin" in shown.text
    assert "tools weather" in shown.text
    assert "1 response · input" in shown.text
    assert "frames sent " in shown.text
    assert shown.text.count(EVIL) == 2
    assert TOKEN not in session._repr_html_()

    session.close(3001, "<enough>")

    assert f"● <m> · closed, 3001: <enough> {session.id}" in page(session).text
    assert repr(session) == f"<RealtimeSession {session.id} of <m>, closed 3001>"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"audio": None, "tools": None},
        {"audio": {"output": {"voice": {"id": "voice_1"}}, "input": None}, "tools": {"not": "a list"}},
        {"audio": [], "tools": [None, {"type": "mcp"}, {"name": EVIL}]},
    ],
)
def test_settings_of_any_shape(settings: dict[str, Any]) -> None:
    """A server may show its settings as it likes, and itself without an id."""

    def greeting(line: Line) -> None:
        line.upgrade()
        line.send({"type": "session.created", "session": settings})
        line.serve_until_close()

    with peer(greeting) as running, client_of(running).realtime.connect(model="m") as session:
        shown = page(session)

    assert shown.text.startswith("● m · open")
    assert "nothing was said yet" in shown.text


def test_nothing_is_loaded_before_it_is_shown(tmp_path: Path) -> None:
    """The import stays as light as it was."""
    source = "import sys, meshapi_rt; print([n for n in sys.modules if n in ('meshapi_rt.notebook', 'IPython')])"
    told = subprocess.run(
        [sys.executable, "-c", source], env=environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"
