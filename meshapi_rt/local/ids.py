"""Identifiers, in the shape that the live service gives them (protocol.md 6, "First frames and ids")."""

from __future__ import annotations

import secrets
import string

__all__ = ["new_call_id", "new_id", "new_request_id"]

_ALPHABET = string.digits + string.ascii_letters


def _random_text(length: int) -> str:
    # 256 is no multiple of 62: eight characters are a little likelier. Unique is all an id has to be.
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length))


def new_id(prefix: str) -> str:
    """Make an opaque id: *prefix* (``event``, ``item``, ``resp``, ``sess``, ``conv``) and 21 characters."""
    return f"{prefix}_{_random_text(21)}"


def new_call_id() -> str:
    """Make the id of a function call: shorter than the others, clients may not pass 32 characters."""
    return f"call_{_random_text(16)}"


def new_request_id() -> str:
    """Make the id that a terminal error names for the support (protocol.md 1.7)."""
    return f"req_{_random_text(26)}"
