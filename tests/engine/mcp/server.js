#!/usr/bin/env node
// The same server as server.py, for npx.
const answer = (method, params) => {
  if (method === "initialize") {
    const info = { name: "node", version: "1" };
    return { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: info };
  }
  if (method === "tools/list") {
    const schema = { type: "object", properties: { word: { type: "string" } } };
    return { tools: [{ name: "say", description: "Says a word.", inputSchema: schema }] };
  }
  if (method === "tools/call") {
    const text = `Node.js ${process.version} says ${params.arguments.word}`;
    return { content: [{ type: "text", text }] };
  }
  return {};
};

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id !== undefined) {
    console.log(JSON.stringify({ jsonrpc: "2.0", id, result: answer(method, params ?? {}) }));
  }
});
