"""What a model drew, as each client gets it, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.conversation import Image, Inline, Text, Url
from modelbroker.dialects.replies import Choice, Reply, Stop, Usage
from modelbroker.dialects.streaming import explode, fold
from modelbroker.dialects.translation import CannotCarry, Context
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from support.dialects import CLIENT_DIALECTS, upstream

CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000, "some-model")
PNG, LINK = Image(Inline("image/png", "iVBO")), Image(Url("https://x.example/y.png"))
REPLY = Reply(
    "", "m", (Choice((Text("Here"), PNG, Text("and"), LINK), Stop.END),), Usage(3, output=4), created_s=5
)


def whole(client: str) -> Any:
    return json.loads(client_dialect(client).encode_reply(REPLY, CONTEXT))


def test_openai_chat_has_them_as_images() -> None:
    (choice,) = whole("openai-chat")["choices"]
    assert choice["message"]["content"] == "Hereand"
    assert choice["message"]["images"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}, "index": 0},
        {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}, "index": 1},
    ]
    ChatCompletion.model_validate(whole("openai-chat"))


def test_openai_responses_has_them_as_what_its_own_tool_draws() -> None:
    first, drawn, last = whole("openai-responses")["output"]
    assert first["content"][0]["text"] == "Here"
    assert (drawn["type"], drawn["status"], drawn["result"]) == ("image_generation_call", "completed", "iVBO")
    assert drawn["output_format"] == "png"
    assert [each["text"] for each in last["content"]] == ["and", "![image](https://x.example/y.png)"]
    Response.model_validate(whole("openai-responses"))


def test_anthropic_messages_has_no_place_for_them_and_says_so() -> None:
    texts = [block["text"] for block in whole("anthropic-messages")["content"]]
    assert texts == [
        "Here",
        "[the model gave image/png, which can't be passed on here]",
        "and",
        "![image](https://x.example/y.png)",
    ]
    Message.model_validate(whole("anthropic-messages"))
    assert anthropic.__version__


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
def test_streamed_they_are_the_same(client: str) -> None:
    encoder = client_dialect(client).stream_encoder(CONTEXT)
    stream = b"".join(encoder.encode([event]) for event in explode(REPLY))
    decoder = provider_dialect(client).stream_decoder(upstream(client))
    streamed = fold([*decoder.feed(stream), *decoder.end()])
    back = provider_dialect(client).decode_reply(
        client_dialect(client).encode_reply(REPLY, CONTEXT), upstream(client)
    )
    images = [part for part in streamed.choices[0].parts if isinstance(part, Image)]
    assert images == [part for part in back.choices[0].parts if isinstance(part, Image)]
    assert images == {"openai-chat": [PNG, LINK], "openai-responses": [PNG]}.get(client, [])
    said = [part.text for part in streamed.choices[0].parts if isinstance(part, Text)]
    assert "".join(said) == "".join(part.text for part in back.choices[0].parts if isinstance(part, Text))


def test_a_chat_client_sends_them_back_and_only_those_who_can_take_them_get_them() -> None:
    message = whole("openai-chat")["choices"][0]["message"]
    messages = [{"role": "user", "content": "Draw"}, message, {"role": "user", "content": "Bluer"}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    chat = client_dialect("openai-chat").decode_request(body)
    assert chat.messages[1].parts == (Text("Hereand"), PNG, LINK)


def test_a_responses_client_sends_them_back_too() -> None:
    """Items that the broker made of what another dialect's model drew; OpenAI's own stay OpenAI's."""
    output = whole("openai-responses")["output"]
    dialect = client_dialect("openai-responses")

    def body(*items: Any) -> bytes:
        asked = {"role": "user", "content": "Draw"}, *items, {"role": "user", "content": "Bluer"}
        return json.dumps({"model": "m", "input": asked}).encode()

    raw = body(*output)
    assert not dialect.read(raw).same_dialect
    chat = dialect.decode_request(raw)
    assert chat.messages[1].parts == (
        Text("Here"),
        PNG,
        Text("and"),
        Text("![image](https://x.example/y.png)"),
    )
    sent = json.loads(provider_dialect("gemini").encode_request(chat, upstream("gemini")).body)
    assert {"inlineData": {"mimeType": "image/png", "data": "iVBO"}} in sent["contents"][1]["parts"]
    with pytest.raises(CannotCarry):
        provider_dialect("anthropic-messages").encode_request(chat, upstream("anthropic-messages"))
    foreign = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"}
    assert dialect.read(body(foreign)).same_dialect == "input[1]"
