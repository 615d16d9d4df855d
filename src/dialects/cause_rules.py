"""What the words of providers' errors mean. Each rule says whose words it knows.

Sources: OpenAI, guide "Error codes"; Azure OpenAI, "Content filtering", "Quotas and limits"; Anthropic API,
"Errors"; Amazon Bedrock user guide, "Troubleshooting Amazon Bedrock API Error Codes"; Gemini API,
"Troubleshooting guide"; Vertex AI, "API errors"; google.api.ErrorReason; AIP-193, "Errors"; the error pages
of Groq, Mistral, xAI, DeepSeek, OpenRouter, Together, Fireworks, Cohere, Moonshot, Z.AI, Alibaba; vLLM,
llama.cpp and Ollama in their source; and what their users report.

**How needles are written.** Errors quote what the client sent, so that words in the middle of one can be the
client's own. A needle that blames the member or our account for a status that bad requests have, too (400,
404, 422), therefore begins with a quotation mark: inside a JSON string that mark has a backslash before it.
So `"insufficient_quota"` is a whole value and `"your credit balance` the beginning of one, and no client can
have them said. Needles are printable ASCII in small letters (other characters are escaped in some bodies),
and hold no `": "`, for the blank is not everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..core.causes import Cause


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits where the status is one of `statuses` (none: any), and the body has one of `needles` (none: any
    body), one of `also` (none: no more is asked) and none of `lacks`."""

    whose: str  # words these are; for readers
    statuses: tuple[int, ...]
    needles: tuple[str, ...]
    cause: Cause
    also: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def fits(self, status: int, text: bytes) -> bool:
        """`text` in small letters."""
        if self.statuses and status not in self.statuses:
            return False
        if self.needles and not _has_one(text, self.needles):
            return False
        return (not self.also or _has_one(text, self.also)) and not _has_one(text, self.lacks)


def _has_one(text: bytes, needles: tuple[str, ...]) -> bool:
    return any(needle.encode() in text for needle in needles)


_ANY = ()
_BAD = (400, 404, 422)  # what bad requests have
_REFUSED = (400, 403, 404, 422)

# -- words that all of them may say: models of one maker are served by many

