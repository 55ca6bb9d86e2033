"""The faster codecs of ``[speed]`` and the standard library: the same results for every input."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from meshapi_rt import EventError, codecs, message
from meshapi_rt.decoding import Decoder

from .peers import LIMIT

EDGES = [
    *("18446744073709551616", "-9223372036854775809", "1" * 30, "1" * 5000, "-0", "-0.0", "1e400", "-1e400", "1e-400"),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\ud800"', '"\\u0000"', '"\x00"', '"\x7f"', '"\\x"', '"'),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "[1,]",
        "{,}",
        '{"a":1,"a":2}',
        "01",
        "1.",
        ".5",
        "+1",
        "1E5",
        " \t\r\n1 ",
        "\ufeff1",
    ),
    *("", " ", "[" * 100_000, "[" * 150 + "]" * 150, "nul", "True", "'a'", "1 2", "/**/1", "\u00a01", "1\u0661"),
]
BASE64 = [
    "",
    "A",
    "AA",
    "AAA",
    "AAAA",
    "AA==",
    "AB==",
    "AAA=",
    "AAB=",
    "AAAA==",
    "AAAA====",
    "A===",
    "=",
    "====",
    "AA=A",
]
BASE64 += ["AA==AA==", "AAAA\n", " AAAA", "AAA-", "AAA_", "AAAé", "AAA\x00", "AAAA" * 1000 + "AB=="]


def outcome(work: Callable[[Any], Any], given: object) -> tuple[bool, Any]:
    try:
        return True, work(given)
    except (ValueError, RecursionError):
        return False, None


def same(one: Any, other: Any) -> bool:
    """Compare values with their types, the order of keys and the sign of zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@pytest.mark.parametrize("text", EDGES, ids=lambda text: repr(text)[:24])
def test_json_at_its_edges(text: str) -> None:
    """Huge integers, half surrogates, NaN, depth: both take it with the same value, or both refuse it."""
    assert same(list(outcome(codecs.chosen().loads, text)), list(outcome(codecs.plain_loads, text)))


@pytest.mark.parametrize("text", EDGES, ids=lambda text: repr(text)[:24])
@pytest.mark.parametrize("around", ["{}", " {}", "{}\n", "\r\n\t{} ", "{}{}", "\ufeff{}", "{} x", "\u2028{}"])
def test_json_beside_the_standard_library(text: str, around: str) -> None:
    """White space around a text is nothing, and anything else is too much."""

    def refuse(_: str) -> NoReturn:
        raise ValueError

    given = around.replace("{}", text)
    expected = outcome(lambda given: json.loads(given, parse_constant=refuse), given)
    assert same(list(outcome(codecs.plain_loads, given)), list(expected))


@pytest.mark.parametrize("text", BASE64, ids=lambda text: repr(text)[:24])
def test_base64_at_its_edges(text: str) -> None:
    """Odd padding, foreign characters, white space."""
    assert outcome(codecs.chosen().decode_base64, text) == outcome(codecs.plain_decode_base64, text)


@pytest.mark.parametrize("size", [*range(10), 4800])
def test_base64_there_and_back(size: int) -> None:
    """Encoding is the same text, and decodes to the same bytes."""
    data = random.Random(size).randbytes(size)
    text = codecs.chosen().encode_base64(data)
    assert text == codecs.plain_encode_base64(memoryview(data))
    assert codecs.chosen().decode_base64(text.decode()) == data


