"""The one room that knows websocket-client, sockets, TLS and proxies: whole messages in and out.

A ``websocket.WebSocket`` reads the URL, asks for the upgrade and checks the answer (``handshake``). The rest of it
is replaced, each part for a reason (figures: messages per second against its own frame path):

- ``frames``: its frames are read with one ``recv`` per header, length and payload, its UTF-8 check is written
  in Python, it has no size limit and sends no close codes for violations. Ours is 2.5 times as fast and strict.
- ``masking``: it XORs frames as integers, which takes 3.3 µs for 20 ms of audio; numpy takes 0.8, and what
  ``websockets`` compiles 0.2.
- ``connection`` and ``outgoing``: its ``close()`` beside a blocked reader hangs, and its timeout cuts frames in half.
- ``channel``: it reads and writes one SSL object from two threads at once, a data race inside OpenSSL.
- ``dial``: its name look-up, TCP, proxy and TLS steps share no deadline and cannot be cancelled.
- ``handshake`` and ``http_head``: its redirects, its cookie jar, its ``Origin`` and its trace, which shows the
  token, are kept out; an answer is bounded in size and an error's body is read.
"""

from .connection import Connection, Ended, Ending
from .frames import BINARY, TEXT
from .outgoing import CutOff, NotSent
from .watch import WATCHES, Watch

__all__ = ["BINARY", "TEXT", "WATCHES", "Connection", "CutOff", "Ended", "Ending", "NotSent", "Watch"]
