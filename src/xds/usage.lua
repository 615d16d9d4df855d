-- What a reply tells of its usage: the text of the provider's own `usage` object, wherever a body is cut. What merely
-- looks like it (in a quoted request, a tool's schema, metadata, what the model said) stands in a string or at another
-- depth, and is passed over. Strings and arrays of numbers are skipped with plain searches, and the rest is one compiled
-- loop: a reply may be megabytes of base64. Of equal names the last one counts, as in every decoder of ours.

local USAGE_BYTES = 8192 -- of an object of usage; more is none that we know
local NAME_BYTES = 24 -- of the longest name or word that is looked for, quotes and all
local WINDOW_BYTES = 262144 -- of a whole reply, read at once
local END_BYTES = 4096 -- of a list of embeddings

-- In an event of a stream: the object that may hold usage beside the event itself, and whether the event may.
local HOLDERS = {
  ["openai-chat"] = {"x_groq", true},
  ["openai-responses"] = {"response", false},
  ["anthropic-messages"] = {"message", true},
}
-- Types of events that tell usage for the last time.
local FINAL = {
  ["openai-chat"] = {},
  ["openai-responses"] = {
    ["response.completed"] = true,
    ["response.incomplete"] = true,
    ["response.failed"] = true,
    ["response.cancelled"] = true,
  },
  ["anthropic-messages"] = {["message_delta"] = true},
}

-- `holder`: the name of an object in the top one that may hold usage, too. `on_top`: the top one may.
local function new_scan(holder, on_top)
  return {
    holder = holder and '"' .. holder .. '"',
    on_top = on_top,
    depth = 0,
    held = false, -- inside the holder
    in_string = false, -- inside one that is of no interest
    rest = "", -- what can't be understood before more has come
    usage = false,
    held_usage = false,
    tier = false,
    kind = false, -- the event's type
    is_off = false, -- nothing is looked for
  }
end

-- The byte behind a string whose quote is at `at`; nil where the text ends inside it. A quote behind an odd number of
-- backslashes is part of the string.
local function behind_string(text, at)
  local quote = string.find(text, '"', at + 1, true)
  while quote do
    local before = quote - 1
    while before > at and string.byte(text, before) == 92 do
      before = before - 1
    end
    if (quote - before) % 2 == 1 then
      return quote + 1
    end
    quote = string.find(text, '"', quote + 1, true)
  end
end

-- A text ends inside a string: what of it has to stand before the next piece, so that the next byte is read rightly.
local function open_escape(text)
  local before = #text
  while string.byte(text, before) == 92 do
    before = before - 1
  end
  return (#text - before) % 2 == 1 and "\\" or ""
end

-- The next byte that is no white space, and where it is; nil behind the end.
local function next_sign(text, at)
  local sign = string.byte(text, at)
  while sign == 32 or sign == 10 or sign == 13 or sign == 9 do
    at = at + 1
    sign = string.byte(text, at)
  end
  return sign, at
end

-- The bracket that ends an array of numbers alone; nil where the array is something else, or is not here in full. It looks
-- no further than to the next array: all of them together cost no more than the text is long.
local function end_of_numbers(text, at)
  local sign, first = next_sign(text, at + 1)
  if sign ~= 45 and (sign == nil or sign < 48 or sign > 57) then
    return nil
  end
  local inside = string.sub(text, first, (string.find(text, "[", first, true) or 0) - 1)
  local last = string.find(inside, "]", 1, true)
  if last == nil then
    return nil
  end
  local quote, brace = string.find(inside, '"', 1, true), string.find(inside, "{", 1, true)
  if (quote and quote < last) or (brace and brace < last) then
    return nil
  end
  return first + last - 1
end

-- The byte behind the object that begins at `at`; nil where it is not here in full.
local function behind_object(text, at)
  local depth, size = 0, #text
  while at <= size do
    local sign = string.byte(text, at)
    if sign == 34 then
      local behind = behind_string(text, at)
      if behind == nil then
        return nil
      end
      at = behind
    else
      if sign == 123 or sign == 91 then
        depth = depth + 1
      elseif sign == 125 or sign == 93 then
        depth = depth - 1
        if depth == 0 then
          return at + 1
        end
      end
      at = at + 1
    end
  end
end

-- A string at `at` that ends before `behind`, where names are of interest. Returns where to go on; nil: more has to come.
local function read_name(scan, text, at, behind)
  local length = behind - at
  if length > NAME_BYTES then
    return behind
  end
  local name = string.sub(text, at, behind - 1)
  local is_usage, is_tier, is_top = name == '"usage"', name == '"service_tier"', scan.depth == 1
  local is_holder, is_kind = is_top and name == scan.holder, is_top and name == '"type"'
  if not (is_usage or is_tier or is_holder or is_kind) then
    return behind
  end
  local sign, colon = next_sign(text, behind)
  if sign ~= 58 then
    return sign and behind or nil -- it is a value
  end
  local first, value = next_sign(text, colon + 1)
  if first == nil then
    return nil
  end
  if is_holder then
    scan.held, scan.held_usage = first == 123, false
    return value
  end
  local beyond, told = value, false
  if is_usage and first == 123 then
    beyond = behind_object(text, value)
    if beyond == nil and #text - value < USAGE_BYTES then
      return nil
    end
    told = beyond and beyond - value <= USAGE_BYTES and string.sub(text, value, beyond - 1)
  elseif not is_usage and first == 34 then
    beyond = behind_string(text, value)
    if beyond == nil and #text - value < NAME_BYTES then
      return nil
    end
    told = beyond and beyond - value <= NAME_BYTES and string.sub(text, value + 1, beyond - 2)
  end
  if is_tier then
    scan.tier = told or scan.tier
  elseif is_kind then
    scan.kind = told
  elseif not is_top then
    scan.held_usage = told
  elseif scan.on_top then
    scan.usage = told
  end
  return beyond or value
end

-- Goes on from `at` inside something of no interest, until it is over: its depth is above `floor`. Returns where that is,
-- the depth there, and whether the text ends inside a string. A tight loop, so that it is compiled as one.
local function skip_nested(text, at, depth, floor)
  local size = #text
  while at <= size do
    local sign = string.byte(text, at)
    if sign == 34 then
      at = behind_string(text, at)
      if at == nil then
        return size + 1, depth, true
      end
    elseif sign == 123 then
      depth, at = depth + 1, at + 1
    elseif sign == 91 then
      local next = string.byte(text, at + 1)
      local last = next and next < 58 and end_of_numbers(text, at)
      if last then
        at = last + 1
      else
        depth, at = depth + 1, at + 1
      end
    elseif sign == 125 or sign == 93 then
      depth, at = depth - 1, at + 1
      if depth <= floor then
        return at, depth, false
      end
    else
      at = at + 1
    end
  end
  return at, depth, false
end

-- Takes the next piece of the reply.
local function scan_usage(scan, piece)
  if scan.is_off then
    return
  end
  local text, at = piece, 1
  if scan.rest ~= "" then
    text, scan.rest = scan.rest .. piece, ""
  end
  if scan.in_string then
    at = behind_string(text, 0)
    if at == nil then
      scan.rest = open_escape(text)
      return
    end
    scan.in_string = false
  end
  local size = #text
  while at <= size do
    local near = scan.held and 2 or 1 -- names are of interest there
    if scan.depth > near then
      at, scan.depth, scan.in_string = skip_nested(text, at, scan.depth, near)
    else
      local sign, start = string.byte(text, at), at
      if sign == 34 then
        local behind = behind_string(text, at)
        if behind == nil and size - at > NAME_BYTES then
          at, scan.in_string = size + 1, true
        else
          at = behind and read_name(scan, text, at, behind)
        end
      elseif sign == 123 or sign == 91 then
        scan.depth, at = scan.depth + 1, at + 1
      elseif sign == 125 or sign == 93 then
        scan.depth, at = scan.depth - 1, at + 1
        scan.held = scan.held and scan.depth > 1
      else
        at = at + 1
      end
      if at == nil then
        scan.rest = string.sub(text, start)
        return
      end
    end
  end
  if scan.in_string then
    scan.rest = open_escape(text)
  end
end

-- What was found, once all of the reply is there: the text of the usage, the tier, the type; false where there is none.
local function scanned(scan)
  if scan.depth ~= 0 or scan.in_string or scan.rest ~= "" then
    return false, false, false
  end
  return scan.usage or scan.held_usage, scan.tier, scan.kind
end

-- Usage that stands at the end of a reply of which only that is at hand: a list of embeddings has it behind megabytes of
-- numbers. A quote in front of which is no backslash, and behind whose word is another one, begins a name, whatever
-- stands before it.
local function usage_at_end(tail)
  local at, last = nil, 0
  repeat
    last = string.find(tail, '"usage"', last + 1, true)
    local before = last and last > 1 and string.byte(tail, last - 1)
    if before and before ~= 92 then
      at = last
    end
  until last == nil
  if at == nil then
    return false
  end
  local scan = new_scan(nil, true)
  scan.depth = 1
  scan_usage(scan, string.sub(tail, at))
  return (scanned(scan))
end

-- Does a text tell usage anywhere? OpenAI says "usage":null in every event but one. The search begins with a letter that
-- is rarer than a quote.
local function tells_usage(text)
  local first, last = string.find(text, 'usage"', 1, true)
  while first do
    local sign, colon = next_sign(text, last + 1)
    if sign == 58 and next_sign(text, colon + 1) == 123 and string.byte(text, first - 1) == 34 then
      return true
    end
    first, last = string.find(text, 'usage"', last + 1, true)
  end
  return false
end

local function scan_of_event(dialect)
  local holder = HOLDERS[dialect]
  return new_scan(holder[1], holder[2])
end

-- An event of a stream was read: `seen` keeps what it told. `is_final`: the dialect tells no more behind it. Anthropic
-- may leave out what it has told before: what it tells at the end comes together.
local function take_usage(seen, scan, is_final)
  local usage, tier, kind = scanned(scan)
  local is_last = FINAL[seen.dialect][kind]
  if not usage or (kind and seen.dialect == "openai-responses" and not is_last) then
    return
  end
  seen.tells, seen.tier, seen.unread = true, tier or seen.tier, false
  if not (is_final or is_last) then
    seen.so_far = usage
    seen.usage = seen.usage and ""
  elseif seen.dialect == "anthropic-messages" and seen.usage and #seen.usage + #usage < USAGE_BYTES then
    seen.usage = seen.usage .. "," .. usage
  else
    seen.usage = usage
  end
end

-- Whole events, of which one tells usage.
local function read_usage(seen, events)
  for line in string.gmatch(events, "[^\r\n]+") do
    if string.sub(line, 1, 5) == "data:" and tells_usage(line) then
      local scan = scan_of_event(seen.dialect)
      scan_usage(scan, string.sub(line, 6))
      -- In a chat what comes behind all answers is final. One that has come to its end is not: there may be others.
      local is_chat = seen.dialect == "openai-chat"
      take_usage(seen, scan, is_chat and string.find(line, '"choices":%s*%[%s*%]') ~= nil)
    end
  end
end

-- As `read_usage`, but for providers that tell it in each event of a chat: of those each 16th is read, and the last one
-- when the stream is over (`end_usage`). Should it break off, some tokens less are known.
local function note_usage(seen, events)
  seen.tellings = seen.tellings + 1
  if seen.dialect == "openai-chat" and seen.tellings % 16 ~= 1 and not string.find(events, '"choices":[]', 1, true) then
    seen.unread = events
  else
    seen.unread = false
    read_usage(seen, events)
  end
end

local function end_usage(seen)
  if seen.unread then
    read_usage(seen, seen.unread)
    seen.unread = false
  end
end

-- With the tier in front of it: each word of metadata costs some µs. Metadata is UTF-8, and what we know of usage is ASCII.
local function set_usage(metadata, name, usage, tier)
  if usage then
    local text = tier and tier .. usage or usage
    if string.find(text, "[\128-\255]") then
      text = string.gsub(text, "[\128-\255]", "?")
    end
    metadata:set("modelbroker", name, text)
  end
end

-- What was told so far, for the access log: nobody runs this script when a stream breaks off.
local function tell_usage(handle, seen)
  local metadata = handle:streamInfo():dynamicMetadata()
  if seen.so_far ~= seen.told_so_far then
    set_usage(metadata, "usage_so_far", seen.so_far, seen.tier)
    seen.told_so_far = seen.so_far
  end
  set_usage(metadata, "usage", seen.usage, seen.tier)
  seen.tells = false
end

local function is_plain(headers)
  return string.lower(headers:get("content-encoding") or "identity") == "identity"
end

local function scan_of_reply(dialect)
  return new_scan(dialect == "openai-chat" and "x_groq" or nil, true)
end

-- A whole reply, held as `body`.
local function tell_usage_of(handle, dialect, body)
  local length, usage, tier = body:length(), false, false
  if dialect == "openai-embeddings" then
    local size = math.min(length, END_BYTES)
    usage = usage_at_end(body:getBytes(length - size, size))
  end
  if not usage then
    local scan = scan_of_reply(dialect)
    for at = 0, length - 1, WINDOW_BYTES do
      scan_usage(scan, body:getBytes(at, math.min(WINDOW_BYTES, length - at)))
    end
    usage, tier = scanned(scan)
  end
  set_usage(handle:streamInfo():dynamicMetadata(), "usage", usage, tier)
end

-- A whole reply that goes on as it comes.
local function pass_with_usage(handle, dialect)
  local tail, scan = "", scan_of_reply(dialect)
  local is_list = dialect == "openai-embeddings"
  for chunk in handle:bodyChunks() do
    local text = chunk:getBytes(0, chunk:length())
    if is_list then
      tail = string.sub(#text < END_BYTES and tail .. text or text, -END_BYTES)
    else
      scan_usage(scan, text)
    end
  end
  local usage, tier = scanned(scan)
  set_usage(handle:streamInfo():dynamicMetadata(), "usage", is_list and usage_at_end(tail) or usage, tier)
end
