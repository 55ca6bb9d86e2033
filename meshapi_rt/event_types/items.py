"""Items of a conversation and their content (protocol.md 2.4)."""

from typing import Literal, TypeAlias, TypedDict

from .base import NotRequired

__all__ = [
    "ContentPart",
    "ConversationItem",
    "ItemStatus",
    "RealtimeConversationItemAssistantMessage",
    "RealtimeConversationItemAssistantMessageContent",
    "RealtimeConversationItemFunctionCall",
    "RealtimeConversationItemFunctionCallOutput",
    "RealtimeConversationItemSystemMessage",
    "RealtimeConversationItemSystemMessageContent",
    "RealtimeConversationItemUserMessage",
    "RealtimeConversationItemUserMessageContent",
    "RealtimeMcpApprovalRequest",
    "RealtimeMcpApprovalResponse",
    "RealtimeMcpError",
    "RealtimeMcpHttpError",
    "RealtimeMcpListTools",
    "RealtimeMcpListToolsTool",
    "RealtimeMcpProtocolError",
    "RealtimeMcpToolCall",
    "RealtimeMcpToolExecutionError",
    "ResponseItemReference",
]

ItemStatus: TypeAlias = Literal["completed", "incomplete", "in_progress"]


class _Item(TypedDict, total=False):
    id: str | None  # the client may choose it
    object: Literal["realtime.item"] | None
    status: ItemStatus | None


class RealtimeConversationItemSystemMessageContent(TypedDict, total=False):
    type: Literal["input_text"] | None
    text: str | None


class RealtimeConversationItemSystemMessage(_Item):
    type: Literal["message"]
    role: Literal["system"]
    content: list[RealtimeConversationItemSystemMessageContent]


class RealtimeConversationItemUserMessageContent(TypedDict, total=False):
    """Which fields it has follows from its ``type``; ``audio`` is base64, ``image_url`` may be a data URL."""

    type: Literal["input_text", "input_audio", "input_image"] | None
    audio: str | None
    detail: Literal["auto", "low", "high"] | None
    image_url: str | None
    text: str | None
    transcript: str | None


class RealtimeConversationItemUserMessage(_Item):
    type: Literal["message"]
    role: Literal["user"]
    content: list[RealtimeConversationItemUserMessageContent]


class RealtimeConversationItemAssistantMessageContent(TypedDict, total=False):
    """Audio comes in ``conversation.item.retrieved`` only."""

    type: Literal["output_text", "output_audio"] | None
    audio: str | None
    text: str | None
    transcript: str | None


class RealtimeConversationItemAssistantMessage(_Item):
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[RealtimeConversationItemAssistantMessageContent]
    phase: NotRequired[Literal["commentary", "final_answer"]]


class RealtimeConversationItemFunctionCall(_Item):
    """A call of a tool by the model; ``arguments`` is JSON text."""

    type: Literal["function_call"]
    arguments: str
    name: str
    call_id: NotRequired[str | None]


class RealtimeConversationItemFunctionCallOutput(_Item):
    """The answer to a call; ``output`` is text for the model, mostly JSON, and may be empty."""

    type: Literal["function_call_output"]
    call_id: str
    output: str


class RealtimeMcpListToolsTool(TypedDict):
    """One remote tool; ``input_schema`` is a JSON schema."""

    input_schema: object
    name: str
    annotations: NotRequired[object | None]
    description: NotRequired[str | None]


class RealtimeMcpListTools(TypedDict):
    """What a remote server offers."""

    type: Literal["mcp_list_tools"]
    server_label: str
    tools: list[RealtimeMcpListToolsTool]
    id: NotRequired[str | None]


class RealtimeMcpProtocolError(TypedDict):
    type: Literal["protocol_error"]
    code: int
    message: str


class RealtimeMcpToolExecutionError(TypedDict):
    type: Literal["tool_execution_error"]
    message: str


class RealtimeMcpHttpError(TypedDict):
    type: Literal["http_error"]
    code: int
    message: str


RealtimeMcpError: TypeAlias = RealtimeMcpProtocolError | RealtimeMcpToolExecutionError | RealtimeMcpHttpError


class RealtimeMcpToolCall(TypedDict):
    """A call of a remote tool, run by the server."""

    type: Literal["mcp_call"]
    id: str
    arguments: str
    name: str
    server_label: str
    approval_request_id: NotRequired[str | None]
    error: NotRequired[RealtimeMcpError | None]
    output: NotRequired[str | None]


class RealtimeMcpApprovalRequest(TypedDict):
    """A remote call that waits for a ``RealtimeMcpApprovalResponse``."""

    type: Literal["mcp_approval_request"]
    id: str
    arguments: str
    name: str
    server_label: str


class RealtimeMcpApprovalResponse(TypedDict):
    type: Literal["mcp_approval_response"]
    id: str
    approval_request_id: str
    approve: bool
    reason: NotRequired[str | None]


ConversationItem: TypeAlias = (
    RealtimeConversationItemSystemMessage
    | RealtimeConversationItemUserMessage
    | RealtimeConversationItemAssistantMessage
    | RealtimeConversationItemFunctionCall
    | RealtimeConversationItemFunctionCallOutput
    | RealtimeMcpApprovalResponse
    | RealtimeMcpListTools
    | RealtimeMcpToolCall
    | RealtimeMcpApprovalRequest
)


class ContentPart(TypedDict, total=False):
    """A part of a message while it is made; its types are shorter than those of a finished item."""

    type: Literal["text", "audio"] | None
    audio: str | None
    text: str | None
    transcript: str | None


class ResponseItemReference(TypedDict):
    """An item of the conversation, named in the ``input`` of a response."""

    type: Literal["item_reference"]
    id: str
