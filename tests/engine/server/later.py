"""Runs in a container: uses everything that the action execution server imports late, and prints what it got."""

from __future__ import annotations

import json
import os
import sys

os.environ["OPENAI_API_KEY"] = "x"
found: dict[str, object] = {}

import openhands.runtime  # noqa: E402
from openhands.core.logger import litellm as logged  # noqa: E402
from openhands.events.tool import ToolCallMetadata  # noqa: E402
from openhands.io.json import dumps  # noqa: E402
from openhands.runtime.plugins.agent_skills.file_reader import file_readers  # noqa: E402
from openhands.runtime.plugins.agent_skills.utils.config import _get_openai_client  # noqa: E402
from openhands.runtime.utils.memory_monitor import MemoryMonitor  # noqa: E402
from openhands.storage import get_file_store  # noqa: E402
from openhands_aci.editor import md_converter  # noqa: E402

LATE = ("fastmcp", "google.cloud.storage", "kubernetes", "openai", "openhands.runtime.base", "openhands.llm.llm",
        "rfc3987_syntax", "boto3")  # fmt: skip
found["imported"] = [name for name in LATE if name in sys.modules]

found["runtime"] = openhands.runtime.get_runtime_cls("docker").__name__
found["names"] = openhands.runtime.__all__[:1]
from openhands.llm import LLM  # noqa: E402

found["llm"] = LLM.__name__
call = ToolCallMetadata(
    function_name="f", tool_call_id="1", model_response={"id": "x", "choices": []}, total_calls_in_response=1
)
found["response"] = [type(call.model_response).__name__, call.model_dump()["model_response"]["id"]]
found["again"] = ToolCallMetadata(**call.model_dump()).model_dump() == call.model_dump()
found["json"] = json.loads(dumps({"response": call.model_response}))["response"]["id"]
found["table"] = list(md_converter.pd.DataFrame({"a": [1]}).shape)
found["readers"] = [
    thing.__name__
    for thing in (md_converter.pptx.Presentation, md_converter.high_level.extract_text, md_converter.sr.Recognizer,
                  file_readers.docx.Document, file_readers.pypdf.PdfReader)
]  # fmt: skip
found["client"] = type(_get_openai_client()).__name__
from jsonschema import FormatChecker  # noqa: E402

found["iri"] = [FormatChecker().conforms(text, "iri") for text in ("http://a.example/ü", "no iri")]
found["store"] = type(get_file_store("local", "/tmp/store")).__name__
found["quiet"] = [logged.suppress_debug_info, logged.set_verbose]
MemoryMonitor(enable=True).start_monitoring()
print(json.dumps(found))
