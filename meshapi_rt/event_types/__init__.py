"""Types of the events that go back and forth, for type checkers and editors; nothing is checked at run time.

One ``TypedDict`` for each event, named after its ``type`` (``response.done``: ``ResponseDoneEvent``), and for each
object inside of one. ``ClientEvent`` and ``ServerEvent`` are the unions, told apart by ``type``::

    if (event := msg.event) and event["type"] == "response.done":
        print(event["response"].get("status"))

    match event["type"]:
        case "response.output_text.delta":
            print(event["delta"])

A field that the protocol does not require may be absent or ``None``. Servers may send more than is told here, new
fields and new events as well as retired ones: they pass through, and exist at run time only.
"""

from . import audio, client, items, responses, server, server_input, server_output, sessions, told, tools
from .audio import *
from .client import *
from .items import *
from .responses import *
from .server import *
from .server_input import *
from .server_output import *
from .sessions import *
from .told import *
from .tools import *

__all__ = []
__all__ += audio.__all__
__all__ += client.__all__
__all__ += items.__all__
__all__ += responses.__all__
__all__ += server.__all__
__all__ += server_input.__all__
__all__ += server_output.__all__
__all__ += sessions.__all__
__all__ += told.__all__
__all__ += tools.__all__
