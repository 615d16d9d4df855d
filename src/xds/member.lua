-- Same dialect on both sides: the client's bytes pass, only the model's name is put in its place.
-- A handle's parts are good until the script waits (for a body): they are asked for again behind it.
-- MODEL (a JSON string), MEMBER, BASE_PATH, PATHS (suffix -> another one), REFUSED, BILLING, NO_MODEL and GARBAGE (dialect ->
-- error body), BLAMELESS (causes), CAUSES (for `rules_of`), LIMITS (what is left -> when that ends), HELD_BYTES, OWN (the provider's dialects), PASSING (those
-- of them whose calls can pass: Python mends the others), COUNTS (operations that use nothing) and GIVES_USAGE (it knows stream_options) are set above;
-- causes.lua, usage.lua and stream_end.lua stand there, too.

local function path_of(suffix)
  local plain, mark, query = string.match(suffix, "^([^?]*)(%??)(.*)$")
  local path = BASE_PATH .. (PATHS[plain] or plain)
  if mark == "" then
    return path
  end
  return path .. (string.find(path, "?", 1, true) and "&" or "?") .. query
end

-- The attempt's own span: the call's with the attempt's number at its end (core/tracing.py: `attempt_span`). `trace` is the
-- call's, as `traceparent` names it. Of two attempts side by side the hedge's listener counts.
local function begin_span(headers, metadata, trace)
  local beside = tonumber(headers:get("x-envoy-attempt-count") or "1") - 1
  local number = tonumber(headers:get("x-broker-attempt")) + beside
  local span = string.sub(trace, 37, 50) .. string.format("%02x", number)
  metadata:set("modelbroker", "span_id", span)
  if headers:get("traceparent") then
    headers:replace("traceparent", string.sub(trace, 1, 36) .. span .. string.sub(trace, 53))
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- For the access log and for errors: the headers themselves are gone by then.
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("modelbroker", "request_id", headers:get("x-broker-request-id"))
  local dialect = headers:get("x-broker-dialect")
  metadata:set("modelbroker", "dialect", dialect)
  local trace = headers:get("x-broker-trace")
  if trace then
    begin_span(headers, metadata, trace)
  end
  local handback = headers:get("x-broker-handback")
  if handback then
    metadata:set("modelbroker", "handback", handback)
    metadata:set("modelbroker", "path", headers:get(":path"))
  end
  -- A whole reply is bounded to its end, a stream up to its headers, and by ext_proc up to its first event.
  local first_event_by = headers:get("x-broker-first-event-by")
  if first_event_by then
    metadata:set("modelbroker", "first_event_by", first_event_by)
    headers:replace("x-envoy-upstream-rq-per-try-timeout-ms", headers:get("x-broker-wait-ms"))
  else
    headers:replace("x-envoy-upstream-rq-timeout-ms", headers:get("x-broker-wait-ms"))
  end
  if not OWN[dialect] then
    metadata:set("modelbroker", "translated", true)
  end
  if COUNTS[headers:get("x-broker-surface")] then
    metadata:set("modelbroker", "counts", true)
  end
  local usage = OWN[dialect] and GIVES_USAGE and headers:get("x-broker-usage")
  if usage then
    metadata:set("modelbroker", "usage_event", usage)
  end
  if not PASSING[dialect] or headers:get("x-broker-rewrite") then
    return -- ext_proc says what goes on; it asks for usage, too
  end
  local suffix = headers:get("x-broker-suffix")
  headers:replace(":path", path_of(suffix))
  if string.find(suffix, "/embeddings", 1, true) == 1 then
    metadata:set("modelbroker", "list_of_inputs", true)
  end
  local first, behind = string.match(headers:get("x-broker-model-span"), "^(%d+)%-(%d+)$")
  local body = handle:body(true)
  local length = body:length()
  local head = body:getBytes(0, first)
  if usage then
    head = string.gsub(head, "{", '{"stream_options":{"include_usage":true},', 1)
  end
  local size = body:setBytes(head .. MODEL .. body:getBytes(behind, length - behind))
  handle:headers():replace("content-length", tostring(size))
end

local function is_stream(headers)
  return string.find(string.lower(headers:get("content-type") or ""), "text/event-stream", 1, true) == 1
end

