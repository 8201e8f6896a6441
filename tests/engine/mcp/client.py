"""Calls the tools of the runtime's MCP servers, as OpenHands does, and prints their answers as JSON."""

import asyncio
import json

from fastmcp import Client


async def main() -> None:
    """Calls each tool that the server offers."""
    async with Client("http://127.0.0.1:8000/mcp/sse") as client:
        answers = {}
        for tool in await client.list_tools():
            answers[tool.name] = (await client.call_tool(tool.name, {"word": "世界"})).content[0].text
        print(json.dumps(answers))


asyncio.run(main())
