"""What providers say of failures, in their own words, each with the cause that it has to have."""

from __future__ import annotations

import json
from typing import Any

from modelbroker.core.causes import Cause

from .error_bodies import (
    BEDROCK,
    CHAT,
    DIALECTS,
    EMBEDDINGS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    ErrorReply,
    anthropic_error,
    google_error,
    openai_error,
)

_OPENAIS = (CHAT, RESPONSES, EMBEDDINGS)


def _replies(dialects: tuple[str, ...], cause: Cause, *said: tuple[Any, ...]) -> list[ErrorReply]:
    """`said`: (status, body as JSON or as it is, header)."""
    return [
        ErrorReply(
            dialect,
            status,
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            kind[0] if kind else "",
            cause,
        )
        for dialect in dialects
        for status, body, *kind in said
    ]


SPELLINGS: tuple[ErrorReply, ...] = (
    *_replies(
        _OPENAIS,
        Cause.MODEL_NOT_FOUND,
        (
            404,
            openai_error("The model `x` does not exist or you do not have access to it.", "model_not_found"),
        ),
        (
            404,
            openai_error("The model `x` has been deprecated, learn more here: https://…", "model_not_found"),
        ),
        (403, openai_error("Project `proj_1` does not have access to model `x`", "model_not_found")),
        (400, openai_error("The requested model 'x' does not exist.", "model_not_found")),
        (400, openai_error("Your organization must be verified to stream this model.", "unsupported_value")),
        (404, openai_error("This is not a chat model and thus not supported in v1/chat/completions.")),
        (400, openai_error("The model `x` has been decommissioned.", "model_decommissioned")),
        (400, openai_error("The model `x` requires terms acceptance.", "model_terms_required")),
        (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
        (410, {"error": {"code": "ModelDeprecated", "message": "Gone."}}),
        (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}),
        (400, openai_error("Model Not Exist")),
        (400, {"error": {"message": "x/y is not a valid model ID", "code": 400}}),
        (404, {"error": {"message": "No endpoints found for x/y.", "code": 404}}),
        (404, {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError"}),
        (404, {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}),
        (404, {"error": "model 'x' not found"}),
        (404, {"message": "model 'x' not found, make sure the correct model ID was used"}),
        (404, {"message": "model 'command' was removed on September 15, 2025."}),
        (404, {"error": {"code": "NOT_FOUND", "message": "Model not found, inaccessible, or not deployed"}}),
        (422, {"error": {"message": "Model Not Found"}}),
        (400, {"code": "Client specified an invalid argument", "error": "Model not found: x"}),
        (404, {"code": "Some requested entity was not found", "error": "The model x does not exist or …"}),
        (404, {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account 'y'"}),
        (
            404,
            {
                "error": {
                    "message": "Not found the model x or Permission denied",
                    "type": "resource_not_found_error",
                }
            },
        ),
        (404, [google_error(404, "NOT_FOUND", "models/x is not found for API version v1main")]),
    ),
    *_replies(
        (MESSAGES,),
        Cause.MODEL_NOT_FOUND,
        (404, anthropic_error("not_found_error", "model: claude-9")),
        (404, google_error(404, "NOT_FOUND", "Publisher Model `projects/p/…/claude-9` was not found.")),
        (400, google_error(400, "FAILED_PRECONDITION", "Publisher Model x is not servable in region y.")),
        (404, {"message": "The specified resource was not found"}, "ResourceNotFoundException:http://a/"),
    ),
    *_replies(
        (MESSAGES, BEDROCK),
        Cause.MODEL_NOT_FOUND,
        (400, {"message": "The provided model identifier is invalid."}, "ValidationException"),
        (400, {"message": "Invocation of model ID x with on-demand throughput isn't supported."}, "V"),
        (404, {"message": "This Model is marked by provider as Legacy and …"}, "ResourceNotFoundException"),
        (404, {"message": "This model version has reached the end of its life."}),
        (404, {"__type": "ResourceNotFoundException", "message": "The specified resource ARN was not found"}),
    ),
    *_replies(
        (GEMINI,),
        Cause.MODEL_NOT_FOUND,
        (404, google_error(404, "NOT_FOUND", "models/x is not found for API version v1beta, or …")),
        (404, google_error(404, "NOT_FOUND", "This model models/x is no longer available to new users.")),
        (404, json.dumps(google_error(404, "NOT_FOUND", "Publisher Model `x` not found"), indent=2).encode()),
    ),
    *_replies(
        _OPENAIS,
        Cause.NOT_FOUND,
        (404, openai_error("No such File object: file-model")),
        (404, openai_error("Item with id 'rs_model' not found. Items are not persisted …")),
        (400, openai_error("Previous response with id 'resp_1' not found.", "previous_response_not_found")),
        (404, openai_error("Vector store with id ['vs_1'] not found.")),
        (404, openai_error("Container with id 'cntr_1' not found.")),
        (404, openai_error("Something else of the client's is not there.")),
    ),
    *_replies(
        (MESSAGES,),
        Cause.NOT_FOUND,
        (404, anthropic_error("not_found_error", "File not found: file_model")),
        (404, anthropic_error("not_found_error", "container: Container model not found.")),
        (404, anthropic_error("not_found_error", "Skill model not found.")),
    ),
    *_replies(
        (GEMINI,),
        Cause.NOT_FOUND,
        (
            403,
            google_error(403, "PERMISSION_DENIED", "You do not have permission to access the File x or it …"),
        ),
        (403, google_error(403, "PERMISSION_DENIED", "x does not have storage.objects.get access to …")),
    ),
    *_replies(
        _OPENAIS,
        Cause.BILLING,
        (402, openai_error("Insufficient Balance")),
        (402, b""),
        (429, openai_error("You exceeded your current quota", "insufficient_quota", "insufficient_quota")),
        (429, openai_error("No credits", "credit_balance_exhausted", "insufficient_quota")),
        (429, openai_error("Limit", "organization_spend_limit_exceeded")),
        (429, openai_error("Limit", "project_spend_limit_exceeded")),
        (429, openai_error("Your account is not active", "billing_not_active", "billing_not_active")),
        (400, openai_error("Billing hard limit has been reached", "billing_hard_limit_reached")),
        (400, openai_error("API access is blocked by a spend limit", "blocked_api_access")),
        (402, {"error": {"message": "This request requires more credits", "code": 402}}),
        (
            403,
            {
                "code": "The caller does not have permission …",
                "error": "Your team doesn't have any credits yet.",
            },
        ),
        (
            429,
            {"code": "x", "error": "Your team has either used all available credits or reached its limit."},
        ),
        (412, openai_error("Account suspended, possibly due to reaching the monthly spending limit")),
        (400, openai_error("Access denied, please make sure your account is in good standing.", "Arrearage")),
        (429, openai_error("Your account is suspended", None, "exceeded_current_quota_error")),
        (403, [google_error(403, "PERMISSION_DENIED", "Off.", "BILLING_DISABLED")]),
    ),
    *_replies(
        (MESSAGES,),
        Cause.BILLING,
        (400, anthropic_error("invalid_request_error", "Your credit balance is too low to access the API.")),
        (400, anthropic_error("invalid_request_error", "You have reached your specified API usage limits.")),
        (402, anthropic_error("billing_error", "pay")),
        (
            429,
            anthropic_error("rate_limit_error", "x", details={"error_code": "enforced_spend_limit_reached"}),
        ),
        (403, google_error(403, "PERMISSION_DENIED", "This API method requires billing to be enabled.")),
    ),
    *_replies(
        (MESSAGES, BEDROCK),
        Cause.BILLING,
        (
            403,
            {"message": "Model access is denied due to INVALID_PAYMENT_INSTRUMENT: …"},
            "AccessDeniedException",
        ),
        (403, {"message": "Your AWS Marketplace subscription for this model cannot be completed."}),
    ),
    *_replies(
        (GEMINI,),
        Cause.BILLING,
        (403, google_error(403, "PERMISSION_DENIED", "Off.", "BILLING_DISABLED")),
        (400, google_error(400, "FAILED_PRECONDITION", "Not in your country. Please enable billing on x.")),
        (429, google_error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.")),
    ),
    *_replies(
        (MESSAGES, GEMINI, CHAT),
        Cause.RATE_LIMIT,
        (429, google_error(429, "RESOURCE_EXHAUSTED", "… check your plan and billing details.")),
        (429, google_error(429, "RESOURCE_EXHAUSTED", "Resource exhausted, please try again later.")),
        (429, b""),
    ),
    *_replies(
        _OPENAIS,
        Cause.RATE_LIMIT,
        (
            429,
            openai_error("Rate limit reached for x on requests per min", "rate_limit_exceeded", "requests"),
        ),
        (429, openai_error("Slow down", "slow_down", "rate_limit_error")),
        (503, openai_error("Slow down", "slow_down", "rate_limit_error")),
    ),
    *_replies(
        (MESSAGES, BEDROCK),
        Cause.RATE_LIMIT,
        (429, {"message": "Too many tokens per day, please wait."}, "ThrottlingException"),
        (400, {"message": "Your request exceeds the service quota"}, "ServiceQuotaExceededException"),
        (424, {"originalStatusCode": 429, "originalMessage": "busy"}, "ModelErrorException"),
    ),
    *_replies(
        _OPENAIS,
        Cause.TOO_LARGE,
        (413, openai_error("Request body too large")),
        (
            413,
            openai_error("Request too large for model `x` on tokens per minute (TPM)", "rate_limit_exceeded"),
        ),
        (429, openai_error("Request too large for gpt-4 on tokens per min (TPM)", "rate_limit_exceeded")),
        (400, openai_error("Requested 311000 tokens, max 300000 per request", "max_tokens_per_request")),
    ),
    *_replies(
        (MESSAGES,),
        Cause.TOO_LARGE,
        (413, anthropic_error("request_too_large", "Request exceeds the maximum size")),
        (
            400,
            google_error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
        ),
    ),
    *_replies(
        _OPENAIS,
        Cause.CONTEXT_OVERFLOW,
        (
            400,
            openai_error("This model's maximum context length is 128000 tokens", "context_length_exceeded"),
        ),
        (
            400,
            openai_error("Your input exceeds the context window of this model.", "context_length_exceeded"),
        ),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens.",
                "code": 400,
            },
        ),
        (
            400,
            openai_error("the request exceeds the available context size", None, "exceed_context_size_error"),
        ),
        (
            400,
            {"message": "Prompt contains 40000 tokens, too large for a model with 32768 context length"},
        ),
        (400, openai_error("Please reduce the length of the messages or completion.")),
        (
            400,
            {
                "code": "x",
                "error": "This model's maximum prompt length is 131072 but the request contains 5.",
            },
        ),
        (
            400,
            {"message": "too many tokens: total number of tokens in the prompt exceeds the limit of 4081."},
        ),
        (
            413,
            openai_error("Request body too large for gpt-4o model. Max size: 8000", "tokens_limit_reached"),
        ),
        (
            403,
            openai_error("Input token count + max_tokens must be less than the context length of the model"),
        ),
        (400, openai_error("Invalid request: Your request exceeded model token limit: 8192")),
        (400, openai_error("Invalid 'input': maximum input length is 8192 tokens.")),
    ),
    *_replies(
        (MESSAGES,),
        Cause.CONTEXT_OVERFLOW,
        (400, anthropic_error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
        (413, anthropic_error("invalid_request_error", "Prompt is too long")),
        (400, anthropic_error("invalid_request_error", "input length and `max_tokens` exceed context limit")),
        (400, {"message": "Input is too long for requested model."}, "ValidationException"),
    ),
    *_replies(
        (BEDROCK,),
        Cause.CONTEXT_OVERFLOW,
        (
            400,
            {"message": "The model returned the following errors: prompt is too long: 2 tokens > 1 maximum"},
        ),
        (400, {"message": "Input Tokens Exceeded: Number of input tokens exceeds maximum length."}),
    ),
    *_replies(
        (GEMINI,),
        Cause.CONTEXT_OVERFLOW,
        (
            400,
            google_error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (2) exceeds the maximum number of tokens allowed (1).",
            ),
        ),
        (400, google_error(400, "INVALID_ARGUMENT", "… token count is 2 but model only supports up to 1.")),
    ),
    *_replies(
        _OPENAIS,
        Cause.CONTENT_POLICY,
        (400, openai_error("flagged", "content_policy_violation")),
        (400, openai_error("Invalid prompt: your prompt was flagged", "invalid_prompt")),
        (
            400,
            openai_error("Your request was rejected as a result of our safety system.", "moderation_blocked"),
        ),
        (
            400,
            openai_error(
                "The response was filtered due to Azure OpenAI's content management policy.",
                "content_filter",
                innererror={"code": "ResponsibleAIPolicyViolation"},
            ),
        ),
        (403, {"error": {"message": "x requires moderation and your input was flagged", "code": 403}}),
        (403, {"code": "The caller …", "error": "Content violates usage guidelines."}),
        (400, openai_error("Content Exists Risk")),
        (400, openai_error("Input data may contain inappropriate content.", "data_inspection_failed")),
    ),
    *_replies(
        (MESSAGES, BEDROCK),
        Cause.CONTENT_POLICY,
        (400, {"message": "Output blocked by content filtering policy"}, "ValidationException"),
    ),
    *_replies(
        (GEMINI,),
        Cause.CONTENT_POLICY,
        (400, google_error(400, "INVALID_ARGUMENT", "The prompt was blocked due to prohibited content.")),
    ),
    *_replies(
        _OPENAIS,
        Cause.CREDENTIAL,
        (401, openai_error("Incorrect API key provided: sk-1", "invalid_api_key")),
        (
            403,
            openai_error(
                "Country, region, or territory not supported", "unsupported_country_region_territory"
            ),
        ),
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: x"}),
        (400, openai_error("Organization has been restricted.", "organization_restricted")),
        (404, {"error": {"message": "No endpoints found matching your data policy.", "code": 404}}),
        (451, b""),
    ),
    *_replies(
        (MESSAGES,),
        Cause.CREDENTIAL,
        (401, anthropic_error("authentication_error", "invalid x-api-key")),
        (403, anthropic_error("permission_error", "no")),
        (400, anthropic_error("invalid_request_error", "This organization has been disabled.")),
    ),
    *_replies(
        (MESSAGES, BEDROCK),
        Cause.CREDENTIAL,
        (403, {"message": "The security token included in the request is expired"}, "ExpiredTokenException"),
        (400, {"message": "The request signature does not conform"}, "IncompleteSignature"),
        (404, {"message": "Model use case details have not been submitted for this account."}),
        (400, {"message": "Operation not allowed"}, "ValidationException"),
    ),
    *_replies(
        (GEMINI, CHAT),
        Cause.CREDENTIAL,
        (
            400,
            google_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass one.", "API_KEY_INVALID"),
        ),
        (400, google_error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")),
    ),
    *_replies(
        _OPENAIS,
        Cause.OVERLOADED,
        (498, openai_error("Flex tier capacity exceeded", "capacity_exceeded")),
        (503, openai_error("The engine is currently overloaded", None, "server_error")),
        (500, openai_error("The model is overloaded", "server_is_overloaded", "service_unavailable_error")),
        (429, openai_error("The engine is currently overloaded", None, "engine_overloaded_error")),
        (429, {"message": "Service tier capacity exceeded for this model.", "code": "3505"}),
        (429, openai_error("Resource Unavailable", "resource_unavailable")),
        (529, b""),
    ),
    *_replies(
        (MESSAGES,),
        Cause.OVERLOADED,
        (529, anthropic_error("overloaded_error", "Overloaded")),
        (500, anthropic_error("overloaded_error", "Overloaded")),
    ),
    *_replies(
        (MESSAGES, BEDROCK),
        Cause.OVERLOADED,
        (429, {"message": "The model is not ready for inference."}, "ModelNotReadyException"),
        (503, {"message": "Too many connections"}, "ServiceUnavailableException"),
    ),
    *_replies(
        DIALECTS, Cause.TIMEOUT, (408, b"{}"), (499, b"{}"), (504, b"{}"), (524, b"<html>"), (522, b"")
    ),
    *_replies(DIALECTS, Cause.CONFLICT, (409, b"{}"), (425, b"")),
    *_replies(DIALECTS, Cause.TOO_LARGE, (413, b""), (414, b""), (431, b"")),
    *_replies(
        DIALECTS, Cause.SERVER, (500, b""), (501, b"{}"), (502, b"<html>"), (424, b"{}"), (520, b"<html>")
    ),
    *_replies(
        DIALECTS,
        Cause.GARBAGE,
        *((status, b"") for status in (0, 99, 100, 200, 301, 302, 307, 399, 600, 999)),
        (307, openai_error("You exceeded your current quota", "insufficient_quota")),
        (404, b""),
        (404, b"404 page not found"),
        (404, b'{"detail": "Not Found"}'),
        (404, b"<!DOCTYPE html><html><style>p {}</style>"),
        (403, b"<html><head><title>Just a moment...</title>"),
        (404, {"error": {"code": "404", "message": "Resource not found"}}),
        (404, {"message": "no Route matched with those values"}),
        (405, {"detail": "Method Not Allowed"}),
        (407, b""),
        (421, b""),
    ),
    *_replies(_OPENAIS, Cause.GARBAGE, (404, openai_error("Invalid URL (POST /chat/completions)"))),
    *_replies(
        _OPENAIS,
        Cause.BAD_REQUEST,
        (400, openai_error("Unsupported parameter: 'max_tokens'", "unsupported_parameter")),
        (422, b"Failed to deserialize the JSON body into the target type: messages[0]: missing field"),
        (
            424,
            openai_error(
                "Error retrieving tool list from MCP server: 'x'.", "http_error", "external_connector_error"
            ),
        ),
        (418, b""),
    ),
    *_replies(
        (MESSAGES,),
        Cause.BAD_REQUEST,
        (400, anthropic_error("invalid_request_error", "max_tokens: too large")),
        (400, anthropic_error("invalid_request_error", "model: Field required")),
    ),
)
