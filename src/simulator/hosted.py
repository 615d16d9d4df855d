"""What lives at the account when an answer is over: containers and files of tools, spoken audio.

https://platform.openai.com/docs/guides/tools-code-interpreter
https://platform.openai.com/docs/guides/audio
https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/code-execution-tool
"""

import base64
from typing import Any

from .answers import Answer
from .reading import member, objects
from .requests import Call

_CODE = "print(6 * 7)"
_AUDIO_LIFE_S = 3_600


def interpreter_call(answer: Answer, call: Call) -> dict[str, Any] | None:
    """OpenAI's code interpreter at work, in the container that the request names or in a new one."""
    if not answer.hosted:
        return None
    for tool in objects(call.fields.get("tools")):
        if tool.get("type") == "code_interpreter":
            given = tool.get("container")
            return {
                "id": f"ci_{answer.id}",
                "type": "code_interpreter_call",
                "status": "completed",
                "code": _CODE,
                "container_id": given if isinstance(given, str) else f"cntr_{answer.id}",
                "outputs": [{"type": "logs", "logs": "42"}],
            }
    return None


def interpreter_citations(answer: Answer, call: Call) -> list[dict[str, Any]]:
    """The annotation of a text that speaks of a file in that container."""
    made = interpreter_call(answer, call)
    if made is None:
        return []
    file = {"container_id": made["container_id"], "file_id": f"cfile_{answer.id}", "filename": "out.txt"}
    return [{"type": "container_file_citation", "start_index": 0, "end_index": 1, **file}]


def executed_blocks(answer: Answer, call: Call) -> list[dict[str, Any]]:
    """Anthropic's code execution at work: its call, and its result with a file."""
    if container(answer, call) is None:
        return []
    ident = f"srvtoolu_{answer.id}"
    output = {"type": "bash_code_execution_output", "file_id": f"file_{answer.id}"}
    result = {
        "type": "bash_code_execution_result",
        "stdout": "42",
        "stderr": "",
        "return_code": 0,
        "content": [output],
    }
    name = "bash_code_execution"
    return [
        {"type": "server_tool_use", "id": ident, "name": name, "input": {"command": "echo 42"}},
        {"type": "bash_code_execution_tool_result", "tool_use_id": ident, "content": result},
    ]


def container(answer: Answer, call: Call) -> dict[str, Any] | None:
    """The container of a message: the one that the request names, or a new one."""
    kinds = [str(tool.get("type")) for tool in objects(call.fields.get("tools"))]
    if not answer.hosted or not any(kind.startswith("code_execution") for kind in kinds):
        return None
    given = call.fields.get("container")
    ident = given if isinstance(given, str) else member(given, "id")
    return {"id": ident or f"container_{answer.id}", "expires_at": "2030-01-01T00:00:00Z"}


def audio(answer: Answer, call: Call) -> dict[str, Any] | None:
    """What a chat model speaks where it is asked to."""
    wanted = call.fields.get("modalities")
    if not isinstance(wanted, list) or "audio" not in wanted:
        return None
    return {
        "id": f"audio_{answer.id}",
        "data": base64.b64encode(answer.text.encode("utf-8", "replace")).decode(),
        "expires_at": answer.created + _AUDIO_LIFE_S,
        "transcript": answer.text,
    }