_CONTEXT = Rule(
    "all",
    (400, 413, 422),
    (
        "context length",
        "context limit",
        "context size",
        "context window",
        '"context_length_exceeded"',
        '"exceed_context_size_error"',  # llama.cpp
        "exceeded model token limit",  # Moonshot
        "exceeds the maximum number of tokens",  # Google
        "input is too long",
        "input tokens exceed",
        "`inputs` tokens",  # Together
        "maximum input length",
        "maximum prompt length",  # xAI
        '"model_max_prompt_tokens_exceeded"',
        "model only supports up to",  # Google
        "prompt exceeds max",  # Z.AI
        "prompt is too long",
        "range of input length",  # Alibaba
        "reduce the length of the",  # messages, prompt
        '"tokens_limit_reached"',  # Azure AI
        "too many input tokens",
        "too many tokens",  # Cohere
    ),
    Cause.CONTEXT_OVERFLOW,
)
_POLICY = Rule(
    "all",
    (400, 403, 422),
    (
        "content exists risk",  # DeepSeek
        "content filter",
        "content management policy",  # Azure
        "content moderation",
        "content policy",
        '"content_filter"',
        '"content_policy_violation"',
        "data_inspection_failed",  # Alibaba
        "datainspectionfailed",
        "blocked by guardrail",
        '"invalid_prompt"',
        '"moderation_blocked"',
        "our safety system",
        "prohibited content",
        "prompt was blocked",
        "requires moderation",  # OpenRouter
        "responsible ai",
        "responsibleaipolicyviolation",  # Azure
        "safety filter",
        "safety policy",
        "sensitive content",  # Z.AI
        "usage guidelines",  # xAI
        "usage policies",
        "usage policy",
        "was flagged",
    ),
    Cause.CONTENT_POLICY,
)
_MODEL_CODES = Rule(
    "all",
    _REFUSED,
    (
        '"deploymentnotfound"',  # Azure
        '"invalid_model"',  # Mistral, Perplexity
        '"model_decommissioned"',  # Groq
        '"model_not_available"',  # Together
        '"model_not_found"',
        '"model_not_supported"',  # Hugging Face
        '"model_permission_blocked',  # Groq: _org, _project
        '"model_terms_required"',  # Groq
        '"modeldeprecated"',  # Azure
        '"operationnotsupported"',  # Azure: not an operation of this model
        '"unavailable_model"',  # Azure AI
        '"unknown_model"',
        '"could not resolve the foundation model',  # Amazon
        '"invalid model',
        '"invocation of model id',  # Amazon: on-demand throughput
        '"model not exist',  # DeepSeek, Alibaba
        '"model not found',  # Fireworks, xAI
        '"no endpoints found for',  # OpenRouter
        '"no models loaded',  # LM Studio
        '"not found the model',  # Moonshot
        '"publisher model',  # Vertex AI
        '"the api deployment for',  # Azure
        '"the provided model identifier',  # Amazon
        '"the requested model',
        '"this is not a chat model',  # OpenAI
        '"this model is only supported in',  # OpenAI
        '"this model version has reached',  # Amazon
        '"unknown model',
        '"you are not allowed to sample from this model',  # OpenAI
        '"your organization must be verified',  # OpenAI
        ' is not a valid model id"',  # OpenRouter
    ),
    Cause.MODEL_NOT_FOUND,
)
_MODEL_WORDS = Rule(
    "all",
    _REFUSED,
    ('"the model ', '"this model ', '"model ', '"models/', '"function '),
    Cause.MODEL_NOT_FOUND,
    also=(
        "does not exist",
        "not found",
        "deprecated",
        "decommissioned",
        "no longer available",
        "no longer supported",
        "was removed",
        "as legacy",  # Amazon
        "end of its life",
    ),
)
_OF_THE_CALL = Rule(
    "all",
    _REFUSED,
    (
        "access the file",  # Google: "... or it may not exist", a 403
        "cached content",
        "cachedcontent",
        "container is expired",
        "container not found",
        "container with id",
        "conversation with id",
        "file not found",
        "file with id",
        "item with id",
        "no such file",
        "previous response",
        "previous_response_not_found",
        "prompt with id",
        "response with id",
        "skill not found",
        "skill with id",
        "vector store",
    ),
    Cause.NOT_FOUND,
    lacks=('"model_not_found"',),
)
# Where no API answered: a `base_url` that leads elsewhere, or what stands before a provider.
_PAGE = Rule("proxies", (400, 403, 404), ("<html", "<!doctype html"), Cause.GARBAGE)
_NO_OBJECT = Rule("proxies", (404,), (), Cause.GARBAGE, lacks=("{",))
_PATH = Rule(
    "all",
    (404,),
    (
        '"not found"',
        '"resource not found"',  # Azure
        '"invalid url',  # OpenAI
        '"unknown_url"',  # Groq
        '"no route matched',  # Kong
        "unknownoperation",  # Amazon
    ),
    Cause.GARBAGE,
)
_TOO_LARGE = Rule(
    "all",
    (400, 422),
    (
        '"request_too_large"',
        '"max_tokens_per_request"',  # OpenAI, of embeddings
        "length limit exceeded",
        "payload size exceeds",  # Google
        "request exceeds the maximum size",  # Anthropic
        "request is too large",
        "request payload is too large",
        "request size exceeds",
    ),
    Cause.TOO_LARGE,
)
_BUSY = Rule(
    "all",
    (500, 502, 504),
    (
        "overloaded",
        "over capacity",
        "at capacity",
        "capacity_exceeded",
        '"unavailable"',
        '"slow_down"',
        "serviceunavailable",
        "modelnotready",
    ),
    Cause.OVERLOADED,
)
_SLOW = Rule(
    "all", (500, 502, 503), ('"deadline_exceeded"', '"timeout_error"', "modeltimeout"), Cause.TIMEOUT
)
_ABOUT_THE_CALL = (_OF_THE_CALL, _CONTEXT, _POLICY, _TOO_LARGE)
_MODEL = (_MODEL_CODES, _MODEL_WORDS)
_NOBODY = (_PAGE, _PATH, _NO_OBJECT)

