"""The keeper of the user's audio: bounded, and in step with the server's clock."""

from __future__ import annotations

from meshapi_rt.keeping import AudioKeeper


def audio(milliseconds: int, value: int = 1) -> memoryview:
    return memoryview(bytes([value]) * (48 * milliseconds))


def test_memory_is_bounded() -> None:
    """By turns, and while nobody speaks, also after speech that was cleared."""
    keeper = AudioKeeper(10_000)
    keeper.observe({"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 0})
    keeper.observe({"type": "input_audio_buffer.cleared"})
    for _ in range(100):
        keeper.appended(audio(100))
    assert sum(map(len, keeper._pieces)) <= 10_000 + 4800
    for n in range(10):
        keeper.appended(audio(50))
        keeper.observe({"type": "input_audio_buffer.committed", "item_id": f"turn {n}"})
    kept = [n for n in range(10) if keeper.audio_of(f"turn {n}") is not None]
    assert kept == list(range(kept[0], 10))
    assert sum(len(keeper.audio_of(f"turn {n}") or b"") for n in kept) <= 10_000


def test_a_turn_that_ended_before_what_is_kept() -> None:
    """The clock does not run backwards."""
    keeper = AudioKeeper(10_000)
    for _ in range(100):
        keeper.appended(audio(100))
    keeper.observe({"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 100})
    keeper.observe({"type": "input_audio_buffer.speech_stopped", "item_id": "a", "audio_end_ms": 200})
    keeper.observe({"type": "input_audio_buffer.committed", "item_id": "a"})
    keeper.observe({"type": "input_audio_buffer.committed", "item_id": "b"})
    keeper.appended(audio(100, 2))
    keeper.observe({"type": "input_audio_buffer.committed", "item_id": "c"})
    assert keeper.audio_of("c") == bytes(audio(100, 2))


def test_turns_by_voice_detection() -> None:
    """Cut by the announced times; what lies before a turn is dropped, what lies behind stays for the next."""
    keeper = AudioKeeper(1_000_000)
    for value in range(10):
        keeper.appended(audio(100, value))
    keeper.observe({"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 200})
    keeper.observe({"type": "input_audio_buffer.speech_stopped", "item_id": "a", "audio_end_ms": 500})
    keeper.observe({"type": "input_audio_buffer.committed", "item_id": "a"})
    assert keeper.audio_of("a") == b"".join(bytes(audio(100, value)) for value in (2, 3, 4))
    keeper.observe({"type": "input_audio_buffer.committed", "item_id": "b"})
    assert keeper.audio_of("b") == b"".join(bytes(audio(100, value)) for value in range(5, 10))
    keeper.observe({"type": "conversation.item.deleted", "item_id": "a"})
    assert keeper.audio_of("a") is None


def test_both_sides_share_the_bound() -> None:
    """The item that began first goes first, as a whole; one that had to go while it grows does not come again."""
    keeper = AudioKeeper(10_000)
    keeper.appended(audio(50))
    keeper.observe({"type": "input_audio_buffer.committed", "item_id": "asked"})
    for _ in range(3):
        keeper.spoken("said", bytes(audio(50, 2)))
    assert keeper.audio_of("asked") == bytes(audio(50))
    assert keeper.length_of("said") == 7200
    keeper.spoken("said", bytes(audio(50, 2)))
    assert keeper.audio_of("asked") is None
    assert keeper.audio_of("said") == bytes(audio(200, 2))
    keeper.spoken("said", bytes(audio(50, 2)))
    assert keeper.audio_of("said") is None
    keeper.spoken("said", bytes(audio(50, 2)))
    assert keeper.audio_of("said") is None
    keeper.spoken("next", bytes(audio(50, 3)))
    assert keeper.audio_of("next") == bytes(audio(50, 3))
    keeper.observe({"type": "conversation.item.deleted", "item_id": "next"})
    assert keeper.length_of("next") is None
