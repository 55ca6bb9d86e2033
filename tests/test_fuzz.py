"""Frames and events that no peer should send: the decoders against a second reading, input for input."""

from __future__ import annotations

import base64
import io
import json
import pickle
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshapi_rt.decoding import Decoder
from meshapi_rt.message import RealtimeMessage
from meshapi_rt.transport.connection import parse_close
from meshapi_rt.transport.frames import BINARY, CLOSE, PING, TEXT, FrameDecoder, Payloads, ProtocolViolation

from .peers import frame
from .reference import Item, Reading, read

CORPUS = Path(__file__).parent / "corpus"
LIMIT = 4096  # bytes per message, so that inputs of a few kilobytes reach it
NAMES = {TEXT: "text", BINARY: "binary", PING: "ping"}


def decoded(stream: bytes, cuts: list[int], patient: bool = False, limit: int = LIMIT) -> Reading:
    """Feed *stream*, cut at *cuts*, to the decoder under test as a connection does.

    With *patient* no partial frame is looked at before the last piece, as when bytes come without a pause.
    """
    decoder, start = FrameDecoder(Payloads(), limit), 0
    items: list[Item] = []
    try:
        for end in [*cuts, len(stream)]:
            while start < end:
                texts: list[str | bytes] = []
                start += decoder.receive(io.BytesIO(stream[start:end]).readinto, texts) or 0
                items += [("text", text) for text in texts]
            while (found := decoder.next()) is not None:
                opcode, payload = found
                if opcode == CLOSE:
                    assert isinstance(payload, bytes)
                    return Reading(items, ("close", *parse_close(payload)))
                items.append((NAMES.get(opcode, "pong"), payload))
            if not patient or end == len(stream):
                decoder.check_partial()
    except ProtocolViolation as exc:
        return Reading(items, ("violation", exc.close_code))
    return Reading(items, ("open",))


# -- frames by the thousand: fast generators of our own ---

TEXTS = [
    b"",
    b"x",
    b'{"type":"x"}',
    "aä€🎧".encode() * 3,
    b"y" * 124,
    b"z" * 126,
    "ü".encode() * 100,
    b"w" * 2000,
    b"\xed\xa0\x80",  # a surrogate
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xc0\xaf",  # longer than needed
    b"\xe2\x82",  # cut short
    b"ok\xff",
]
CLOSES = [b"", b"\x03", *(struct.pack("!H", code) for code in (0, 999, 1000, 1001, 1005, 1006, 1011, 1015, 3000, 5000))]


def header(first: int, second: int, length: int | None = None) -> bytes:
    head = bytes([first, second])
    if length is None:
        return head
    return head + (struct.pack("!Q", length) if second & 127 == 127 else struct.pack("!H", length & 0xFFFF))


def valid_frames(rng: random.Random) -> list[bytes]:
    """Return the frames of a few messages, fragmented or not, with control frames in between."""
    frames = []
    for _ in range(rng.randrange(1, 5)):
        payload = rng.choice(TEXTS[:8])
        kind = TEXT if rng.random() < 0.7 else BINARY
        pieces = rng.choice((1, 1, 1, 2, 3, 5))
        edges = [0, *sorted(rng.randrange(len(payload) + 1) for _ in range(pieces - 1)), len(payload)]
        for number in range(pieces):
            final = 0x80 if number == pieces - 1 else 0
            frames.append(frame(0, payload[edges[number] : edges[number + 1]], first=final | (0 if number else kind)))
            if rng.random() < 0.2:
                frames.append(frame(rng.choice((9, 10)), rng.randbytes(rng.choice((0, 1, 8, 125)))))
    if rng.random() < 0.3:
        frames.append(frame(CLOSE, rng.choice(CLOSES) + rng.choice((b"", b"", b"bye", b"\xe2\x82\xac", b"\xff"))))
        frames.append(frame(TEXT, b"behind the close"))
    return frames


def broken_frame(rng: random.Random) -> bytes:
    """Return one frame that is wrong in a way a careless server might find."""
    return rng.choice(
        (
            lambda: frame(TEXT, rng.choice(TEXTS[8:])),
            lambda: frame(TEXT, b"x", first=rng.randrange(256)),
            lambda: header(0x81, 0xFF, 1 << 62),
            lambda: header(0x81, 127, rng.choice((1 << 62, 1 << 63, (1 << 64) - 1, LIMIT, LIMIT + 1))),
            lambda: header(0x82, 126, rng.choice((0, 1, 125, LIMIT, LIMIT + 1, 65535))),
            lambda: header(0x88 | rng.randrange(3), rng.choice((126, 127)), rng.randrange(300)) + bytes(300),
            lambda: header(0x81, 0x85) + b"keyshello",
            lambda: frame(BINARY, bytes(LIMIT + rng.randrange(-1, 2))),
            lambda: rng.randbytes(rng.randrange(1, 40)),
        )
    )()


