"""What sessions, replies and the conversation look like in a notebook: HTML that stands for itself.

Everything is inline, without scripts, style sheets and links, so that it shows in every front end and in saved
notebooks. Colours are the front end's own, and greys that can be read on light and dark. Sizes are bounded, and what
is left out is said. Whatever came from a server, a user or a model is escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import audio_files, pcm
from .conversation import ContentPart, ConversationItem, ConversationView
from .errors import MeshAPIError

if TYPE_CHECKING:
    from .reply import Reply
    from .session import RealtimeSession
    from .tools.calls import ToolCall
    from .usage import Usage

__all__ = ["conversation_html", "reply_html", "session_html"]

_MOST_SECONDS = 60.0  # of audio in one output: 3.8 MB of base64, which the notebook's file keeps
_MOST_ITEMS = 50
_MOST_CALLS = 20
_LONGEST_TEXT = 10_000  # characters of what somebody said
_LONGEST_CODE = 1_000  # characters of a tool's arguments or output
_WHOSE = {"function_call": "calls", "function_call_output": "tool"}
_COLUMNS = 180  # of a waveform

_GREY = "rgba(128,128,128,.4)"
_BOX = f"border:1px solid {_GREY};border-radius:8px;padding:10px 14px;max-width:44em;line-height:1.45"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere"
_CODE = f"font-family:monospace;font-size:.92em;{_TEXT}"
_FAINT = "font-size:.85em;opacity:.75"
_MARK = "border:1px solid #c87a1e;border-radius:4px;padding:0 5px;font-size:.85em"
_ROW = "display:flex;gap:12px;margin:5px 0"
_WHO = "flex:0 0 5.2em;font-size:.85em;opacity:.75;padding-top:.12em"
_CONTENT = "flex:1;min-width:0"


def reply_html(reply: Reply) -> str:
    """Return an answer: what was said, the audio, tool calls, what went wrong, timings and usage."""
    said = [_said(text) for text in (reply.text, reply.transcript) if text]
    calls = [_call(call) for call in reply.tool_calls[:_MOST_CALLS]]
    if len(reply.tool_calls) > _MOST_CALLS:
        calls.append(_faint(f"and {len(reply.tool_calls) - _MOST_CALLS:,} further calls: see reply.tool_calls"))
    audio = _Audio()
    heard = [audio.show(reply.audio), audio.note("reply.save(...) writes all of it")] if reply.audio.size else []
    nothing = [] if said or calls or heard else [_faint("(nothing was said)")]
    return _box([*calls, _why_not_complete(reply), *nothing, *said, *heard, _faint(_facts(reply))])


def conversation_html(view: ConversationView) -> str:
    """Return a dialogue, the latest items of it, with their audio where it is kept."""
    return _box(_dialogue(view))


def session_html(session: RealtimeSession) -> str:
    """Return what a session is, its conversation, and what it used."""
    stats, usage = session.stats, session.usage
    facts = [f"frames sent {stats.frames_sent:,}, received {stats.frames_received:,}"]
    if stats.unread_messages:
        facts.append(f"unread messages {stats.unread_messages:,}")
    if stats.ping_round_trip is not None:
        facts.append(f"round trip {stats.ping_round_trip * 1000:.0f} ms")
    if stats.reconnects:
        facts.append(f"reconnects {stats.reconnects:,}")
    used = [_faint(_usage(usage))] if usage.responses or usage.transcriptions else []
    return _box([_head(session), _faint(_settings(session)), *_dialogue(session.conversation), *used, _faint(*facts)])


# -- of a reply ---


def _why_not_complete(reply: Reply) -> str:
    if reply.ok:
        return ""
    details = reply.status_details or {}
    why = str(reply.error) if reply.error else str(details.get("reason") or "")
    return f'<div style="margin:3px 0">{_mark(reply.status)} {_escape(_clipped(why, _LONGEST_CODE))}</div>'


def _call(call: ToolCall) -> str:
    took = _faint(f"{call.duration:.2f} s") if call.duration else ""
    content = "".join(_called(call.name, call.arguments, call.output)) + took
    return f'<div style="{_ROW}"><div style="{_WHO}">calls</div><div style="{_CONTENT}">{content}</div></div>'


def _facts(reply: Reply) -> str:
    timings = reply.timings
    moments = (
        ("waited", timings.waited if timings.waited >= 0.05 else None),
        ("first text", timings.first_text),
        ("first audio", timings.first_audio),
        ("total", timings.total),
    )
    facts = [f"{reply.duration:.1f} s of audio"] if reply.audio.size else []
    facts += [f"{name} {moment:.2f} s" for name, moment in moments if moment is not None]
    if reply.usage.total_tokens:
        facts.append(_usage(reply.usage).removeprefix("1 response · "))
    return " · ".join([*facts, reply.response_id])


# -- of a conversation ---


def _dialogue(view: ConversationView) -> list[str]:
    """Return a row for each of the latest items; the later an item is, the sooner it gets a player."""
    items, dropped = view.items, view.dropped
    answered = {item.call_id for item in items if item.type == "function_call"}
    # An output is shown by its call.
    shown = [item for item in items if item.type != "function_call_output" or item.call_id not in answered]
    audio = _Audio()
    rows = [_item(item, view, audio) for item in reversed(shown[-_MOST_ITEMS:])]
    if len(shown) > _MOST_ITEMS or dropped:
        rows.append(_faint(f"{len(items) + dropped - min(len(shown), _MOST_ITEMS):,} earlier items are not shown"))
    if not rows:
        return [_faint("(nothing was said yet)")]
    return [*rows[::-1], audio.note("conversation.audio(item_id) returns all of it")]


def _item(item: ConversationItem, view: ConversationView, audio: _Audio) -> str:
    who = item.role or _WHOSE.get(item.type) or item.type.replace("_", " ")
    content = [_part(part) for part in item.parts]
    if any(part.is_audio for part in item.parts):
        content.append(audio.show(_kept(view, item.id)))
    content += _called(item.name, item.arguments or "", item.output)
    marks = "".join(f"<div>{_mark(mark)}</div>" for mark in _marks(item))
    content = [part for part in content if part] or [_faint("(nothing)")]
    body = f'<div style="{_CONTENT}">{"".join(content)}{marks}</div>'
    return f'<div style="{_ROW}" title="{_escape(item.id)}"><div style="{_WHO}">{_escape(who)}</div>{body}</div>'


def _part(part: ContentPart) -> str:
    length = "" if part.audio_ms is None else f", {part.audio_ms / 1000:.1f} s"
    if part.text:
        return _said(part.text) + (_faint(f"spoken{length}") if part.is_audio else "")
    if part.is_audio:
        return _faint(f"(audio{length})")
    return _faint(f"({part.type.removeprefix('input_')})") if part.type == "input_image" else ""


def _marks(item: ConversationItem) -> Iterable[str]:
    if item.heard_ms is not None:
        about = ", the words are an estimate" if item.heard_estimate else ""
        yield f"interrupted at {item.heard_ms / 1000:.1f} s{about}"
    elif item.status in ("incomplete", "in_progress"):
        yield "unfinished" if item.status == "incomplete" else "in progress"
    if item.lost:
        yield "lost in a reconnect"


def _kept(view: ConversationView, item_id: str) -> NDArray[np.int16] | None:
    try:
        return view.audio(item_id)
    except MeshAPIError:  # none is kept, or what decodes it is not installed
        return None


# -- of a session ---


def _head(session: RealtimeSession) -> str:
    state = f"closed, {session.close_code}" if session.closed else "open"
    if session.closed and session.close_reason:
        state += f": {session.close_reason}"
    colour = "#8a8a8a" if session.closed else "#2e9e5b"
    light = f'<span style="color:{colour}">●</span>'
    name = f"<strong>{_escape(session.model)}</strong>"
    return f'<div>{light} {name} · {_escape(state)} <span style="{_FAINT}">{_escape(session.id or "")}</span></div>'


def _settings(session: RealtimeSession) -> str:
    """Tell the settings that one hears; the server may show any of them in a way of its own, or not at all."""
    settings = session.settings
    audio = _inner(settings, "audio")
    voice = _inner(audio, "output").get("voice")
    turns = _inner(_inner(audio, "input"), "turn_detection").get("type")
    told = settings.get("tools")
    known = [tool for tool in told if isinstance(tool, Mapping)] if isinstance(told, list) else []
    tools = [str(tool.get("name") or tool.get("type")) for tool in known]
    facts = [f"voice {voice}"] if isinstance(voice, str) else []
    facts += [f"turn detection {turns}"] if isinstance(turns, str) else []
    facts += [f"tools {', '.join(tools[:_MOST_CALLS])}"] if tools else []
    return " · ".join(facts)


def _inner(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, Mapping) else {}


# -- of all ---


class _Audio:
    """Draws and plays audio, as much of it as one output may hold."""

    def __init__(self) -> None:
        self._left = int(_MOST_SECONDS * pcm.SAMPLE_RATE)
        self._cut = False

    def show(self, samples: NDArray[np.int16] | None) -> str:
        """Return waveform and player; nothing for no audio."""
        if samples is None or not samples.size:
            return ""
        played = samples[: self._left]
        self._left -= played.size
        self._cut |= played.size < samples.size
        if not played.size:
            return _waveform(samples)
        data = base64.b64encode(audio_files.wav_bytes(played)).decode()
        style = "width:100%;max-width:420px;height:36px;display:block;margin-bottom:6px"
        player = f'<audio controls style="{style}" src="data:audio/wav;base64,{data}"></audio>'
        return _waveform(samples) + player

    def note(self, elsewhere: str) -> str:
        """Say what was left out, and where it is."""
        return _faint(f"Players hold {_MOST_SECONDS:.0f} s of audio at most: {elsewhere}.") if self._cut else ""


def _waveform(samples: NDArray[np.int16]) -> str:
    """Draw the loudest sample above and below zero for each column, the loudest of all at the edge."""
    columns = min(_COLUMNS, samples.size)
    starts = np.linspace(0, samples.size, columns, endpoint=False).astype(np.intp)
    tops = np.maximum.reduceat(samples, starts).astype(float)
    bottoms = np.minimum.reduceat(samples, starts).astype(float)
    full = max(1.0, tops.max(), -bottoms.min()) / 19
    lines = zip(20 - np.maximum(tops / full, 0.5), 20 - np.minimum(bottoms / full, -0.5), strict=True)
    path = "".join(f"M{x * 2 + 1} {top:.1f}V{bottom:.1f}" for x, (top, bottom) in enumerate(lines))
    told = f"waveform of {samples.size / pcm.SAMPLE_RATE:.1f} s"
    return (
        f'<svg role="img" aria-label="{told}" viewBox="0 0 {2 * _COLUMNS} 40" preserveAspectRatio="none" '
        f'style="width:100%;max-width:420px;height:40px;display:block;margin:6px 0 2px">'
        f'<path d="{path}" stroke="#4a8fe0" stroke-width="1.2" fill="none"/></svg>'
    )


def _called(name: str | None, arguments: str, output: str | None) -> Iterable[str]:
    if name is not None:
        yield f"<div>{_code(name)}({_code(arguments)})</div>"
    if output is not None:
        yield f"<div>→ {_code(output)}</div>"


def _usage(usage: Usage) -> str:
    return repr(usage).strip("<>").removeprefix("Usage: ").replace("; ", " · ")


def _box(rows: Iterable[str]) -> str:
    # The classes keep MathJax from reading a text with two dollar signs as a formula.
    return f'<div class="tex2jax_ignore mathjax_ignore" style="{_BOX}">{"".join(rows)}</div>'


def _said(text: str) -> str:
    return f'<div dir="auto" style="{_TEXT}">{_escape(_clipped(text, _LONGEST_TEXT))}</div>'


def _code(text: str) -> str:
    return f'<code style="{_CODE}">{_escape(_clipped(text, _LONGEST_CODE))}</code>'


def _mark(text: str) -> str:
    return f'<span style="{_MARK}">{_escape(text)}</span>'


def _faint(*facts: str) -> str:
    told = " · ".join(fact for fact in facts if fact)
    return f'<div style="{_FAINT};overflow-wrap:anywhere">{_escape(told)}</div>' if told else ""


def _clipped(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest:,} further characters)"


def _escape(text: object) -> str:
    """Return *text* for HTML; half of a surrogate pair, which cannot be sent to a front end, becomes ``?``."""
    return html.escape(str(text).encode(errors="replace").decode())
