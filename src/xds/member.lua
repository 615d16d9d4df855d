-- Same dialect on both sides: the client's bytes pass, only the model's name is put in its place.
-- A handle's parts are good until the script waits (for a body): they are asked for again behind it.
-- MODEL (a JSON string), BASE_PATH, PATHS (suffix -> another one), REFUSED and GARBAGE (dialect -> error body),
-- HELD_BYTES, OWN (the provider's dialects), PASSING (those of them whose calls can pass: Python mends the others)
-- and GIVES_USAGE (it knows stream_options) are set above.

local function path_of(suffix)
  local plain, mark, query = string.match(suffix, "^([^?]*)(%??)(.*)$")
  local path = BASE_PATH .. (PATHS[plain] or plain)
  if mark == "" then
    return path
  end
  return path .. (string.find(path, "?", 1, true) and "&" or "?") .. query
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- For the access log and for errors: the headers themselves are gone by then.
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("modelbroker", "request_id", headers:get("x-broker-request-id"))
  local dialect = headers:get("x-broker-dialect")
  metadata:set("modelbroker", "dialect", dialect)
  if not OWN[dialect] then
    metadata:set("modelbroker", "translated", true)
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

-- What is no stream goes on when it is whole: until then a cut or a silence can still be answered by
-- another member. What may be more than Envoy can hold goes on as it comes: replies that say they are
-- large, and those to a list of inputs, which need not say so.
local function is_held(handle, headers)
  local kind = string.lower(headers:get("content-type") or "")
  if string.find(kind, "text/event-stream", 1, true) == 1 then
    return false
  end
  local length = tonumber(headers:get("content-length") or "")
  if length == nil then
    return not handle:streamInfo():dynamicMetadata():get("modelbroker")["list_of_inputs"]
  end
  return length <= HELD_BYTES
end

local function answer_instead(handle, bodies, code)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("modelbroker", "code", code)
  metadata:set("modelbroker", "provider_status", handle:headers():get(":status"))
  local call = handle:streamInfo():dynamicMetadata():get("modelbroker")
  local text = string.gsub(bodies[call["dialect"]], "{REQUEST_ID}", call["request_id"])
  -- The first call waits, and then gives nothing where the body came to its end empty; the second has not
  -- to wait, and gives an empty one.
  local body = handle:body(true) or handle:body(true)
  body:setBytes(text)
  local headers = handle:headers()
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  headers:remove("content-encoding")
  headers:replace("content-length", tostring(string.len(text)))
  headers:remove("www-authenticate")
end

-- Does a text tell usage anywhere? OpenAI says "usage":null in every event but one. Plain searches: a pattern is
-- tried at each byte.
local function tells_usage(text)
  local _, last = string.find(text, '"usage":', 1, true)
  while last do
    if string.find(text, "^%s*{", last + 1) then
      return true
    end
    _, last = string.find(text, '"usage":', last + 1, true)
  end
  return false
end

-- An event of a chat stream that tells usage and nothing else: the broker asked for it, not the client.
local function is_usage_event(event)
  return tells_usage(event) and string.find(event, '"choices":%s*%[%s*%]') ~= nil
end

local function ends_an_event(text)
  return string.sub(text, -2) == "\n\n" or string.sub(text, -3) == "\n\r\n"
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
local function strip_usage_event(handle)
  local held, passing, line_end = "", false, false -- passing: inside an event that goes on already
  for chunk in handle:bodyChunks() do
    local text = chunk:getBytes(0, chunk:length())
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

-- The provider refused the broker's credential: that is no answer to the client, and its words may
-- quote the key. Nor is a status that ends no request: a client would wait for more behind it.
function envoy_on_response(handle)
  local call = handle:streamInfo():dynamicMetadata():get("modelbroker")
  if call["translated"] then
    return
  end
  local headers = handle:headers()
  local status = headers:get(":status")
  if status == "401" or status == "403" then
    answer_instead(handle, REFUSED, "upstream_credential_refused")
  elseif string.match(status, "^[2-5]%d%d$") == nil then
    answer_instead(handle, GARBAGE, "upstream_garbage")
  elseif is_held(handle, headers) then
    handle:body(true)
  elseif call["usage_event"] == "strip" and status == "200" then
    strip_usage_event(handle)
  end
end
