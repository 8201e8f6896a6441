"""Runs in a container: imports what a user of the agent-server can reach, and prints what is missing as JSON.

``trim`` leaves packages out of images. So this imports every module of the server, the SDK and the tools, creates the
services of AWS, and calls the providers of litellm, which fail only when they connect.
"""

import importlib
import json
import os
import pkgutil
import warnings
from collections.abc import Callable
from typing import Any

OURS = ("openhands.agent_server", "openhands.sdk", "openhands.tools", "openhands.workspace")
# For another system, and what starts the server.
EXCEPTED = ("openhands.tools.terminal.terminal.windows_terminal", "openhands.agent_server.__main__")
OTHERS = [
    "acp",
    "bs4",
    "browser_use.agent.service",
    "browser_use.browser.session",
    "browser_use.browser.video_recorder",
    "browser_use.mcp.server",
    "browser_use.tools.service",
    "docker",
    "fastmcp.client",
    "fastmcp.client.auth.oauth",
    "fastmcp.client.transports",
    "fastmcp.mcp_config",
    "google.auth.transport.requests",
    "google.oauth2.service_account",
    "huggingface_hub",
    "libtmux",
    "litellm.integrations.opentelemetry",
    "litellm.responses.main",
    "litellm.router",
    "lmnr",
    "lmnr.sdk.laminar",
    "markdownify",
    "mcp",
    "mcp.client.auth",
    "mcp.client.sse",
    "mcp.client.stdio",
    "mcp.client.streamable_http",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "PIL.Image",
    "posthog",
    "tiktoken_ext.openai_public",
    "tokenizers",
    "tom_swe",
    "tree_sitter_bash",
    "uvicorn.protocols.websockets.wsproto_impl",
]
_HERE: dict[str, Any] = {"api_key": "x", "api_base": "http://127.0.0.1:9"}
_AWS = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "aws_region_name": "us-east-1"}
MODELS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            *("openai/gpt-4o", "litellm_proxy/gpt-4o", "anthropic/claude-3-5-sonnet-20240620", "gemini/gemini-1.5-pro"),
            *("ollama_chat/llama3", "openrouter/openai/gpt-4o", "deepseek/deepseek-chat", "groq/llama3-70b-8192"),
            "mistral/mistral-large-latest",
        ),
        _HERE,
    ),
    "azure/gpt-4o": {**_HERE, "api_version": "2024-02-01"},
    "bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0": {
        **_AWS,
        "aws_bedrock_runtime_endpoint": "http://127.0.0.1:9",
    },
}
SERVICES = ("bedrock", "bedrock-runtime", "kms", "s3", "sagemaker-runtime", "secretsmanager", "ssm", "sso", "sts")
# In messages of errors that do not come from an import itself.
MISSING = ("No module named", "ImportError", "cannot import", "DataNotFound", "UnknownService")

missing: dict[str, str] = {}


def attempt(name: str, act: Callable[[], object]) -> None:
    """Calls a function and notes why it fails."""
    try:
        act()
    except BaseException as error:  # some modules exit when they are imported
        missing[name] = f"{type(error).__name__}: {error}"[:300]


def call(model: str, options: dict[str, Any]) -> None:
    """Calls a provider. It gets as far as the connection, which is refused."""
    import litellm

    try:
        litellm.completion(
            model=model,
            messages=[{"role": "user", "content": "hi"}],
            timeout=5,
            max_retries=0,
            num_retries=0,
            **options,
        )
    except ImportError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if any(word in text for word in MISSING):
            raise ImportError(text) from error


def service(name: str) -> None:
    """Creates a client of a service of AWS."""
    import boto3

    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1")
    session.client(name)


def main() -> None:
    """Prints what is missing, and how many modules were imported."""
    warnings.simplefilter("ignore")
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", OPENHANDS_SUPPRESS_BANNER="1")
    names = list(OTHERS)
    for package in OURS:
        module = importlib.import_module(package)
        names += [
            info.name for info in pkgutil.walk_packages(module.__path__, f"{package}.", onerror=lambda name: None)
        ]
    for name in names:
        if name not in EXCEPTED:
            attempt(name, lambda name=name: importlib.import_module(name))  # type: ignore[misc]
    for model, options in MODELS.items():
        attempt(model, lambda model=model, options=options: call(model, options))  # type: ignore[misc]
    for name in SERVICES:
        attempt(name, lambda name=name: service(name))  # type: ignore[misc]
    print(json.dumps({"modules": len(names), "missing": missing}))


if __name__ == "__main__":
    main()