def mutated(rng: random.Random, stream: bytes) -> bytes:
    data = bytearray(stream)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data)) if data else 0
        what = rng.randrange(6)
        if what == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1 and data:
            data[at] = rng.choice((0, 1, 125, 126, 127, 128, 255))
        elif what == 2:
            del data[at : at + rng.randrange(1, 9)]
        elif what == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 5))
        elif what == 4:
            data[at:at] = data[at : at + rng.randrange(40)]
        else:
            del data[at:]
    return bytes(data)


def streams(rng: random.Random) -> Iterator[bytes]:
    """Yield streams without end: proper ones, ones with a broken frame, and mutations of both."""
    while True:
        frames = valid_frames(rng)
        shape = rng.random()
        if shape < 0.4:
            frames.insert(rng.randrange(len(frames) + 1), broken_frame(rng))
        stream = b"".join(frames)
        yield mutated(rng, stream) if shape > 0.6 else stream


def cuts_of(rng: random.Random, length: int) -> list[int]:
    count = rng.choice((0, 0, 1, 2, 5, 20))
    return sorted(rng.randrange(length + 1) for _ in range(count))


def check_frames(seed: int, count: int) -> dict[object, int]:
    """Hold *count* streams against the reference; return how often each end came."""
    rng, ends = random.Random(seed), dict[object, int]()
    for _, stream in zip(range(count), streams(rng), strict=False):
        expected = read(stream, LIMIT)
        cuts = cuts_of(rng, len(stream))
        got = decoded(stream, cuts, rng.random() < 0.5)
        assert got == expected, f"stream {stream.hex()} cut at {cuts}"
        kind = expected.end[:2] if expected.end[0] == "violation" else expected.end[0]
        ends[kind] = ends.get(kind, 0) + 1
    return ends


def test_frames_mean_what_a_second_reading_says() -> None:
    """Message by message and end by end; and the generator reaches every end."""
    ends = check_frames(seed=1, count=2500)
    assert min(ends.values()) > 20
    assert set(ends) == {"open", "close", ("violation", 1002), ("violation", 1007), ("violation", 1009)}


# -- frames by hypothesis, which shrinks what it finds ---

texts = st.one_of(st.text(max_size=40).map(str.encode), st.sampled_from(TEXTS), st.binary(max_size=300))
frames_of_any_kind = st.builds(
    lambda first, payload: frame(0, payload, first=first),
    st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88]), st.integers(0, 255)),
    texts,
)
pieces = st.one_of(frames_of_any_kind, st.builds(header, st.integers(0, 255), st.integers(0, 255)), st.binary())
derandomized = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)


@derandomized
@given(parts=st.lists(pieces, max_size=8), data=st.data())
def test_any_chunking_means_the_same(parts: list[bytes], data: st.DataObject) -> None:
    """Where the bytes are cut, and whether the reader looked in between, changes nothing."""
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    expected = read(stream, LIMIT)
    assert decoded(stream, cuts) == decoded(stream, cuts, patient=True) == decoded(stream, []) == expected


# -- events ---

NOT_JSON = re.compile(r"-?Infinity|NaN")
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
DELTAS = ("response.output_audio.delta", "response.audio.delta")


def audio_in(delta: object) -> bytes | None:
    """Decode base64 by hand, strictly (RFC 4648 section 4)."""
    if not isinstance(delta, str) or not BASE64.fullmatch(delta):
        return None
    digits = delta.rstrip("=")
    number = 0
    for digit in digits:
        number = number << 6 | ALPHABET.index(digit)
    count = len(digits) * 6 // 8
    return (number >> len(digits) * 6 - count * 8).to_bytes(count, "big")


def check_event(text: str) -> RealtimeMessage:
    """Decode *text* and hold the message against what is promised of every text."""
    payload = text.encode(errors="replace")  # no half of a surrogate pair comes as UTF-8
    text = payload.decode()
    message = Decoder().text(payload)
    assert message.text == text
    assert not message.is_binary
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict):
        assert (message.event, message.type, message.audio, message.error) == (None, None, None, None)
        assert message.get("type") is None
    elif message.outline is None:
        assert NOT_JSON.search(text)
    else:
        fields = [*plain, "absent"]
        random.Random(text).shuffle(fields)
        assert repr([message.get(field) for field in fields]) == repr([plain.get(field) for field in fields])
        assert repr(message.event) == repr(plain)
        kind = plain.get("type")
        assert message.type == (kind if isinstance(kind, str) else None)
        assert message.audio == (audio_in(plain.get("delta")) if message.type in DELTAS else None)
        assert (message.error is not None) == (message.type == "error")
    assert len(repr(message)) < 200 + len(repr(message.type)) + (len(repr(message.error.code)) if message.error else 0)
    if message.error is not None:
        assert isinstance(str(message.error), str)
        assert isinstance(message.error.message, str)
    return message


SCALARS = [
    '"x"',
    "null",
    "true",
    "7",
    "-0.5e3",
    "1e400",
    "NaN",
    "-Infinity",
    '"\\ud800"',
    '"ä\\u0000🎧"',
    '""',
    "1" * 5000,
]
KINDS = [*DELTAS, "error", "session.created", "x", ""]
KEYS = ["type", "delta", "error", "code", "message", "param", "event_id", "request_id", "session", "", "ä"]
SPECIAL = ["[" * 300 + "]" * 300, '{"a":' * 50 + "1" + "}" * 50, "[" * 2000, "\ufeff{}", "{} {}", "{'a':1}", '{"a":1,}']


