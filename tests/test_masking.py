"""Frames of a client, with the faster package and without: header, key and payload are what RFC 6455 5.2 wants."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from meshapi_rt import codecs
from meshapi_rt.transport import masking
from meshapi_rt.transport.frames import BINARY, CLOSE, PING, PONG, TEXT
from meshapi_rt.transport.masking import Encode

SIZES = [*range(140), 1372, 6500, 65_534, 65_535, 65_536, 65_537, 2_500_001]


@pytest.fixture(params=["chosen", "numpy"])
def encode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Encode:
    found = codecs.chosen()
    if request.param == "numpy":
        monkeypatch.setattr(masking, "chosen", lambda: attrs.evolve(found, mask=None))
    elif found.mask is None:
        pytest.skip("no faster package is installed")
    return masking.encoder()


def read(frame: bytes) -> tuple[int, bytes, bytes]:
    """Return the opcode, the key and the unmasked payload of a client's frame, byte by byte."""
    assert frame[0] & 0xF0 == 0x80
    assert frame[1] & 0x80
    length, at = frame[1] & 0x7F, 2
    if length >= 126:
        width = 2 if length == 126 else 8
        length, at = int.from_bytes(frame[2 : 2 + width], "big"), 2 + width
        assert length >= (126 if width == 2 else 65_536)
    key, masked = frame[at : at + 4], frame[at + 4 :]
    assert len(masked) == length
    return frame[0] & 0x0F, key, bytes(byte ^ key[place & 3] for place, byte in enumerate(masked))


@pytest.mark.parametrize("size", SIZES)
def test_every_size(encode: Encode, size: int) -> None:
    """A payload of any length comes back whole, with the shortest header that holds it."""
    payload = random.Random(size).randbytes(size)
    assert read(bytes(encode(BINARY, payload)))[::2] == (BINARY, payload)


def test_one_after_the_other(encode: Encode) -> None:
    """Frames of changing kinds and lengths mix nothing, and each has a key of its own."""
    luck, keys = random.Random(7), set()
    for _ in range(2000):
        opcode = luck.choice((TEXT, BINARY, PING, PONG, CLOSE))
        payload = luck.randbytes(luck.choice((0, 3, 4, 5, 125, 126, 1372, 1372, 1372)))
        found, key, unmasked = read(bytes(encode(opcode, payload)))
        assert (found, unmasked) == (opcode, payload)
        keys.add(key)

    assert len(keys) > 1990


def test_from_many_threads(encode: Encode) -> None:
    """Connections that make frames at the same time have keys of their own, and mix nothing."""

    def make(number: int) -> set[bytes]:
        payload, one = bytes([number]) * 1372, masking.encoder()
        frames = [read(bytes(one(TEXT, payload))) for _ in range(200)]
        assert all(unmasked == payload for _, _, unmasked in frames)
        return {key for _, key, _ in frames}

    with ThreadPoolExecutor(8) as pool:
        assert len(set().union(*pool.map(make, range(8)))) > 1590


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_draws_keys_of_its_own(encode: Encode) -> None:
    """What the parent has in store is used by the parent alone: a key is for one frame."""
    encode(TEXT, b"")  # now there are some in store
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.write(into, read(bytes(encode(TEXT, b"")))[1])
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(out, 4) != read(bytes(encode(TEXT, b"")))[1]
    os.close(out)
    os.close(into)
