"""A model for the agent-server on loopback, with the interface of OpenAI's chat completions: model.py PORT.

A message of the user is the JSON of the tool call to answer with. After a tool's result, the conversation is finished.
"""

import http.server
import json
import sys


def answer(messages: list[dict[str, object]]) -> dict[str, object]:
    """Returns the model's next message."""
    last = messages[-1]
    if last["role"] != "user":
        return _call("finish", {"message": "done"})
    content = last["content"]
    texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]  # type: ignore[attr-defined]
    for text in texts:
        start = text.find('{"tool":')
        if start >= 0:
            wanted, _ = json.JSONDecoder().raw_decode(text[start:])
            return _call(wanted["tool"], wanted["arguments"])
    return {"role": "assistant", "content": "ok"}


def _call(name: str, arguments: dict[str, object]) -> dict[str, object]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }


class Model(http.server.BaseHTTPRequestHandler):
    """Responds to every POST request with the model's next message."""

    def do_POST(self) -> None:
        """Sends a chat completion."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = answer(request["messages"])
        reason = "tool_calls" if "tool_calls" in message else "stop"
        body = json.dumps(
            {
                "id": "1", "object": "chat.completion", "created": 0, "model": request.get("model", ""),
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        ).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