class Maker:
    """Makes JSON texts and base64 texts, most of them slightly damaged."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        rng, kind = self.rng, self.rng.randrange(12)
        if kind < 3 and depth < 4:
            return {
                rng.choice(["a", "b", "ä", "type", "\u2028"]): self.value(depth + 1) for _ in range(rng.randrange(4))
            }
        if kind < 5 and depth < 4:
            return [self.value(depth + 1) for _ in range(rng.randrange(4))]
        number = rng.random() * 10.0 ** rng.randrange(-320, 308)
        return rng.choice(
            [None, True, 0, -1, 2**63, 2**64, 10 ** rng.randrange(40), number, "x", "😀", "\ud800", '"\\']
        )

    def damaged(self, text: str, alphabet: str, most: int) -> str:
        for _ in range(self.rng.randrange(most)):
            at = self.rng.randrange(len(text) + 1)
            text = text[:at] + self.rng.choice(["", self.rng.choice(alphabet)]) + text[at + self.rng.randrange(2) :]
        return text

    def json(self) -> str:
        text = json.dumps(self.value(), ensure_ascii=self.rng.random() < 0.5)
        return self.damaged(text, '{}[]",:0123456789.eE+-\\utfnl \n\t\x00/bé\ud800NaIy', 4)

    def base64(self) -> str:
        text = "".join(self.rng.choices("ABCDabcd0189+/", k=self.rng.randrange(24)))
        return self.damaged(text + "=" * self.rng.choice([0, 0, 0, 1, 2, 3, 4]), "=-_ \nAé%", 3)


def compare(inputs: int, seed: int) -> None:
    maker = Maker(seed)
    for _ in range(inputs // 2):
        text = maker.json()
        assert same(list(outcome(codecs.chosen().loads, text)), list(outcome(codecs.plain_loads, text))), repr(text)
        text = maker.base64()
        assert outcome(codecs.chosen().decode_base64, text) == outcome(codecs.plain_decode_base64, text), repr(text)


def test_damaged_texts() -> None:
    """A sample; the soak has a million."""
    compare(20_000, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_million_damaged_texts() -> None:
    """With a new seed each time, which a failure shows."""
    compare(1_000_000, seed=int(time.time()))


def long_audio(count: int, seed: int) -> None:
    """Hold the decoding by tables against the standard library, on long texts with a damage here and there."""
    maker = Maker(seed)
    for _ in range(count):
        text = base64.b64encode(maker.rng.randbytes(maker.rng.choice([9216, 9217, 9218, maker.rng.randrange(30_000)])))
        damaged = maker.damaged(text.decode(), "=\n-_é\x00 A", 2)
        sent = damaged.encode()
        if len(sent) > 4 and len(sent) % 4 == 0:  # it is for long ones: the last group is another's
            quick = outcome(codecs._decode_by_table, sent)  # it may leave a text to the other, and may refuse it
            assert quick == (True, None) or quick == outcome(codecs._decode_strictly, sent), damaged[:80]
        for form in (damaged, sent, memoryview(sent)):
            assert outcome(codecs.plain_decode_base64, form) == outcome(codecs.chosen().decode_base64, form)


def test_long_audio() -> None:
    """A sample; and what is whole is decoded by the tables, from the length on that they are used for."""
    long_audio(500, seed=3)
    whole = bytes(range(256)) * 40
    assert codecs._decode_by_table(base64.b64encode(whole)) == whole


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_much_long_audio() -> None:
    """With a new seed each time."""
    long_audio(20_000, seed=int(time.time()))


class Named(str):
    """A string that shows itself as something else, as members of an ``Enum`` do."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"

    def __format__(self, spec: str) -> str:
        return "shown"


def test_flat_events_are_written_as_any_other() -> None:
    """What has texts alone is put together by hand, with the same bytes, or refused alike."""
    maker = Maker(4)
    for _ in range(5_000):
        kind = maker.rng.choice(["x.y", Named("x.y"), "x\ty", "x\u2028y", "é"])
        event = {"type": kind, maker.json(): maker.json(), Named("event_id"): maker.base64()}
        try:
            plain = message._ENCODER.encode(event).encode()
        except UnicodeEncodeError:
            with pytest.raises(EventError, match="surrogate"):
                message.encode_event(event)
        else:
            assert message.encode_event(event) == plain


def test_the_suite_passes_on_the_standard_library() -> None:
    """Receiving, sending and the codecs themselves, without what [speed] brings."""
    tests = ["tests/test_receive.py", "tests/test_send.py", "tests/test_codecs.py"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-m",
            "not soak",
            *tests,
            "-k",
            "not suite",
        ],
        env={**os.environ, "MESHAPI_RT_PURE": "1"},
        capture_output=True,
        text=True,
        timeout=4 * LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_pure_means_pure() -> None:
    """MESHAPI_RT_PURE=1 leaves the faster packages alone; else they are used where they are installed."""
    names = {"msgspec", "pybase64", "websockets.speedups"}
    program = f"import sys; from meshapi_rt.codecs import chosen; chosen(); print(*{names} & set(sys.modules))"
    installed = {name for name in names if importlib.util.find_spec(name.partition(".")[0])}
    for pure, used in (("1", set()), ("0", installed)):
        env = {**os.environ, "MESHAPI_RT_PURE": pure}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == used


