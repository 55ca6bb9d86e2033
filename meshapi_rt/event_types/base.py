"""What the rooms of event types share."""

import sys
from typing import TYPE_CHECKING, TypedDict

__all__ = ["ItemEventBase", "NotRequired", "Required", "ServerEventBase"]

if TYPE_CHECKING:
    from typing_extensions import NotRequired, Required  # type checkers know it, installed or not
elif sys.version_info >= (3, 11):
    from typing import NotRequired, Required
else:

    class _Mark:
        """Leaves the type that it marks, so that ``typing.get_type_hints`` gives what it gives elsewhere."""

        def __class_getitem__(cls, marked: object) -> object:
            return marked

    NotRequired = Required = _Mark


class ServerEventBase(TypedDict):
    """The server names each of its events."""

    event_id: str


class ItemEventBase(ServerEventBase):
    """Many of them are about an item of the conversation."""

    item_id: str