# -- Google's: Gemini's API, Vertex AI, and Claude there

_GOOGLE_BILL = Rule(
    "Google",
    (400, 403, 429),
    (
        '"billing_disabled"',
        "billing to be enabled",
        "billing is not enabled",
        "enable billing",
        "requires billing",
        "billing account",
        "billing has not",
        "billing must be",
        "credits are depleted",
        "prepay",
        "spending cap",
        "spend cap",
        "spending limit",
        "dunning",
    ),
    Cause.BILLING,
    also=('"failed_precondition"', '"permission_denied"', '"resource_exhausted"', '"billing_disabled"'),
)
_GOOGLE_KEY = Rule(
    "Google",
    _BAD,
    (
        '"api_key_invalid"',
        '"api_key_expired"',
        '"api_key_service_blocked"',
        '"access_token_expired"',
        '"api key not valid',
        '"api key expired',
        '"api key not found',
        '"unauthenticated"',
        '"permission_denied"',
        '"user location is not supported',  # not from the broker's place
    ),
    Cause.CREDENTIAL,
)
# "check your plan and billing details" is in every answer of Google's over a limit, and says nothing.
_GOOGLE_LIMIT = Rule("Google", _ANY, ('"resource_exhausted"',), Cause.RATE_LIMIT)
# It is not the client's doing: the project's set-up, or a method that a model has not.
_GOOGLE_SETUP = Rule("Google", (400,), ('"failed_precondition"',), Cause.SERVER)
_GOOGLE = (_GOOGLE_BILL, _GOOGLE_KEY, _GOOGLE_LIMIT)

# -- Amazon's: Bedrock, and Claude there; exceptions stand in a header or in the body

_AMAZON = (
    Rule(
        "Amazon",
        (400, 403, 404),
        (
            "invalid_payment_instrument",
            '"payment instrument',
            "marketplace subscription",
            "marketplace agreement",
        ),
        Cause.BILLING,
    ),
    Rule("Amazon", (404,), ("use case details", "ftuformnotfilled"), Cause.CREDENTIAL),
    Rule("Amazon", (400, 429), ("modelnotreadyexception",), Cause.OVERLOADED),
    Rule(
        "Amazon",
        (400, 403, 424),
        ("throttlingexception", "toomanyrequestsexception", "servicequotaexceededexception"),
        Cause.RATE_LIMIT,
    ),
    Rule("Amazon", (404,), ("resourcenotfoundexception",), Cause.MODEL_NOT_FOUND),
    Rule(
        "Amazon",
        (400,),
        (
            "accessdenied",
            "expiredtoken",
            "incompletesignature",
            "invalidclienttokenid",
            "invalidsignature",
            "missingauthenticationtoken",
            "notauthorized",
            "optinrequired",
            "requestexpired",
            "requesttimetooskewed",
            "signaturedoesnotmatch",
            "unrecognizedclient",
            '"operation not allowed"',  # an account that may not use Bedrock yet
            '"your aws account is not authorized',
        ),
        Cause.CREDENTIAL,
    ),
    # A model's own status, where Bedrock only passes its failure on.
    Rule("Amazon", (424,), ('"originalstatuscode":429', '"originalstatuscode": 429'), Cause.RATE_LIMIT),
    Rule(
        "Amazon",
        (424,),
        (
            '"originalstatuscode":503',
            '"originalstatuscode": 503',
            '"originalstatuscode":529',
            '"originalstatuscode": 529',
        ),
        Cause.OVERLOADED,
    ),
)

# -- OpenAI's, and of all that speak like it

