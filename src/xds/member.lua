-- Same dialect on both sides: the client's bytes pass, only the model's name is put in its place.
-- A handle's parts are good until the script waits (for a body): they are asked for again behind it.
-- MODEL (a JSON string), BASE_PATH and REFUSED (an error body) are set above.

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":path", BASE_PATH .. headers:get("x-broker-suffix"))
  local first, behind = string.match(headers:get("x-broker-model-span"), "^(%d+)%-(%d+)$")
  local body = handle:body(true)
  local length = body:length()
  local size = body:setBytes(body:getBytes(0, first) .. MODEL .. body:getBytes(behind, length - behind))
  handle:headers():replace("content-length", tostring(size))
end

-- What is no stream goes on when it is whole: until then a cut or a silence can still be answered by
-- another member.
-- The provider refused the broker's credential: that is no answer to the client, and its words may
-- quote the key.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if status ~= "401" and status ~= "403" then
    if string.find(string.lower(headers:get("content-type") or ""), "text/event-stream", 1, true) ~= 1 then
      handle:body(true)
    end
    return
  end
  handle:body(true):setBytes(REFUSED)
  headers = handle:headers()
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(string.len(REFUSED)))
  headers:remove("www-authenticate")
end