-- What is no stream goes on when it is whole: until then a cut or a silence can still be answered by
-- another member. What may be more than Envoy can hold goes on as it comes: replies that say they are
-- large, and those to a list of inputs, which need not say so.
local function is_held(handle, headers)
  local length = tonumber(headers:get("content-length") or "")
  if length == nil then
    return not handle:streamInfo():dynamicMetadata():get("modelbroker")["list_of_inputs"]
  end
  return length <= HELD_BYTES
end

-- What a client does not get in the provider's words: they are about the broker's own account, and may quote its
-- key, or about a model that the client did not ask for; or they are no answer.
local INSTEAD = {
  ["credential"] = {REFUSED, "502", "upstream_credential_refused"},
  ["billing"] = {BILLING, "503", "upstream_billing"},
  ["model-not-found"] = {NO_MODEL, "502", "upstream_model_not_found"},
  ["garbage"] = {GARBAGE, "502", "upstream_garbage"},
}

local function replace_body(handle, body, text)
  body:setBytes(text)
  local headers = handle:headers()
  headers:remove("content-encoding")
  headers:replace("content-length", tostring(string.len(text)))
end

local function at_least(text, least)
  return string.match(text or "", "^%s*%d+%.?%d*%s*$") and tonumber(text) >= least
end

-- Does a failed reply say for how long the member wants no calls? The health book takes it at its word (policy/limits.py:
-- `says_when` is the same there), and Envoy's ejection, which may last longer, is not to count it as well. Only dates,
-- which no provider of models is known to say, count for both.
local function says_when(headers, cause)
  local milliseconds = headers:get("retry-after-ms")
  if tonumber(milliseconds) then
    return at_least(milliseconds, 1000)
  end
  if at_least(headers:get("retry-after"), 1) then
    return true
  end
  if cause == "rate-limit" and string.find(headers:get("ratelimit") or "", "; *r=0 *; *t=[1-9]") then
    return true
  end
  for left, reset in pairs(cause == "rate-limit" and LIMITS or {}) do
    if headers:get(left) == "0" and string.find(headers:get(reset) or "", "[1-9]") then
      return true
    end
  end
  return false
end

-- An attempt failed: it is handed back to the outer listener where the call says so for this cause.
local function failed(handle, call, status)
  -- The first call waits, and then gives nothing where the body came to its end empty; the second has not
  -- to wait, and gives an empty one.
  local body = handle:body(true) or handle:body(true)
  local text = body:getBytes(0, math.min(body:length(), 65536))
  local cause = cause_of(rules_of(CAUSES, call["dialect"]), status, text, handle:headers():get("x-amzn-errortype"))
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("modelbroker", "cause", cause)
  metadata:set("modelbroker", "provider_status", status)
  local headers = handle:headers()
  local instead = INSTEAD[cause]
  if instead then
    metadata:set("modelbroker", "code", instead[3])
  end
  metadata:set("modelbroker", "status", instead and instead[2] or status)
  local is_excused = BLAMELESS[cause] or says_when(headers, cause)
  if call["handback"] and string.find(call["handback"], cause, 1, true) then
    headers:replace(":status", "307")
    headers:replace("location", "http://broker" .. call["path"])
    headers:replace("broker-cause", cause)
    headers:replace("broker-member", MEMBER)
    if not is_excused then
      headers:replace("broker-blame", "1")
    end
    replace_body(handle, body, "")
    return
  end
  if is_excused then
    headers:replace("broker-blameless", "1")
  end
  if instead then
    headers:replace(":status", instead[2])
    headers:replace("content-type", "application/json")
    headers:remove("www-authenticate")
    local words = string.gsub(instead[1][call["dialect"]], "{REQUEST_ID}", call["request_id"])
    replace_body(handle, body, words)
  end
end

-- An event of a chat stream that tells usage and nothing else: the broker asked for it, not the client.
local function is_usage_event(event)
  return tells_usage(event) and string.find(event, '"choices":%s*%[%s*%]') ~= nil
end

