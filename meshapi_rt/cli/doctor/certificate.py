"""Who issued a certificate, and until when: read from its DER form, as ``ssl`` tells nothing of one that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import attrs

__all__ = ["Certificate"]

_VERSION = 0xA0  # the tag of an optional first field
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"  # object identifiers 2.5.4.3 and 2.5.4.10
_UTF16 = 0x1E  # a string of two bytes per character; the other kinds are read as UTF-8


@attrs.frozen
class Certificate:
    """What a certificate tells of itself; whether it is true is for TLS to say.

    Attributes:
        issuer: Organization and name of the authority.
        not_before: Since when it is valid.
        not_after: Until when.
    """

    issuer: str
    not_before: datetime
    not_after: datetime

    @classmethod
    def read(cls, der: bytes) -> Certificate:
        """Read a certificate (RFC 5280, section 4.1).

        Raises:
            ValueError: It is none.
        """
        try:
            (_, whole), *_ = _values(der)
            (_, facts), *_ = _values(whole)
            fields = [value for tag, value in _values(facts) if tag != _VERSION]
            _serial, _algorithm, issuer, validity = fields[:4]
            begin, end = _values(validity)
            return cls(_name(issuer), _moment(*begin), _moment(*end))
        except (IndexError, ValueError) as exc:
            raise ValueError("not a certificate") from exc


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give tag and content of each value, one behind the other."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("it ends early")
        yield tag, data[at : at + size]
        at += size


def _name(issuer: bytes) -> str:
    """Return organization and common name, or what of them there is."""
    told: dict[bytes, str] = {}
    for _, group in _values(issuer):
        for _, pair in _values(group):
            (_, kind), (tag, text) = _values(pair)
            told.setdefault(kind, text.decode("utf-16-be" if tag == _UTF16 else "utf-8", "replace"))
    parts = [told[kind] for kind in (_ORGANIZATION, _COMMON_NAME) if told.get(kind)]
    return ", ".join(parts) or "an authority without a name"


def _moment(tag: int, text: bytes) -> datetime:
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time")
    # Two digits of a year stand for 1950 to 2049 (RFC 5280, section 4.1.2.5.1).
    century = "" if tag == _GENERALIZED_TIME else "19" if text[:2] >= b"50" else "20"
    return datetime.strptime(century + text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
