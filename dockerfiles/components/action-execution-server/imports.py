"""What the server imports when it starts: changes like those of ``adapt.py``, which save most of its CPU time.

They also hold for Jupyter's kernel, which has agent_skills, and for the browser's process.
"""

# Packages whose `__init__` imports what the server does not need: name → where it is moved, and what stands for it.
# `-m` imports the server's parent packages first, and they create an editor with its own temporary folder.
MOVED = {
    "openhands/runtime/__init__.py": (
        "openhands/runtime/backend.py",
        """import importlib
import sys

if sys.argv[:1] == ['-m']:
    import oh_runtime

    oh_runtime.start()


def __getattr__(name):
    if name.startswith('__') and name != '__all__':
        raise AttributeError(name)
    return getattr(importlib.import_module('openhands.runtime.backend'), name)
""",
    ),
}

CHANGES = {
    # Modules that take most of the start, and that a server hardly ever uses.
    "openhands/llm/__init__.py": [
        (
            """from openhands.llm.async_llm import AsyncLLM
from openhands.llm.llm import LLM
from openhands.llm.streaming_llm import StreamingLLM
""",
            """from oh_runtime import lazy

__getattr__ = lazy.attributes({
    'LLM': 'openhands.llm.llm',
    'AsyncLLM': 'openhands.llm.async_llm',
    'StreamingLLM': 'openhands.llm.streaming_llm',
})
""",
        ),
    ],
    "openhands/events/tool.py": [
        (
            "from litellm import ModelResponse\nfrom pydantic import BaseModel\n",
            "from typing import Any\n\nfrom pydantic import BaseModel, field_validator\n",
        ),
        (
            "    model_response: ModelResponse\n    total_calls_in_response: int\n",
            """    model_response: Any
    total_calls_in_response: int

    @field_validator('model_response')
    @classmethod
    def _response(cls, value):
        from litellm import ModelResponse

        return value if isinstance(value, ModelResponse) else ModelResponse(**value)
""",
        ),
    ],
    "openhands/io/json.py": [
        ("from litellm.types.utils import ModelResponse\n", "from oh_runtime import lazy\n"),
        ("isinstance(obj, ModelResponse)", "lazy.is_a(obj, 'litellm.types.utils', 'ModelResponse')"),
    ],
    "openhands/storage/__init__.py": [
        ("from openhands.storage.google_cloud import GoogleCloudFileStore\n", ""),
        ("from openhands.storage.s3 import S3FileStore\n", ""),
        (
            "        store = S3FileStore(",
            "        from openhands.storage.s3 import S3FileStore\n\n        store = S3FileStore(",
        ),
        (
            "        store = GoogleCloudFileStore(",
            "        from openhands.storage.google_cloud import GoogleCloudFileStore\n\n"
            "        store = GoogleCloudFileStore(",
        ),
    ],
    "openhands/runtime/mcp/proxy/manager.py": [
        (
            """from fastmcp import FastMCP
from fastmcp.server.auth import StaticTokenVerifier
from fastmcp.utilities.logging import get_logger as fastmcp_get_logger
""",
            "",
        ),
        ("fastmcp_get_logger('fastmcp')", "logging.getLogger('fastmcp')"),
        (
            "        # Create authentication provider if auth is enabled\n",
            "        from fastmcp import FastMCP\n        from fastmcp.server.auth import StaticTokenVerifier\n\n",
        ),
    ],
    "openhands/runtime/utils/memory_monitor.py": [
        ("from memory_profiler import memory_usage\n", ""),
        ("            try:\n", "            try:\n                from memory_profiler import memory_usage\n\n"),
    ],
    "openhands/runtime/plugins/agent_skills/utils/config.py": [
        ("from openai import OpenAI\n", ""),
        (") -> OpenAI:\n", "):\n    from openai import OpenAI\n\n"),
    ],
    "openhands/runtime/plugins/agent_skills/file_reader/file_readers.py": [
        (
            "import docx\nimport pypdf\nfrom pptx import Presentation\n",
            "from oh_runtime import lazy\n\ndocx, pypdf, pptx = map(lazy.module, ('docx', 'pypdf', 'pptx'))\n",
        ),
        ("Presentation(", "pptx.Presentation("),
    ],
    "openhands_aci/editor/md_converter.py": [
        (
            "import pandas as pd\nimport pdfminer.high_level as high_level\nimport pptx\n",
            "from oh_runtime import lazy\n\npd, pptx = map(lazy.module, ('pandas', 'pptx'))\n"
            "high_level = lazy.module('pdfminer.high_level')\n",
        ),
        ("import speech_recognition as sr\n", "sr = lazy.module('speech_recognition')\n"),
    ],
    # A parser is built when it is imported, for a format that few schemas have.
    "jsonschema/_format.py": [
        (
            "        from rfc3987_syntax import is_valid_syntax as _rfc3987_is_valid_syntax\n",
            """        def _rfc3987_is_valid_syntax(*words):
            from rfc3987_syntax import is_valid_syntax

            return is_valid_syntax(*words)
""",
        ),
    ],
    "openhands/core/logger.py": [
        ("import litellm\n", "from oh_runtime import lazy\n\nlitellm = lazy.module('litellm')\n"),
    ],
    # The browser's process needs nothing of the server's program.
    "openhands/runtime/browser/browser_env.py": [
        (
            "            self.process.start()\n",
            "            from oh_runtime import lazy\n\n            with lazy.without_main():\n"
            "                self.process.start()\n",
        ),
    ],
}
