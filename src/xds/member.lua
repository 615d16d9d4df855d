-- Same dialect on both sides: the client's bytes pass, only the model's name is put in its place.
-- A handle's parts are good until the script waits (for a body): they are asked for again behind it.
-- MODEL (a JSON string), BASE_PATH, REFUSED and GARBAGE (dialect -> error body) and HELD_BYTES are set above.

function envoy_on_request(handle)
  local headers = handle:headers()
  -- For the access log and for errors: the headers themselves are gone by then.
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("modelbroker", "request_id", headers:get("x-broker-request-id"))
  metadata:set("modelbroker", "dialect", headers:get("x-broker-dialect"))
  local suffix = headers:get("x-broker-suffix")
  headers:replace(":path", BASE_PATH .. suffix)
  if string.find(suffix, "/embeddings", 1, true) == 1 then
    metadata:set("modelbroker", "list_of_inputs", true)
  end
  local first, behind = string.match(headers:get("x-broker-model-span"), "^(%d+)%-(%d+)$")
  local body = handle:body(true)
  local length = body:length()
  local size = body:setBytes(body:getBytes(0, first) .. MODEL .. body:getBytes(behind, length - behind))
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

-- The provider refused the broker's credential: that is no answer to the client, and its words may
-- quote the key. Nor is a status that ends no request: a client would wait for more behind it.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if status == "401" or status == "403" then
    answer_instead(handle, REFUSED, "upstream_credential_refused")
  elseif string.match(status, "^[2-5]%d%d$") == nil then
    answer_instead(handle, GARBAGE, "upstream_garbage")
  elseif is_held(handle, headers) then
    handle:body(true)
  end
end