_OPENAI = (
    Rule(
        "all",
        _ANY,
        (
            '"arrearage"',  # Alibaba
            '"billing_hard_limit_reached"',
            '"billing_not_active"',
            '"blocked_api_access"',  # Groq: its spend limit
            '"credit_balance_exhausted"',
            '"exceeded_current_quota_error"',  # Moonshot
            '"insufficient_balance"',
            '"insufficient_quota"',
            '"insufficient balance',
            '"your credit balance',
        ),
        Cause.BILLING,
    ),
    *_GOOGLE,
    Rule(
        "all",
        (403, 412, 429),
        (
            "billing details",
            "exceeded your current quota",
            "insufficient balance",
            "insufficient credits",
            "credit balance",
            "more credits",
            "have any credits",  # xAI
            "used all available credits",  # xAI
            "spending limit",  # xAI, Fireworks
            "spend limit",
        ),
        Cause.BILLING,
    ),
    # More tokens than a minute allows: no waiting helps.
    Rule("OpenAI, Groq", (413, 429), ("request too large for",), Cause.TOO_LARGE),
    Rule(
        "all",
        (429,),
        (
            '"capacity_exceeded"',
            '"engine_overloaded_error"',  # Moonshot
            '"resource_unavailable"',  # OpenAI's flex tier
            "is currently overloaded",
            "capacity exceeded",  # Mistral
            "at capacity",
            "over capacity",
        ),
        Cause.OVERLOADED,
    ),
    *_MODEL,
    *_ABOUT_THE_CALL,
    # A tool server that the client named.
    Rule("OpenAI", (424,), ('"external_connector_error"', "mcp server"), Cause.BAD_REQUEST),
    Rule(
        "all",
        _BAD,
        (
            '"invalid_api_key"',
            '"organization_restricted"',  # Groq
            '"incorrect api key',
            '"invalid api key',
            '"no endpoints found matching',  # OpenRouter: the account's own policy on data
            '"no endpoints available matching',
        ),
        Cause.CREDENTIAL,
    ),
    Rule("all", _ANY, ('"rate_limit_exceeded"', '"rate_limit_error"'), Cause.RATE_LIMIT),
    _GOOGLE_SETUP,
    _BUSY,
    _SLOW,
    *_NOBODY,
)

# -- Anthropic's, and of the clouds that serve its models

_ANTHROPIC = (
    Rule(
        "Anthropic",
        _ANY,
        (
            '"billing_error"',
            '"contract_spend_limit_reached"',
            '"your credit balance',
            '"you have reached your specified',  # API usage limits
        ),
        Cause.BILLING,
    ),
    Rule("Anthropic", (403, 429), ("credit balance", "spend limit", "spend_limit"), Cause.BILLING),
    Rule("Anthropic", _ANY, ('"overloaded_error"',), Cause.OVERLOADED),
    Rule("Anthropic", _ANY, ('"rate_limit_error"',), Cause.RATE_LIMIT),
    Rule("Anthropic", _ANY, ('"authentication_error"',), Cause.CREDENTIAL),
    Rule("Anthropic", _BAD, ('"this organization has been disabled',), Cause.CREDENTIAL),
    *_GOOGLE,
    *_AMAZON,
    *_MODEL,
    Rule("Anthropic", (404,), ('"model:',), Cause.MODEL_NOT_FOUND),
    *_ABOUT_THE_CALL,
    _GOOGLE_SETUP,
    _BUSY,
    _SLOW,
    *_NOBODY,
)
_BEDROCK = (*_AMAZON, *_MODEL, *_ABOUT_THE_CALL, _BUSY, _SLOW, *_NOBODY)
_GEMINI = (*_GOOGLE, *_MODEL, *_ABOUT_THE_CALL, _GOOGLE_SETUP, _BUSY, _SLOW, *_NOBODY)

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "openai-chat": _OPENAI,
        "openai-responses": _OPENAI,
        "openai-embeddings": _OPENAI,
        "anthropic-messages": _ANTHROPIC,
        "bedrock-converse": _BEDROCK,
        "gemini": _GEMINI,
    }
)