def base64_text(rng: random.Random) -> str:
    text = base64.b64encode(rng.randbytes(rng.randrange(40))).decode()
    if rng.random() < 0.5:
        at = rng.randrange(len(text) + 1)
        text = (
            text[:at]
            + rng.choice(("=", "==", "\n", " ", "-", "_", "ä", "A", "", "\x00"))
            + text[at + rng.randrange(3) :]
        )
    return text


def json_text(rng: random.Random, depth: int = 0) -> str:
    """Return the text of some JSON value, mostly an event-like object."""
    shape = rng.random()
    if depth > 3 or (depth and shape < 0.5):
        return rng.choice(SCALARS) if rng.random() < 0.7 else json.dumps(base64_text(rng))
    if depth and shape < 0.65:
        return f"[{','.join(json_text(rng, depth + 1) for _ in range(rng.randrange(3)))}]"
    fields = [f"{json.dumps(rng.choice(KEYS))}:{json_text(rng, depth + 1)}" for _ in range(rng.randrange(4))]
    if rng.random() < 0.8:
        fields.insert(rng.randrange(len(fields) + 1), f'"type":{json.dumps(rng.choice(KINDS))}')
    if rng.random() < 0.5:
        fields.append(f'"delta":{json.dumps(base64_text(rng))}')
    return "{" + ",".join(fields) + "}"


def event_texts(rng: random.Random) -> Iterator[str]:
    while True:
        text = rng.choice(SPECIAL) if rng.random() < 0.002 else json_text(rng)
        if rng.random() < 0.25 and text:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(("", "}", '"', "\\", "\x00", "[", ",", "🎧", "\ud800")) + text[at + 1 :]
        yield text


def check_events(seed: int, count: int) -> dict[str, int]:
    """Check *count* texts; return how many were of which kind."""
    rng, kinds = random.Random(seed), dict[str, int]()
    for _, text in zip(range(count), event_texts(rng), strict=False):
        message = check_event(text)
        kind = "error" if message.error else "audio" if message.audio else "event" if message.event else "text"
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def test_no_text_is_too_odd_to_become_a_message() -> None:
    """Parts are as a plain reading has them; audio only where the base64 is whole and strict."""
    kinds = check_events(seed=1, count=5000)
    assert len(kinds) == 4
    assert min(kinds.values()) > 200


@derandomized
@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
        ).map(json.dumps),
        st.builds(lambda kind, delta: json.dumps({"type": kind, "delta": delta}), st.sampled_from(KINDS), st.text()),
    )
)
def test_any_text_becomes_a_message(text: str) -> None:
    """Never an exception."""
    check_event(text)


@derandomized
@given(st.text(alphabet="AQgw+/=_-\n ", max_size=12))
def test_audio_is_strict_base64_or_none(delta: str) -> None:
    """On every version of Python alike: no stray character, no padding too much or too little."""
    message = check_event(json.dumps({"type": DELTAS[0], "delta": delta}))
    assert message.audio == audio_in(delta)


def test_an_error_nested_to_any_depth() -> None:
    """Also where it can be parsed but hardly be shown."""
    for depth in [*range(1, 100, 13), *range(100, 1200, 7), 3000, 20_000, 100_000]:
        nested = "[" * depth + "]" * depth
        message = Decoder().text(f'{{"type":"error","error":{{"code":{nested},"message":"m"}}}}'.encode())
        if message.error is not None:
            assert message.error.message == "m"
            assert isinstance(str(message.error), str)


# -- the corpus: what is worth keeping from earlier runs and from the standard's text ---


def corpus(name: str) -> list[str]:
    lines = (CORPUS / name).read_text("utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("line", corpus("frames.txt"), ids=lambda line: line.partition(" ")[0])
def test_frames_of_the_corpus(line: str) -> None:
    """Whole, byte by byte, and cut in two at every place."""
    _, end, stream = line.split()
    data = bytes.fromhex(stream)
    expected = read(data, LIMIT)
    told = "-".join(str(part) for part in expected.end[:2])
    assert told == end
    ways = [[], list(range(len(data))), *([at] for at in range(len(data)))]
    assert all(decoded(data, cuts, patient) == expected for cuts in ways for patient in (True, False))


def test_events_of_the_corpus() -> None:
    """Each becomes a message, and is pickled with what it holds."""
    for line in corpus("events.txt"):
        error = check_event(line).error
        if error is not None:
            assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


# -- the long run ---


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("check", "count"), [(check_frames, 600_000), (check_events, 500_000)])
def test_a_million_inputs(check: Callable[[int, int], dict[Any, int]], count: int) -> None:
    """Nothing but what is expected, from seeds that the normal run does not use; the counts are printed."""
    for seed in range(100, 110):
        print(check.__name__, "seed", seed, check(seed, count // 10))
