"""Tools that a model may call, and which of them it is to call (protocol.md 3.5)."""

from typing import Literal, TypeAlias, TypedDict

from .base import NotRequired, Required

__all__ = [
    "McpConnector",
    "McpToolApprovalFilter",
    "McpToolFilter",
    "RealtimeFunctionTool",
    "RealtimeMcpTool",
    "RealtimeTool",
    "RealtimeToolChoice",
    "ToolChoiceFunction",
    "ToolChoiceMcp",
]


class RealtimeFunctionTool(TypedDict, total=False):
    """A function of the client; ``parameters`` is a JSON schema."""

    type: Literal["function"] | None
    description: str | None
    name: str | None
    parameters: object | None


class McpToolFilter(TypedDict, total=False):
    """Some of a server's tools."""

    read_only: bool | None
    tool_names: list[str] | None


class McpToolApprovalFilter(TypedDict, total=False):
    """Which calls need a ``RealtimeMcpApprovalResponse`` first."""

    always: McpToolFilter | None
    never: McpToolFilter | None


McpConnector: TypeAlias = Literal[
    "connector_dropbox",
    "connector_gmail",
    "connector_googlecalendar",
    "connector_googledrive",
    "connector_microsoftteams",
    "connector_outlookcalendar",
    "connector_outlookemail",
    "connector_sharepoint",
]


class RealtimeMcpTool(TypedDict, total=False):
    """A remote server; one of ``server_url``, ``connector_id`` and ``tunnel_id`` says where."""

    type: Required[Literal["mcp"]]
    server_label: Required[str]
    allowed_callers: list[Literal["direct", "programmatic"]] | None
    allowed_tools: list[str] | McpToolFilter | None
    authorization: str | None
    connector_id: McpConnector | None
    defer_loading: bool | None
    headers: dict[str, str] | None
    require_approval: McpToolApprovalFilter | Literal["always", "never"] | None
    server_description: str | None
    server_url: str | None
    tunnel_id: str | None


RealtimeTool: TypeAlias = RealtimeFunctionTool | RealtimeMcpTool


class ToolChoiceFunction(TypedDict):
    type: Literal["function"]
    name: str


class ToolChoiceMcp(TypedDict):
    type: Literal["mcp"]
    server_label: str
    name: NotRequired[str | None]


RealtimeToolChoice: TypeAlias = Literal["none", "auto", "required"] | ToolChoiceFunction | ToolChoiceMcp
