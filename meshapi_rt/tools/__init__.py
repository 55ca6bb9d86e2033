"""Functions as tools: what a model may call, and how its calls run."""

from __future__ import annotations

from .box import Toolbox
from .calls import ToolCall
from .tool import Tool

__all__ = ["Tool", "ToolCall", "Toolbox"]
