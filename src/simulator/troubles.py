"""Well-known troubles in each provider's own words: status, type, code, message and field, as the real ones
send them.

https://platform.openai.com/docs/guides/error-codes
https://docs.anthropic.com/en/api/errors
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
https://ai.google.dev/gemini-api/docs/troubleshooting
and what users of them report: that Anthropic's empty account is a 400, Google's wrong key too, and that AWS
hands on its models' own words.
"""

from dataclasses import dataclass

from .requests import Call
from .script import ErrorText, Fault, Trouble


@dataclass(frozen=True, slots=True)
class Told:
    """Without a message the provider says what it always says at that status."""

    status: int
    message: str | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None

    @property
    def text(self) -> ErrorText:
        return ErrorText(type=self.type, code=self.code, message=self.message, param=self.param)


_FLAGGED = (
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again "
    "with a different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting"
)
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on "
    "this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)
_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
    "purchase credits."
)
_PAYMENT = (
    "Model access is denied due to INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided. "
    "Your AWS Marketplace subscription for this model cannot be completed at this time."
)
_BILLING = "This API method requires billing to be enabled. Please enable billing on project #1."
_FILTERED = "Output blocked by content filtering policy"
_TOO_LONG = "prompt is too long: 200049 tokens > 200000 maximum"
_NO_FILE = "No such File object: file-none"
_NO_ITEM = (
    "Item with id 'rs_none' not found. Items are not persisted when `store` is set to false. Try again with "
    "`store` set to true, or remove this item from your input."
)
_NO_GUARDRAIL = (
    "The guardrail identifier or version provided in the request does not exist. Verify the parameter and "
    "try your request again."
)
_NO_GOOGLE_FILE = "You do not have permission to access the File no-such-file or it may not exist."
_TOO_MANY = "The maximum tokens you requested exceeds the model limit of 4096. "

_CHAT: dict[Trouble, Told] = {
    "context_overflow": Told(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 "
        "tokens. Please reduce the length of the messages.",
        "context_length_exceeded",
        param="messages",
    ),
    "rate_limit": Told(429),
    "overloaded": Told(503),
    "invalid_key": Told(401),
    "forbidden": Told(403),
    "billing": Told(429, _QUOTA, "insufficient_quota"),
    "content_policy": Told(400, _FLAGGED, "invalid_prompt"),
    "bad_field": Told(
        400,
        "max_tokens is too large: 1000000. This model supports at most 16384 completion tokens, whereas you "
        "provided 1000000.",
        "invalid_value",
        param="max_tokens",
    ),
    "model_not_found": Told(404),
    "unknown_id": Told(404, _NO_FILE, ""),
    "conflict": Told(409),
    "server_error": Told(500),
    "too_large": Told(413),
    "timeout": Told(408),
}
_RESPONSES: dict[Trouble, Told] = {
    **_CHAT,
    "context_overflow": Told(
        400,
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "context_length_exceeded",
        param="input",
    ),
    "bad_field": Told(
        400,
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 1 "
        "instead.",
        "integer_below_min_value",
        param="max_output_tokens",
    ),
    "unknown_id": Told(404, _NO_ITEM, "", param="input"),
}
_MESSAGES: dict[Trouble, Told] = {
    "context_overflow": Told(400, _TOO_LONG),
    "rate_limit": Told(429),
    "overloaded": Told(529),
    "invalid_key": Told(401),
    "forbidden": Told(403),
    "billing": Told(400, _CREDIT),
    "content_policy": Told(400, _FILTERED),
    "bad_field": Told(
        400,
        "max_tokens: 1000000 > 64000, which is the maximum allowed number of output tokens for this model",
    ),
    "model_not_found": Told(404, "model: no-such-model"),
    "unknown_id": Told(404, "File not found: file_none"),
    "conflict": Told(409),
    "server_error": Told(500),
    "too_large": Told(413),
    "timeout": Told(504),
}
_BEDROCK: dict[Trouble, Told] = {
    "context_overflow": Told(400, f"The model returned the following errors: {_TOO_LONG}"),
    "rate_limit": Told(429),
    "overloaded": Told(503),
    "invalid_key": Told(
        403, "The security token included in the request is invalid.", type="UnrecognizedClientException"
    ),
    "forbidden": Told(403),
    "billing": Told(403, _PAYMENT),
    "content_policy": Told(400, f"The model returned the following errors: {_FILTERED}"),
    "bad_field": Told(400, f"{_TOO_MANY}Try again with a maximum tokens value that is lower than 4096."),
    "model_not_found": Told(404),
    "unknown_id": Told(400, _NO_GUARDRAIL),
    "conflict": Told(409),
    "server_error": Told(500),
    "too_large": Told(413),
    "timeout": Told(408),
}
_GEMINI: dict[Trouble, Told] = {
    "context_overflow": Told(
        400, "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
    ),
    "rate_limit": Told(429),
    "overloaded": Told(503),
    "invalid_key": Told(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "forbidden": Told(403),
    "billing": Told(403, _BILLING, "BILLING_DISABLED"),
    # Google answers a prompt that it does not like with a reply that is blocked, and no error.
    "content_policy": Told(400, "The prompt was blocked due to prohibited content."),
    "bad_field": Told(
        400,
        "Unable to submit request because it has a maxOutputTokens value of 655360 but the supported range "
        "is from 1 (inclusive) to 65537 (exclusive). Update the value and try again.",
    ),
    "model_not_found": Told(404),
    "unknown_id": Told(403, _NO_GOOGLE_FILE),
    "conflict": Told(409),
    "server_error": Told(500),
    "too_large": Told(413),
    "timeout": Told(504),
}


def spelled(call: Call, fault: Fault) -> Fault:
    """The fault with its trouble, if it has one, in the words of whoever answers the call."""
    if fault.trouble is None:
        return fault
    said = _tables(call)[fault.trouble]
    given = {name: value for name, value in fault.error.model_dump().items() if value is not None}
    return fault.model_copy(update={"status": said.status, "error": said.text.model_copy(update=given)})


def _tables(call: Call) -> dict[Trouble, Told]:
    match call.shape:
        case "anthropic":
            return _MESSAGES
        case "aws":
            return _BEDROCK
        case "google":
            return _GEMINI
    return _RESPONSES if call.surface == "openai-responses" else _CHAT
