"""What lives at one account is refused by another, in the provider's own shape."""

import anthropic
import openai
import pytest

from .conftest import serving

CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
EXECUTION = {"type": "code_execution_20250825", "name": "code_execution"}
HI = [{"role": "user", "content": "Hi"}]
OWNS = """
owns: [file-*, vs_1, conv_1, cntr_1, file_1, container_1, skill_1]
replies: [{hosted: true, text: Hi, reasoning: Hm}]
"""


@pytest.fixture(scope="module")
def accounts():
    with serving(name="one") as one, serving(name="two") as two:
        one.script(OWNS)
        two.script("replies: [{hosted: true, text: Hi}]")
        yield one, two


def openai_at(served):
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-test", max_retries=0)


def claude_at(served):
    return anthropic.Anthropic(base_url=served.url, api_key="sk-test", max_retries=0)


def part(**fields):
    return [{"role": "user", "content": [fields]}]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"conversation": "conv_1"}, "Conversation with id 'conv_1' not found."),
        ({"conversation": {"id": "conv_1"}}, "Conversation with id 'conv_1' not found."),
        ({"input": part(type="input_file", file_id="file-1")}, "No such File object: file-1"),
        (
            {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
            "Vector store with id ['vs_1'] not found.",
        ),
        (
            {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
            "Container with id 'cntr_1' not found.",
        ),
        (
            {"tools": [{**CODE, "container": {"type": "auto", "file_ids": ["file-1"]}}]},
            "No such File object: file-1",
        ),
    ],
)
def test_responses(accounts, asked, message):
    one, two = accounts
    with openai_at(one) as here, openai_at(two) as there:
        assert here.responses.create(model="gpt-5", **{"input": "Hi", **asked}).output_text == "Hi"
        with pytest.raises(openai.NotFoundError) as refused:
            there.responses.create(model="gpt-5", **{"input": "Hi", **asked})
        assert refused.value.body["message"] == message
        assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_response_leaves_is_the_accounts(accounts, stream):
    one, two = accounts
    with openai_at(one) as here, openai_at(two) as there:
        asked = {"model": "gpt-5", "input": "Hi", "tools": [CODE]}
        if stream:
            with here.responses.stream(**asked) as events:
                made = events.get_final_response()
        else:
            made = here.responses.create(**asked)
        call = next(item for item in made.output if item.type == "code_interpreter_call")
        said = next(item for item in made.output if item.type == "message")
        assert said.content[0].annotations[0].container_id == call.container_id
        tool = {"type": "code_interpreter", "container": call.container_id}
        thought = next(item for item in made.output if item.type == "reasoning")
        references = [{"type": "item_reference", "id": item.id} for item in (thought, said)]
        nexts = [
            {"tools": [tool], "input": "And?"},
            {"input": [*references, *HI]},
            {"input": [{"id": thought.id}, {"id": said.id}, *HI]},
        ]
        for asked in nexts:
            assert here.responses.create(model="gpt-5", **asked).output_text == "Hi"
            with pytest.raises(openai.NotFoundError):
                there.responses.create(model="gpt-5", **asked)


def test_a_conversation_goes_on(accounts):
    with openai_at(accounts[0]) as sdk:
        first = sdk.responses.create(model="gpt-5", conversation="conv_1", input="One")
        then = sdk.responses.create(model="gpt-5", conversation="conv_1", input="Two")
        assert then.conversation.id == "conv_1"
        assert then.usage.input_tokens > first.usage.input_tokens


def test_ids_are_of_letters(accounts):
    with openai_at(accounts[0]) as sdk, pytest.raises(openai.BadRequestError, match="dashes"):
        item = {"type": "message", "id": "msg_1@one", "role": "user", "content": "Hi"}
        sdk.responses.create(model="gpt-5", input=[item])


@pytest.mark.parametrize("stream", [False, True])
def test_chat(accounts, stream):
    one, two = accounts
    file = part(type="file", file={"file_id": "file-1"})
    spoken = {
        "model": "gpt-4o-audio",
        "modalities": ["text", "audio"],
        "audio": {"voice": "a", "format": "pcm16"},
    }
    with openai_at(one) as here, openai_at(two) as there:
        if stream:
            chunks = here.chat.completions.create(**spoken, messages=HI, stream=True)
            deltas = [chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in chunks]
            audio = [delta["audio"] for delta in deltas if "audio" in delta]
            assert [a["transcript"] for a in audio if "transcript" in a] == ["Hi"]
            ident = audio[0]["id"]
        else:
            ident = here.chat.completions.create(**spoken, messages=HI).choices[0].message.audio.id
        for messages in (file, [*HI, {"role": "assistant", "audio": {"id": ident}}, *HI]):
            made = here.chat.completions.create(model="gpt-5", messages=messages)
            assert made.choices[0].message.content == "Hi"
            with pytest.raises(openai.NotFoundError, match=r"No such File|Audio with id"):
                there.chat.completions.create(model="gpt-5", messages=messages)


@pytest.mark.parametrize("stream", [False, True])
def test_claude(accounts, stream):
    one, two = accounts
    asked = {"model": "claude-sonnet-5", "max_tokens": 100}
    with claude_at(one) as here, claude_at(two) as there:
        if stream:
            with here.beta.messages.stream(**asked, messages=HI, tools=[EXECUTION]) as events:
                made = events.get_final_message()
        else:
            made = here.beta.messages.create(**asked, messages=HI, tools=[EXECUTION])
        result = next(b for b in made.content if b.type == "bash_code_execution_tool_result")
        file = result.content.content[0].file_id
        document = part(type="document", source={"type": "file", "file_id": file})
        skills = {"id": made.container.id, "skills": [{"type": "custom", "skill_id": "skill_1"}]}
        history = [*HI, {"role": "assistant", "content": [b.model_dump() for b in made.content[1:]]}, *HI]
        nexts = [
            {"messages": document},
            {"messages": HI, "container": made.container.id},
            {"messages": HI, "container": skills},
            {"messages": history},
        ]
        for more in nexts:
            assert here.beta.messages.create(**asked, **more).content[-1].text == "Hi"
            with pytest.raises(anthropic.NotFoundError) as refused:
                there.beta.messages.create(**asked, **more)
            assert refused.value.body["error"]["type"] == "not_found_error"