# -- audio cut out of the text ---


def delta(audio: str, **more: Any) -> dict[str, Any]:
    ids = {"event_id": "event_1", "response_id": "resp_1", "item_id": "item_1", "output_index": 0}
    return {"type": "response.output_audio.delta", **ids, "delta": audio, **more}


AUDIO = codecs.plain_encode_base64(random.Random(5).randbytes(3000)).decode()
TRICKS: list[Any] = [
    delta(AUDIO),
    delta(AUDIO[:-1]),
    delta(AUDIO[:-4] + "AB=="),
    delta(AUDIO + "\\"),
    delta(AUDIO + '"'),
    delta(AUDIO + "é"),
    delta("", note=AUDIO),
    delta(AUDIO, x={"delta": AUDIO[4:]}),
    {"x": {"delta": AUDIO[4:]}, **delta(AUDIO)},
    {"x": {"delta": AUDIO}, **delta("")},
    {"note": '"delta":"' + AUDIO, **delta("AAAA")},
    {"delta": AUDIO, "type": "response.audio.delta"},
    {"delta": AUDIO, "type": "x.audio.delta"},
    {"delta": AUDIO, "type": ["response.output_audio.delta"]},
    [delta(AUDIO)],
    {"type": "error", "delta": AUDIO, "x": 'audio.delta"', "error": {"message": "m"}},
    {"pad": "x" * 990, **delta(AUDIO)},
]
TEXTS = [
    json.dumps(trick, separators=form, ensure_ascii=False) for trick in TRICKS for form in ((",", ":"), (", ", ": "))
]
TEXTS += [
    TEXTS[0].replace('"delta":', '"delta" :'),
    TEXTS[0].replace('"delta":', '"delta":  '),
    TEXTS[0].replace('"delta":', '"delta":\n'),
    TEXTS[0][:-1] + f',"delta":"{AUDIO[8:]}"}}',
    '{"delta":"AAAA",' + TEXTS[0][1:],
    TEXTS[0][:-1],
    TEXTS[0] + " x",
    TEXTS[0].replace('"delta":"', '"delta":['),
    TEXTS[0].replace("delta", "d\\u0065lta"),
]
# Long enough for the direct way without much audio, too.
LONG = json.dumps(delta(AUDIO, item_id="i" * 840, note="n" * 180), separators=(",", ":"))
TEXTS += [
    text.replace(audio, other)
    for text in (TEXTS[0], LONG)
    for audio, other in (
        (AUDIO, AUDIO),
        (AUDIO + '"', ""),  # what stands before the audio and what stands behind it share a character
        (AUDIO, "AAAA"),
        (AUDIO, "AAA"),
    )
]


def check_direct(text: str) -> None:
    """Hold the direct decoding of an event against the plain one, also behind an event that is much like it."""
    other = Decoder()._plainly(text, len(text.encode()))
    short, long = Decoder(), Decoder()
    short.text(TEXTS[0].encode())
    long.text(LONG.encode())
    for decoder in (Decoder(), short, short, long, long):
        one = decoder.text(memoryview(text.encode()))
        assert one.size == len(text.encode())
        assert (one.audio, one.text, one.type) == (other.audio, other.text, other.type), text[:200]
        assert same(one.event, other.event), text[:200]
        assert (one.error is None) == (other.error is None)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_audio_cut_out_of_the_text(text: str) -> None:
    """Whatever stands around it, the message is the one that a parse of the whole text gives."""
    check_direct(text)


def direct_inputs(count: int, seed: int) -> None:
    maker = Maker(seed)
    for _ in range(count):
        check_direct(maker.damaged(maker.rng.choice(TEXTS), '{}[]",:0123456789=+/\\ulteda A', 6))


def test_damaged_audio_events() -> None:
    """A sample; the soak has more."""
    direct_inputs(5_000, seed=2)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_many_damaged_audio_events() -> None:
    """With a new seed each time."""
    direct_inputs(300_000, seed=int(time.time()))
