-- Which cause an error reply has: src/dialects/causes.py in Lua, for calls that no Python sees. `rules` is what
-- xds/lua_causes.py makes of the table there: {s = statuses, n = needles, a = also, l = lacks, c = cause}, each part
-- but the cause may be left out; `by_status` and `most_bytes` beside them. Plain searches only.

local made = {}

-- `texts`: dialect -> what gives its rules, as Lua. Most members never need theirs, and a table takes twice the
-- memory of its text: it is made when the first error comes.
local function rules_of(texts, dialect)
  local text = texts[dialect]
  made[text] = made[text] or loadstring(text)()
  return made[text]
end

local function has_one(text, needles)
  for _, needle in ipairs(needles) do
    if string.find(text, needle, 1, true) then
      return true
    end
  end
  return false
end

-- `status` as a header has it or as a number; `kind`: what x-amzn-errortype says, or nil. Gives the cause's name.
local function cause_of(rules, status, body, kind)
  status = tonumber(status) or 0
  if status < 400 or status > 599 then
    return "garbage"
  end
  local text = string.lower("\n" .. (kind or "") .. "\n" .. string.sub(body, 1, rules.most_bytes))
  text = string.gsub(text, '": ', '":')
  for _, rule in ipairs(rules) do
    if
      (not rule.s or rule.s[status])
      and (not rule.n or has_one(text, rule.n))
      and (not rule.a or has_one(text, rule.a))
      and not (rule.l and has_one(text, rule.l))
    then
      return rule.c
    end
  end
  return rules.by_status[status] or (status >= 500 and "server-error" or "bad-request")
end
