-- Has a stream that ended cleanly had its dialect's last event? `is_last` of src/dialects in Lua, for streams that no
-- Python sees. Hardly a byte is looked at before the end: whole events are kept as they come, the last two pieces
-- of them, and only what is cut inside an event is put together.

local HEAD_BYTES, TAIL_BYTES = 4096, 512 -- of an event that is not whole yet

local LAST = {
  ["openai-chat"] = {},
  ["openai-responses"] = {
    ["response.completed"] = true,
    ["response.incomplete"] = true,
    ["response.failed"] = true,
    ["response.cancelled"] = true,
  },
  ["anthropic-messages"] = {["message_stop"] = true},
}

local function ends_an_event(text)
  return string.sub(text, -2) == "\n\n" or string.sub(text, -3) == "\n\r\n"
end

-- `scan` reads a large event, of which not all is kept, on its way; `so_far`, `usage` and `tier` are those of usage.lua,
-- `tells` that they are news; `tellings` counts the pieces that told usage, and `unread` is one that was not looked into.
local function new_watch(dialect)
  return {
    dialect = dialect,
    before = "",
    newest = "",
    open = "",
    scan = false,
    so_far = false,
    told_so_far = false,
    usage = false,
    tier = false,
    tells = false,
    tellings = 0,
    unread = false,
  }
end

-- Of a large event, of which the beginning is here: what reads its usage.
local function scan_from(seen, open)
  local _, last = string.find(open, "^data:")
  if last == nil then
    _, last = string.find(open, "\ndata:", 1, true)
  end
  local scan = scan_of_event(seen.dialect)
  local kind = last and string.match(string.sub(open, last + 1, last + 100), '^%s*{%s*"type":%s*"(response%.[^"]+)"')
  -- That a response began quotes all of its request, and tells no usage.
  scan.is_off = seen.dialect == "openai-responses" and kind and not FINAL[seen.dialect][kind]
  scan_usage(scan, last and string.sub(open, last + 1) or "")
  return scan
end

-- Takes the next piece of the stream. `open` is the beginning of an event, `newest` and `before` are whole ones.
local function watch(seen, text)
  if text == "" then
    return
  end
  if seen.open == "" and ends_an_event(text) then
    -- A comment keeps a connection alive, and says nothing.
    if string.byte(text) ~= 58 or string.find(text, "\ndata", 1, true) then
      seen.before, seen.newest = seen.newest, text
      if tells_usage(text) then
        note_usage(seen, text)
      end
    end
    return
  end
  local open = seen.open .. text
  -- Plain searches first: a large event that comes in many pieces must not be gone through for each of them.
  local from = math.max(1, #seen.open - 1)
  if string.find(open, "\n\n", from, true) or string.find(open, "\n\r\n", from, true) then
    local _, last = string.find(open, "^.*\n\r?\n")
    local whole = string.sub(open, 1, last)
    if string.find(whole, "data", 1, true) then
      seen.before, seen.newest = seen.newest, whole
    end
    if seen.scan then
      local _, first = string.find(open, "\n\r?\n", from)
      scan_usage(seen.scan, string.sub(text, 1, first - #seen.open))
      take_usage(seen, seen.scan, false)
      seen.scan, whole = false, string.sub(open, first + 1, last)
    end
    if tells_usage(whole) then
      note_usage(seen, whole)
    end
    open = string.sub(open, last + 1)
  elseif seen.scan then
    scan_usage(seen.scan, text)
  end
  if #open > HEAD_BYTES + 2 * TAIL_BYTES then
    seen.scan = seen.scan or scan_from(seen, open)
    open = string.sub(open, 1, HEAD_BYTES) .. " " .. string.sub(open, -TAIL_BYTES)
  end
  seen.open = open
end

-- Nearly every stream ends as its dialect's owner ends it.
local function ends_as_usual(dialect, text)
  if dialect == "openai-chat" then
    return string.find(text, "data: [DONE]", -16, true)
  elseif dialect == "anthropic-messages" then
    return string.find(text, "event: message_stop\n", -120, true)
  end
  return string.find(text, "\nevent: response.completed\n", 1, true)
    or string.find(text, "event: response.completed\n", 1, true) == 1
end

-- `data` is one line of an event of this name. True: it ends the stream; false: more has to come; nil: neither.
local function is_last(dialect, name, data)
  if string.find(data, "^%[DONE%]") then
    return dialect == "openai-chat" or nil
  end
  if not string.find(data, "}%s*$") then
    return nil -- no JSON
  end
  local is_error = name == "error"
    or string.find(data, '^{%s*"type":%s*"error"')
    or string.find(data, '^{%s*"error":%s*[{"]')
  if dialect == "openai-chat" then
    if is_error or string.find(data, '"error":%s*[{"]') then
      return true, data
    end
    -- One that has said why it stopped is whole, though some providers end it without [DONE].
    if string.find(data, '"choices":%s*%[%s*{') then
      return string.find(data, '"finish_reason":%s*"[^"]') ~= nil
    end
    return nil
  end
  local kinds = LAST[dialect]
  local kind = kinds[name] and name or string.match(data, '"type":%s*"(response%.%a+)"')
  if dialect == "anthropic-messages" then
    kind = kinds[name] and name or string.match(data, '"type":%s*"(message_stop)"')
  end
  if is_error or kind == "response.failed" then
    return true, data
  end
  return kinds[kind or ""]
end

-- At the stream's end; an event without its blank line never reaches a client's code. Was it whole, and the error that it ended with, if it was one.
local function was_whole(seen, dialect)
  if ends_as_usual(dialect, seen.newest) then
    return true
  end
  local is_over, failure, name = false, nil, ""
  for line in string.gmatch(seen.before .. seen.newest, "[^\r\n]+") do
    local field, value = string.match(line, "^(%a+): ?(.*)$")
    if field == "event" then
      name = value
    elseif field == "data" then
      local last, told = is_last(dialect, name, value)
      if last ~= nil then
        is_over, failure = last, told
      end
      name = ""
    end
  end
  return is_over, failure
end
