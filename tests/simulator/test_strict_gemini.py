"""What Gemini refuses: unknown fields, unanswered calls, thought signatures of others."""

import base64
import json

import httpx
import pytest
from google import genai
from google.genai import types

PRO, FLASH = "gemini-3-pro-preview", "gemini-2.5-flash"
ASK = {"role": "user", "parts": [{"text": "Weather?"}]}
DUMMY = "skip_thought_signature_validator"
TWO_CALLS = "replies: [{tool_calls: [{name: f, arguments: {}}, {name: g, arguments: {}}]}]"


@pytest.fixture
def post(serve):
    """Asks a simulator of that name; the answer's message, "" when it is none of an error."""
    served = {}

    def ask(*contents, model=PRO, script="{}", name="goo", path="/v1beta/models/{}", **fields):
        if name not in served:
            served[name] = serve(script, name=name)
        url = f"{served[name].url}{path.format(model)}:generateContent"
        body = {"contents": list(contents), **fields}
        answer = httpx.post(url, json=body, headers={"x-goog-api-key": "k"}).json()
        if "error" not in answer:
            return answer["candidates"][0]["content"]
        assert answer["error"]["status"] == "INVALID_ARGUMENT"
        return answer["error"]["message"]

    return ask


def results(said):
    calls = [part["functionCall"] for part in said["parts"] if "functionCall" in part]
    parts = [{"functionResponse": {"name": c["name"], "response": {"output": "sunny"}}} for c in calls]
    return {"role": "user", "parts": parts}


def is_fine(answer):
    return isinstance(answer, dict)


def test_signatures_are_given_back_to_their_maker_alone(post):
    said = post(ASK, script=TWO_CALLS)
    answer = results(said)
    assert is_fine(post(ASK, said, answer))
    assert post(ASK, said, answer, name="other") == "Corrupted thought signature."
    signature = said["parts"][0].pop("thoughtSignature")
    assert "missing a thought_signature" in post(ASK, said, answer)
    assert "`default_api:f` , position 2" in post(ASK, said, answer)
    assert is_fine(post(ASK, said, answer, model=FLASH))
    # Once the user spoke again the turn is over.
    assert is_fine(post(ASK, said, answer, {"role": "model", "parts": [{"text": "Hm"}]}, ASK))
    for dummy in (DUMMY, base64.b64encode(DUMMY.encode()).decode()):
        said["parts"][0]["thought_signature"] = dummy
        assert is_fine(post(ASK, said, answer))
    said["parts"][0]["thought_signature"] = "not base64!"
    assert "Base64 decoding failed" in post(ASK, said, answer)
    # The signature belongs to the first of parallel calls.
    del said["parts"][0]["thought_signature"]
    said["parts"][1]["thoughtSignature"] = signature
    assert "missing a thought_signature" in post(ASK, said, answer)


def test_every_step_of_the_turn_is_signed(post):
    said = post(ASK, script=TWO_CALLS)
    answer = results(said)
    again = post(ASK, said, answer)
    assert is_fine(post(ASK, said, answer, again, results(again)))
    del said["parts"][0]["thoughtSignature"]
    assert "position 2" in post(ASK, said, answer, again, results(again))


def test_calls_and_answers(post):
    call = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}} for _ in range(2)]}
    answer = results(call)
    ask = {"model": FLASH}
    assert is_fine(post(ASK, call, answer, **ask))
    assert is_fine(post(ASK, call, *[{**answer, "parts": [part]} for part in answer["parts"]], **ask))
    half = {**answer, "parts": answer["parts"][:1]}
    assert "number of function response parts" in post(ASK, call, half, **ask)
    assert "number of function response parts" in post(ASK, call, ASK, **ask)
    assert "immediately after a function call turn" in post(ASK, answer, **ask)
    assert "immediately after a user turn" in post(call, answer, **ask)
    nameless = {"role": "user", "parts": [{"functionResponse": {"response": {}}}] * 2}
    assert "Name cannot be empty" in post(ASK, call, nameless, **ask)
    assert "contents is not specified" in post(**ask)
    assert "must not be empty" in post({"role": "user", "parts": []}, **ask)
    assert "required oneof field 'data'" in post({"role": "user", "parts": [{}]}, **ask)
    assert "valid role" in post({**ASK, "role": "assistant"}, **ask)


def test_unknown_fields(post):
    schema = {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "STRING"}}}

    def declared(**fields):
        return {"tools": [{"functionDeclarations": [{"name": "f", **fields}]}], "model": FLASH}

    assert is_fine(post(ASK, system_instruction={"parts": [{"text": "x"}]}, generationConfig={"top_k": 3}))
    assert is_fine(post(ASK, **declared(parameters_json_schema=schema)))
    said = post(ASK, **declared(parameters=schema))
    where = "tools[0].function_declarations[0].parameters"
    assert said == (
        f"Invalid JSON payload received. Unknown name \"additionalProperties\" at '{where}': "
        "Cannot find field."
    )
    vertex = "/v1/projects/p/locations/l/publishers/google/models/{}"
    assert is_fine(post(ASK, path=vertex, **declared(parameters=schema)))
    assert 'Unknown name "max_tokens": Cannot' in post(ASK, max_tokens=3)
    assert "at 'contents[0].parts[0]'" in post({"role": "user", "parts": [{"text": "x", "type": "text"}]})
    nested = {"type": "OBJECT", "properties": {"a": {"type": "OBJECT", "$ref": "#"}}}
    assert "properties.value" not in post(ASK, **declared(parameters_json_schema=nested))
    assert "'generation_config.response_schema.properties[0].value'" in post(
        ASK, generationConfig={"responseSchema": nested}
    )
    assert is_fine(post(ASK, name="lax", script="strict: false", max_tokens=3))


def test_googles_own_client_keeps_up_a_conversation(serve):
    served = serve(TWO_CALLS.replace("}]}", "}], reasoning: Hm., redacted: true, calls: [1, 2]}"), name="goo")
    options = types.HttpOptions(base_url=served.url)
    api = genai.Client(api_key="k", http_options=options)
    off = types.AutomaticFunctionCallingConfig(disable=True)
    declared = [types.FunctionDeclaration(name=name) for name in ("f", "g")]
    config = types.GenerateContentConfig(
        automatic_function_calling=off, tools=[types.Tool(function_declarations=declared)]
    )
    chat = api.chats.create(model=PRO, config=config)
    answers = [types.Part.from_function_response(name=n, response={"output": 1}) for n in ("f", "g")]
    first = chat.send_message("Weather?")
    assert not any(part.thought for part in first.candidates[0].content.parts)
    assert first.candidates[0].content.parts[0].thought_signature
    chunks = list(chat.send_message_stream(answers))
    assert len([p for c in chunks for p in c.candidates[0].content.parts or () if p.function_call]) == 2
    assert "goo answering" in chat.send_message(answers).text
    assert [json.loads(e["body"])["contents"][-1]["role"] for e in served.journal()] == ["user"] * 3
