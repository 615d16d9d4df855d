"""What the words of providers' errors mean. Each rule says whose words it knows; cause_rule.py, how they are
written.

Sources: OpenAI, guide "Error codes"; Azure OpenAI, "Content filtering", "Quotas and limits"; Anthropic API,
"Errors"; Amazon Bedrock user guide, "Troubleshooting Amazon Bedrock API Error Codes"; Gemini API,
"Troubleshooting guide"; Vertex AI, "API errors"; google.api.ErrorReason; AIP-193, "Errors"; the error pages
of Groq, Mistral, xAI, DeepSeek, OpenRouter, Together, Fireworks, Cohere, Moonshot, Z.AI, Alibaba; vLLM,
llama.cpp and Ollama in their source; and what their users report.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..core.causes import Cause
from .cause_rule import Rule, begins, begins_bare, code_is, reason_is, status_is, thrown, type_is

_ANY = ()
_BAD = (400, 404, 422)  # what bad requests have
_REFUSED = (400, 403, 404, 422)

# -- words that all of them may say: models of one maker are served by many

_CONTEXT = Rule(
    "all",
    (400, 403, 413, 422),  # 403: Together
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
        *code_is(
            "deploymentnotfound",  # Azure
            "model_decommissioned",  # Groq
            "model_not_available",  # Together
            "model_not_found",
            "model_not_supported",  # Hugging Face
            "model_permission_blocked_org",  # Groq
            "model_permission_blocked_project",
            "model_terms_required",
            "modeldeprecated",  # Azure
            "operationnotsupported",  # Azure: not an operation of this model
            "unavailable_model",  # Azure AI
            "unknown_model",
        ),
        *type_is("invalid_model"),  # Mistral, Perplexity
        *begins(
            "could not resolve the foundation model",  # Amazon
            "invocation of model id",  # Amazon: on-demand throughput
            "model not exist",  # DeepSeek, Alibaba
            "no endpoints found for",  # OpenRouter
            "no models loaded",  # LM Studio
            "not found the model",  # Moonshot
            "publisher model",  # Vertex AI
            "the api deployment for",  # Azure
            "the provided model identifier",  # Amazon
            "the requested model",
            "this is not a chat model",  # OpenAI
            "this model is no longer",
            "this model is only supported in",  # OpenAI
            "this model version has reached",  # Amazon: the end of its life
            "this model is marked by provider as legacy",  # Amazon
            "unknown model",
            "you are not allowed to sample from this model",  # OpenAI
            "your organization must be verified",  # OpenAI
        ),
        *begins_bare("invalid model", "model not found"),
    ),
    Cause.MODEL_NOT_FOUND,
)
_MODEL_WORDS = Rule(
    "all",
    _REFUSED,
    (
        *begins_bare("the model ", "model "),
        *begins("models/", "this model models/"),  # Google
        '"detail":"function ',  # NVIDIA
    ),
    Cause.MODEL_NOT_FOUND,
    also=("does not exist", "not found", "has been de", "no longer ", "was removed"),
    lacks=("the model returned",),  # Amazon hands on what a model says of the call
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
        "guardrail identifier",  # Amazon
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
        "storage.objects.",  # Google: a URL of its Cloud Storage, a 403
        "vector store",
    ),
    Cause.NOT_FOUND,
    lacks=('"model_not_found"',),
)
# Where no API answered: a `base_url` that leads elsewhere, or what stands before a provider.
_PAGE = Rule("proxies", (400, 403, 404), ("\n<html", "\n<!doctype html"), Cause.GARBAGE)
_NO_OBJECT = Rule("proxies", (404,), (), Cause.GARBAGE, lacks=("{",))
_PATH = Rule(
    "all",
    (404,),
    (
        '"detail":"not found"',  # FastAPI
        '"error":"not found"',
        '"message":"not found"',
        '"message":"resource not found"',  # Azure
        *begins("invalid url", "no route matched"),  # OpenAI, Kong
        *code_is("unknown_url"),  # Groq
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
        *status_is("unavailable"),
        *code_is("slow_down"),
    ),
    Cause.OVERLOADED,
)
_SLOW = Rule(
    "all",
    (500, 502, 503),
    (*status_is("deadline_exceeded"), *type_is("timeout_error")),
    Cause.TIMEOUT,
)
_ABOUT_THE_CALL = (_OF_THE_CALL, _CONTEXT, _POLICY, _TOO_LARGE)
_MODEL = (_MODEL_CODES, _MODEL_WORDS)
_NOBODY = (_PAGE, _PATH, _NO_OBJECT)

# -- Google's: Gemini's API, Vertex AI, and Claude there

_GOOGLE_BILL = Rule(
    "Google",
    (400, 403, 429),
    (
        *reason_is("billing_disabled"),
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
    also=status_is("failed_precondition", "permission_denied", "resource_exhausted"),
)
_GOOGLE_KEY = Rule(
    "Google",
    _BAD,
    (
        *reason_is("api_key_invalid", "api_key_expired", "api_key_service_blocked", "access_token_expired"),
        *begins("api key not valid", "api key expired", "api key not found"),
        *status_is("unauthenticated", "permission_denied"),
        *begins("user location is not supported"),  # not from the broker's place
    ),
    Cause.CREDENTIAL,
)
# "check your plan and billing details" is in every answer of Google's over a limit, and says nothing.
_GOOGLE_LIMIT = Rule("Google", _ANY, status_is("resource_exhausted"), Cause.RATE_LIMIT)
# It is not the client's doing: the project's set-up, or a method that a model has not.
_GOOGLE_SETUP = Rule("Google", (400,), status_is("failed_precondition"), Cause.SERVER)
_GOOGLE = (_GOOGLE_BILL, _GOOGLE_KEY, _GOOGLE_LIMIT)

# -- Amazon's: Bedrock, and Claude there; exceptions stand in a header or in the body

_AMAZON = (
    Rule(
        "Amazon",
        (403,),
        ("invalid_payment_instrument", "marketplace agreement", "marketplace subscription", "mpagreement"),
        Cause.BILLING,
    ),
    Rule(
        "Amazon",
        (404,),
        (*thrown("ftuformnotfilled"), *begins("model use case details")),
        Cause.CREDENTIAL,
    ),
    Rule("Amazon", (400, 429), thrown("modelnotready"), Cause.OVERLOADED),
    Rule(
        "Amazon", (400, 403, 424), thrown("throttling", "toomanyrequests", "servicequota"), Cause.RATE_LIMIT
    ),
    Rule("Amazon", (404,), thrown("resourcenotfound"), Cause.MODEL_NOT_FOUND),
    Rule("Amazon", (404,), thrown("unknownoperation"), Cause.GARBAGE),
    Rule(
        "Amazon",
        (400,),
        (
            *thrown(
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
            ),
            # An account that may not use Bedrock yet.
            *begins("operation not allowed", "your aws account is not authorized"),
        ),
        Cause.CREDENTIAL,
    ),
    # A model's own status, where Bedrock only passes its failure on.
    Rule("Amazon", (424,), ('"originalstatuscode":429',), Cause.RATE_LIMIT),
    Rule("Amazon", (424,), ('"originalstatuscode":503', '"originalstatuscode":529'), Cause.OVERLOADED),
)

# -- OpenAI's, and of all that speak like it

_OPENAI = (
    Rule(
        "all",
        _ANY,
        (
            *code_is(
                "arrearage",  # Alibaba
                "billing_hard_limit_reached",
                "billing_not_active",
                "blocked_api_access",  # Groq: its spend limit
                "credit_balance_exhausted",
                "insufficient_quota",
                "organization_spend_limit_exceeded",
                "organization_usage_limit_exceeded",
                "project_spend_limit_exceeded",
            ),
            *type_is("insufficient_quota", "exceeded_current_quota_error"),  # Moonshot
            *begins("insufficient balance", "your credit balance", "billing hard limit"),
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
            "run out of credits",  # xAI
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
            *code_is("capacity_exceeded", "resource_unavailable"),  # OpenAI's flex tier
            *type_is("engine_overloaded_error"),  # Moonshot
            "is currently overloaded",
            "capacity exceeded",  # Mistral
            "experiencing high demand",  # Azure
            "at capacity",
            "over capacity",
        ),
        Cause.OVERLOADED,
    ),
    *_MODEL,
    Rule(
        "OpenRouter",
        (400,),
        (' is not a valid model id"',),
        Cause.MODEL_NOT_FOUND,
        also=('"code":400',),
        lacks=('"status":',),
    ),
    *_ABOUT_THE_CALL,
    # A tool server that the client named.
    Rule("OpenAI", (424,), ('"external_connector_error"', "mcp server"), Cause.BAD_REQUEST),
    Rule(
        "all",
        _BAD,
        (
            *code_is("invalid_api_key", "organization_restricted"),  # Groq
            *begins_bare("incorrect api key", "invalid api key"),
            # OpenRouter: the account's own policy on data
            *begins("no endpoints found matching", "no endpoints available matching"),
        ),
        Cause.CREDENTIAL,
    ),
    Rule("all", _ANY, (*code_is("rate_limit_exceeded"), *type_is("rate_limit_error")), Cause.RATE_LIMIT),
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
            *type_is("billing_error"),
            '"error_code":"contract_spend_limit_reached"',
            '"error_code":"enforced_spend_limit_reached"',
            *begins("your credit balance", "you have reached your specified"),  # ... API usage limits
        ),
        Cause.BILLING,
    ),
    Rule("Anthropic", (403, 429), ("credit balance", "spend limit"), Cause.BILLING),
    Rule("Anthropic", _ANY, type_is("overloaded_error"), Cause.OVERLOADED),
    Rule("Anthropic", _ANY, type_is("rate_limit_error"), Cause.RATE_LIMIT),
    Rule("Anthropic", _ANY, type_is("authentication_error"), Cause.CREDENTIAL),
    Rule("Anthropic", _BAD, begins("this organization has been disabled"), Cause.CREDENTIAL),
    *_GOOGLE,
    *_AMAZON,
    *_MODEL,
    Rule("Anthropic", (404,), begins("model:"), Cause.MODEL_NOT_FOUND),
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