local function begins_alike(one, other)
  local size = math.min(#one, #other)
  return string.sub(one, 1, size) == string.sub(other, 1, size)
end

-- Can what has come of an event still become such a one? Most events show with their first bytes that not.
local function may_be_usage_event(event)
  if not begins_alike(event, "data: {") and not begins_alike(event, "data:{") then
    return false
  end
  local choices = string.match(event, '"choices":%s*%[%s*([^%s])')
  return choices == nil or choices == "]"
end

-- Takes the usage event out. Events may be split over chunks anywhere: what may be the beginning of one
-- waits for its rest, and all else goes on at once.
local function strip_usage_event(handle, seen)
  local held, passing, line_end = "", false, false -- passing: inside an event that goes on already
  for chunk in handle:bodyChunks() do
    local text = chunk:getBytes(0, chunk:length())
    watch(seen, text)
    if seen.tells then
      tell_usage(handle, seen)
    end
    -- Nearly every piece holds whole events without usage, and passes as it is.
    if held ~= "" or passing or not ends_an_event(text) or tells_usage(text) then
      text = held .. text
      local pattern = string.find(text, "\r", 1, true) and "\r?\n\r?\n"
      local out, at = {}, 1
      held = ""
      if passing and line_end then
        local _, blank = string.find(text, "^\r?\n")
        if blank then
          out[1], at, passing = string.sub(text, 1, blank), blank + 1, false
        end
      end
      while at <= #text do
        local _, last = string.find(text, pattern or "\n\n", at, not pattern)
        local event = string.sub(text, at, last)
        if passing or (last and not is_usage_event(event)) or not (last or may_be_usage_event(event)) then
          out[#out + 1] = event
          passing = last == nil
        elseif not last then
          held = event
        end
        at = (last or #text) + 1
      end
      line_end = string.find(text, "\n\r?$") ~= nil
      chunk:setBytes(table.concat(out))
    end
  end
end

-- A stream of the client's own dialect, at its clean end: one without its dialect's last event was cut, and one may
-- end with the provider's own error. Nothing of it changes; the record says so, and the member hears of it.
local function note_end(handle, dialect, seen)
  local is_over, failure = was_whole(seen, dialect)
  local metadata = handle:streamInfo():dynamicMetadata()
  if (is_over and not failure) or metadata:get("modelbroker")["cause"] then
    return
  end
  if failure then
    -- A failed response quotes its request: only its error is looked at. An event has no status: what says nothing of
    -- the request is the provider's.
    local rules, said = rules_of(CAUSES, dialect), string.match(failure, '"error":%s*(%b{})') or failure
    local cause = cause_of(rules, 400, said)
    if cause == "bad-request" and not string.find(said, "invalid_request", 1, true) then
      cause = cause_of(rules, 500, said)
    end
    metadata:set("modelbroker", "cause", cause)
    metadata:set("modelbroker", "code", "upstream_error")
  else
    metadata:set("modelbroker", "cause", "cut")
    metadata:set("modelbroker", "code", "upstream_truncated")
  end
end

local function pass_stream(handle, call, headers)
  local dialect = call["dialect"]
  -- What is compressed here is undone behind this filter: it can't be read.
  if not is_plain(headers) or not LAST[dialect] then
    return
  end
  local seen = new_watch(dialect)
  if call["usage_event"] == "strip" then
    strip_usage_event(handle, seen)
  else
    for chunk in handle:bodyChunks() do
      watch(seen, chunk:getBytes(0, chunk:length()))
      if seen.tells then
        tell_usage(handle, seen)
      end
    end
  end
  end_usage(seen)
  if seen.tells then
    tell_usage(handle, seen)
  end
  note_end(handle, dialect, seen)
end

function envoy_on_response(handle)
  local call = handle:streamInfo():dynamicMetadata():get("modelbroker")
  local headers = handle:headers()
  -- What Envoy says itself, or ext_proc in the place of the provider, is as it has to be.
  if call["translated"] or call["cause"] or headers:get("x-broker-local-reply") then
    return
  end
  local status = headers:get(":status")
  if string.match(status, "^2%d%d$") == nil then
    failed(handle, call, status)
  elseif is_stream(headers) then
    pass_stream(handle, call, headers)
  else
    local has_usage = is_plain(headers) and not call["counts"]
    if is_held(handle, headers) then
      local body = handle:body(true)
      if body and has_usage then
        tell_usage_of(handle, call["dialect"], body)
      end
    elseif has_usage then
      pass_with_usage(handle, call["dialect"])
    end
  end
end
