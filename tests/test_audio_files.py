"""The room audio_files: every kind of WAV, other formats, bad files, and writing."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshapi_rt import audio_files, pcm
from meshapi_rt.errors import AudioFileError, AudioFormatError, MissingExtraError

QUESTION = Path(__file__).parent.parent / "examples" / "question.wav"
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")

RAMP = np.arange(-32768, 32768, 7).astype("<i2")
STEREO = np.stack([RAMP, RAMP[::-1] // 2], axis=1)


def chunk(kind: bytes, body: bytes, *, size: int | None = None) -> bytes:
    """Return a RIFF chunk, padded; *size* is what its header claims."""
    return kind + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def fmt(tag: int, channels: int, rate: int, bits: int, *, frame_bytes: int | None = None) -> bytes:
    """Return the format chunk of a plain header."""
    width = channels * bits // 8 if frame_bytes is None else frame_bytes
    body = struct.pack("<HHIIHH", tag, channels, rate, rate * width & 0xFFFFFFFF, width, bits)
    return chunk(b"fmt ", body)


def extensible(tag: int, channels: int, rate: int, bits: int, tail: bytes = GUID_TAIL) -> bytes:
    """Return the format chunk of an extensible header."""
    plain = fmt(0xFFFE, channels, rate, bits)[8:]
    return chunk(b"fmt ", plain + struct.pack("<HHIH", 22, bits, 0, tag) + tail)


def riff(*chunks: bytes, size: int | None = None) -> io.BytesIO:
    """Return a WAV file of these chunks; *size* is what its header claims."""
    body = b"WAVE" + b"".join(chunks)
    return io.BytesIO(b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body)


def mono16(*, rate: int = 24_000) -> bytes:
    """Return the format chunk of 16-bit mono."""
    return fmt(1, 1, rate, 16)


DATA = chunk(b"data", RAMP.tobytes())


# -- formats ---


def in_24_bits(samples: Any) -> bytes:
    """Return 16-bit samples as packed 24-bit ones."""
    return bytes((samples.astype("<i4") << 8).view(np.uint8).reshape(-1, 4)[:, :3])


ENCODINGS: list[Any] = [
    pytest.param(1, 8, lambda x: ((x >> 8) + 128).astype(np.uint8).tobytes(), 255, id="8-bit"),
    pytest.param(1, 16, lambda x: x.astype("<i2").tobytes(), 0, id="16-bit"),
    pytest.param(1, 24, in_24_bits, 0, id="24-bit"),
    pytest.param(1, 32, lambda x: (x.astype("<i4") << 16).tobytes(), 0, id="32-bit"),
    pytest.param(3, 32, lambda x: (x / 32768).astype("<f4").tobytes(), 0, id="float"),
    pytest.param(3, 64, lambda x: (x / 32768).astype("<f8").tobytes(), 0, id="double"),
    pytest.param(6, 8, lambda x: pcm.alaw_encode(x.reshape(-1)), 1024, id="a-law"),
    pytest.param(7, 8, lambda x: pcm.ulaw_encode(x.reshape(-1)), 1024, id="mu-law"),
]


@pytest.mark.parametrize("header", [fmt, extensible])
@pytest.mark.parametrize(("tag", "bits", "encode", "tolerance"), ENCODINGS)
def test_every_encoding_gives_the_samples(header: Any, tag: int, bits: int, encode: Any, tolerance: int) -> None:
    """Plain and extensible headers, each encoding as exact as it can be, all channels in their places."""
    file = riff(header(tag, 2, 24_000, bits), chunk(b"data", encode(STEREO)))

    samples = audio_files.read(file, mono=False)

    assert samples.dtype == np.int16
    assert samples.shape == STEREO.shape
    assert samples.flags.writeable
    assert np.abs(samples.astype(int) - STEREO).max() <= tolerance


@pytest.mark.parametrize("header", [fmt, extensible])
@pytest.mark.parametrize(("tag", "bits", "encode", "tolerance"), ENCODINGS)
def test_soundfile_reads_the_same(header: Any, tag: int, bits: int, encode: Any, tolerance: int) -> None:
    """An independent reader finds the same samples in the same file."""
    soundfile = pytest.importorskip("soundfile")
    file = riff(header(tag, 2, 24_000, bits), chunk(b"data", encode(STEREO)))

    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), always_2d=True)

    assert np.abs(audio_files.read(file, mono=False) / 32768 - expected).max() <= 1 / 32768


@pytest.mark.parametrize(("subtype", "kind"), [("PCM_24", "int32"), ("FLOAT", "float32"), ("DOUBLE", "float64")])
@pytest.mark.parametrize("format_", ["WAV", "WAVEX"])
def test_what_soundfile_writes_is_read(subtype: str, kind: str, format_: str) -> None:
    """Headers of another writer, with its extra chunks."""
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, STEREO / 32768, 24_000, format=format_, subtype=subtype)
    file.seek(0)

    assert np.array_equal(audio_files.read(file, mono=False), STEREO)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 64])
def test_any_number_of_channels_is_mixed_to_mono(channels: int) -> None:
    """By the mean of the channels."""
    frames = np.stack([RAMP // (1 + i) for i in range(channels)], axis=1)
    file = riff(fmt(1, channels, 24_000, 16), chunk(b"data", frames.tobytes()))

    samples = audio_files.read(file)

    assert np.array_equal(samples, np.rint(frames.mean(axis=1)))


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_any_rate_is_resampled(rate: int) -> None:
    """A second at any rate is a second at 24 kHz, and the tone stays."""
    pytest.importorskip("soxr")
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    file = riff(mono16(rate=rate), chunk(b"data", pcm.to_bytes(tone)))

    samples = audio_files.read(file)

    assert abs(samples.size - 24_000) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples.size) / 24_000)
    assert np.abs(samples / 32768 - expected)[1000:-1000].max() < 1e-3


def test_channels_can_be_kept_and_resampled() -> None:
    """Without mono each channel is resampled for itself; the file's own rate needs no soxr."""
    pytest.importorskip("soxr")
    file = riff(fmt(1, 2, 48_000, 16), chunk(b"data", STEREO.tobytes()))

    halved = audio_files.read(io.BytesIO(file.getvalue()), mono=False)
    same = audio_files.read(file, mono=False, rate=48_000)

    assert halved.shape == ((len(STEREO) + 1) // 2, 2)
    assert np.array_equal(same, STEREO)


def test_floats_beyond_the_scale_are_clipped() -> None:
    """A recording that is too loud is still a recording."""
    loud = np.array([2, -2, np.inf, 0.5], "<f4")

    samples = audio_files.read(riff(fmt(3, 1, 24_000, 32), chunk(b"data", loud.tobytes())))

    assert samples.tolist() == [32767, -32768, 32767, 16384]


def test_odd_numbers_of_bits_lie_left_justified() -> None:
    """12 bits in 16 need no special treatment."""
    file = riff(fmt(1, 1, 24_000, 12, frame_bytes=2), DATA)

    assert np.array_equal(audio_files.read(file), RAMP)


@pytest.mark.parametrize("format_", ["FLAC", "AIFF", "RF64", "OGG", "MP3"])
def test_other_formats_go_through_soundfile(format_: str) -> None:
    """Several blocks of stereo join without a seam and are mixed down as WAV is."""
    soundfile = pytest.importorskip("soundfile")
    if format_ not in soundfile.available_formats():
        pytest.skip(f"this libsndfile knows no {format_}")
    speech = np.tile(audio_files.read(QUESTION) // 2, 6)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 24_000, 2, format=format_) as writer:
        for part in np.array_split(np.stack([speech, speech], axis=1), 100):  # OGG crashes on long writes
            writer.write(part)

    samples = audio_files.read(io.BytesIO(file.getvalue()))

    file.seek(0)
    at_once, _ = soundfile.read(file)
    assert at_once.size > 1 << 20
    assert samples.shape == at_once.shape[:1]
    assert np.abs(samples / 32768 - at_once.mean(axis=1)).max() <= 1 / 32768


# -- odd but sound ---


def test_chunks_around_the_samples_are_passed_over() -> None:
    """Padding, unknown chunks before and after, and a second data chunk change nothing."""
    odd = chunk(b"LIST", b"odd")
    file = riff(odd, mono16(), odd, chunk(b"fact", bytes(4)), DATA, odd, chunk(b"data", b"abcd"))

    assert np.array_equal(audio_files.read(file), RAMP)


@pytest.mark.parametrize(("riff_size", "data_size"), [(0, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF), (36, 0xFFFFFFFF)])
def test_a_streaming_writer_leaves_the_sizes_open(riff_size: int, data_size: int) -> None:
    """The samples then go on to the end of the file."""
    file = riff(mono16(), chunk(b"data", RAMP.tobytes(), size=data_size), size=riff_size)

    assert np.array_equal(audio_files.read(file), RAMP)


def test_an_empty_recording_is_empty() -> None:
    """A size of 0 from a writer that finished its header is meant, even with a chunk behind it."""
    assert audio_files.read(riff(mono16(), chunk(b"data", b""))).shape == (0,)
    assert audio_files.read(riff(mono16(), chunk(b"data", b""), chunk(b"LIST", bytes(8)))).shape == (0,)
    assert audio_files.read(riff(fmt(3, 2, 8_000, 32), chunk(b"data", b"")), mono=False).shape == (0, 2)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_file_cut_off_gives_the_frames_that_are_there(cut: int) -> None:
    """A partial frame at the end is dropped."""
    whole = riff(fmt(1, 2, 24_000, 16), chunk(b"data", STEREO.tobytes())).getvalue()

    samples = audio_files.read(io.BytesIO(whole[:-cut]), mono=False)

    assert np.array_equal(samples, STEREO[:-1])


def test_a_lying_size_costs_no_memory() -> None:
    """The header claims 4 GiB, the file has 128 KiB."""
    file = riff(mono16(), chunk(b"data", bytes(1 << 17), size=0xFFFFFFF0))
    tracemalloc.start()

    samples = audio_files.read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert samples.size == 1 << 16
    assert peak < 4 << 20


# -- bad files ---


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is empty"),
        (b"RIFF", "no format chunk"),
        (riff().getvalue(), "no format chunk; it may be cut off"),
        (riff(mono16()).getvalue(), "no data chunk"),
        (riff(DATA).getvalue(), "no format chunk"),
        (riff(chunk(b"fmt ", bytes(10)), DATA).getvalue(), "its format chunk has 10 bytes, not 16"),
        (riff(fmt(1, 0, 24_000, 16), DATA).getvalue(), "0 channels of 16 bits"),
        (riff(fmt(1, 2, 24_000, 16, frame_bytes=3), DATA).getvalue(), "in frames of 3 bytes"),
        (riff(mono16(rate=0), DATA).getvalue(), "says 0 Hz"),
        (riff(mono16(rate=7), DATA).getvalue(), "says 7 Hz, which is not within 1000 to 1000000"),
        (riff(fmt(0x55, 1, 24_000, 16), DATA).getvalue(), "its codec (format 0x0055, 16 bits) is unknown"),
        (riff(fmt(1, 1, 24_000, 0), DATA).getvalue(), "(format 0x0001, 0 bits) is unknown"),
        (riff(fmt(3, 1, 24_000, 16), DATA).getvalue(), "(format 0x0003, 16 bits) is unknown"),
        (riff(extensible(1, 1, 24_000, 16, bytes(14)), DATA).getvalue(), "(format 0xfffe, 16 bits)"),
        (
            riff(fmt(3, 1, 24_000, 32), chunk(b"data", np.array([0, np.nan], "<f4").tobytes())).getvalue(),
            "audio[1] is nan",
        ),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(data: bytes, says: str, tmp_path: Path) -> None:
    """The error names the path and what was seen."""
    path = tmp_path / "bad.wav"
    path.write_bytes(data)

    with pytest.raises(AudioFileError) as caught:
        audio_files.read(path)

    assert str(caught.value).startswith(f"cannot read {str(path)!r}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"not audio at all", b"\x00" * 100, b"fLaC" + bytes(100), b"RIFFxxxxAVI LIST"])
def test_what_is_no_audio_is_refused(data: bytes) -> None:
    """Whatever soundfile says about it becomes the one error."""
    pytest.importorskip("soundfile")

    with pytest.raises(AudioFileError, match="cannot read the audio file: no audio file, or a damaged one"):
        audio_files.read(io.BytesIO(data))


def test_without_soundfile_other_formats_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And WAV goes without it."""
    monkeypatch.setitem(sys.modules, "soundfile", None)

    assert audio_files.read(riff(mono16(), DATA)).size == RAMP.size
    with pytest.raises(MissingExtraError, match=r"which is no WAV file, needs .*meshapi-rt\[audio\]"):
        audio_files.read(io.BytesIO(b"fLaC"))


def test_without_soxr_another_rate_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same rate goes without it."""
    monkeypatch.setitem(sys.modules, "soxr", None)
    data = riff(mono16(rate=8_000), DATA).getvalue()

    assert audio_files.read(io.BytesIO(data), rate=8_000).size == RAMP.size
    with pytest.raises(MissingExtraError, match="resampling needs"):
        audio_files.read(io.BytesIO(data))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The system's own error is the cause."""
    with pytest.raises(AudioFileError, match=r"cannot read .*none\.wav'") as caught:
        audio_files.read(tmp_path / "none.wav")

    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Directories, impossible paths, text, closed files, and things that are no file at all."""
    closed = io.BytesIO()
    closed.close()
    sources: list[Any] = [tmp_path, str(tmp_path), "a\0b", io.StringIO("RIFF"), closed, None, 5, b"RIFF", [1]]

    for source in sources:
        with pytest.raises(AudioFileError):
            audio_files.read(source)
        with pytest.raises(AudioFileError):
            audio_files.write(source, RAMP)


@pytest.mark.parametrize("rate", [0, 999, 1_000_001, 24_000.0, None])
def test_impossible_rates_are_refused(rate: Any) -> None:
    """Before any file is touched."""
    with pytest.raises(ValueError, match="rate must be a whole number of Hz from 1000 to 1000000"):
        audio_files.read("none.wav", rate=rate)
    with pytest.raises(ValueError, match="rate must be"):
        audio_files.write("none.wav", RAMP, rate=rate)


def some_files() -> list[bytes]:
    """Return small sound files of several kinds, for others to damage."""
    few = RAMP[:40].tobytes()
    headers = [mono16(), extensible(1, 2, 24_000, 24), fmt(3, 1, 24_000, 32), fmt(3, 2, 8_000, 64), fmt(7, 1, 8_000, 8)]
    return [riff(chunk(b"LIST", b"odd"), header, chunk(b"data", few)).getvalue() for header in headers]


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(some_files()),
    st.lists(st.tuples(st.integers(0, 120), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 200),
    st.booleans(),
)
def test_damage_leads_to_one_of_two_errors(data: bytes, changes: list[tuple[int, bytes]], end: int, mono: bool) -> None:
    """A file with bytes changed and its end cut off is read, or refused in one clear sentence."""
    damaged = bytearray(data)
    for at, new in changes:
        damaged[at : at + len(new)] = new

    try:
        samples = audio_files.read(io.BytesIO(bytes(damaged[:end])), mono=mono)
    except (AudioFileError, MissingExtraError) as exc:
        assert "\n" not in str(exc)
    else:
        assert samples.dtype == np.int16
        assert samples.ndim == (1 if mono else 2)


# -- writing ---


@given(st.binary(max_size=400).map(lambda raw: raw[: len(raw) // 2 * 2]), st.integers(1_000, 1_000_000))
def test_what_is_written_is_read(raw: bytes, rate: int) -> None:
    """To the last bit, at every rate."""
    data = audio_files.wav_bytes(raw, rate)

    assert len(data) == 44 + len(raw)
    assert pcm.to_bytes(audio_files.read(io.BytesIO(data), rate=rate)) == raw


def test_others_read_what_is_written(tmp_path: Path) -> None:
    """The standard library finds a plain 16-bit mono file."""
    import wave

    path = tmp_path / "out.wav"

    audio_files.write(path, RAMP / 32768, rate=16_000)

    with wave.open(str(path)) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, RAMP.size)
        assert file.readframes(RAMP.size) == RAMP.tobytes()


def test_paths_and_files_are_written_alike(tmp_path: Path) -> None:
    """A string, a path, an open file: the same bytes; what was there before is gone; files stay open."""
    path, file = tmp_path / "out.wav", io.BytesIO()
    path.write_bytes(bytes(1_000_000))

    audio_files.write(path, RAMP)
    audio_files.write(str(tmp_path / "two.wav"), RAMP)
    audio_files.write(file, RAMP)

    expected = audio_files.wav_bytes(RAMP)
    assert path.read_bytes() == (tmp_path / "two.wav").read_bytes() == file.getvalue() == expected


def test_bad_audio_leaves_the_file_alone(tmp_path: Path) -> None:
    """It is checked before the file is opened."""
    path = tmp_path / "out.wav"
    path.write_bytes(b"before")

    with pytest.raises(AudioFormatError):
        audio_files.write(path, b"abc")

    assert path.read_bytes() == b"before"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One sentence with the path, and the system's error as its cause."""
    with pytest.raises(AudioFileError, match=r"cannot write .*out\.wav'") as caught:
        audio_files.write(tmp_path / "none" / "out.wav", RAMP)

    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_failure_leaves_no_half_file(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk."""
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "out.wav"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(AudioFileError, match="cannot write"):
            audio_files.write(path, RAMP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_device_is_not_removed(tmp_path: Path) -> None:
    """Only half a file is; a link to a device that fails stays where it was."""
    link = tmp_path / "full"
    link.symlink_to("/dev/full")

    with pytest.raises(AudioFileError, match="cannot write"):
        audio_files.write(link, RAMP)

    assert link.is_char_device()


def test_a_growing_file_can_be_read_at_any_time(tmp_path: Path) -> None:
    """What was added so far can be read, also after a crash; once closed, the file is as if written at once."""
    path = tmp_path / "a.wav"
    writer = audio_files.WavWriter(path, rate=16_000)
    writer.write(RAMP[:1000])
    during = audio_files.read(path, rate=16_000)
    writer.write(RAMP[1000:].tobytes())
    writer.close()
    writer.close()

    assert np.array_equal(during, RAMP[:1000])
    assert path.read_bytes() == audio_files.wav_bytes(RAMP, 16_000)
    with pytest.raises(AudioFileError, match=r"cannot write .*a\.wav"):
        writer.write(RAMP)


def test_a_growing_file_refuses_what_it_cannot_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that cannot be written, bad audio, and more than WAV can hold are told; the file stays good."""
    with pytest.raises(AudioFileError, match="cannot write"):
        audio_files.WavWriter(tmp_path)
    with pytest.raises(ValueError, match="rate must be"):
        audio_files.WavWriter(tmp_path / "a.wav", rate=0)
    monkeypatch.setattr(audio_files, "_LONGEST", 100)
    writer = audio_files.WavWriter(tmp_path / "a.wav")
    with pytest.raises(AudioFormatError):
        writer.write(b"odd")
    with pytest.raises(AudioFileError, match="a WAV file holds 100 bytes"):
        writer.write(RAMP)
    writer.write(RAMP[:50])
    writer.close()

    assert np.array_equal(audio_files.read(tmp_path / "a.wav"), RAMP[:50])


def test_what_wav_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes in the header have 32 bits; shown with a smaller limit."""
    monkeypatch.setattr(audio_files, "_LONGEST", 1_000)

    with pytest.raises(AudioFileError, match="a WAV file holds 1000; write it in parts"):
        audio_files.wav_bytes(bytes(1_002))


# -- the example ---


def test_the_example_is_speech_as_the_protocol_wants_it() -> None:
    """A few seconds of 24 kHz mono, loud enough, quiet at both ends, in a plain small file."""
    data = QUESTION.read_bytes()
    samples = audio_files.read(QUESTION)

    assert audio_files.wav_bytes(samples) == data
    assert len(data) < 250 * 1024
    assert 3 < pcm.duration(samples) < 5
    assert -30 < pcm.level(samples) < -15
    assert -3.5 < 20 * np.log10(np.abs(samples.astype(int)).max() / 32768) < -2.5
    assert pcm.level(samples[:4_000]) < -60
    assert pcm.level(samples[-4_000:]) < -60
