"""An MCP server over standard input and output, with one tool and without any package (modelcontextprotocol.io)."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Returns the result of a request."""
    if method == "initialize":
        info = {"name": "python", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        schema = {"type": "object", "properties": {"word": {"type": "string"}}}
        return {"tools": [{"name": "say", "description": "Says a word.", "inputSchema": schema}]}
    if method == "tools/call":
        version = ".".join(map(str, sys.version_info[:2]))
        text = f"Python {version} says {params['arguments']['word']}"
        return {"content": [{"type": "text", "text": text}]}
    return {}


def main() -> None:
    """Answers requests until the input ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            result = answer(message["method"], message.get("params", {}))
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
