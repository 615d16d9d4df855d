-- What `policy.budgets.judge` says, over what all brokers hold together; and where it is granted, this broker's part
-- of it. KEYS: the brokers, then the account of each claim. ARGV: this broker, its epoch, how long a broker's word
-- holds (s), how many claims; then one text of each claim, with its numbers: amount, most (-1: no end), degrade (-1:
-- nowhere), slot, first slot that counts, first slot that is kept, lender (from 1; 0: none), is it the call's own (1 or
-- 0), when the account is of no use any more (unix time; 0: never), and has this broker said that it spent something
-- in these slots (1 or 0). Where that is not there, Redis has lost it, and maybe what others said: all come in again.
-- {0 granted | 1 degraded | 2 denied | 3 not known: come in again, row, used, taken, passed, slots of that row, what of
-- its use is reserved}
local broker, epoch, lease, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(redis.call('TIME')[1])
local alive = {}
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  local its, beat = string.match(known[i + 1], '^(%S+) (%d+)$')
  if known[i] == broker then
    if its ~= epoch then return {3} end
    alive[broker .. '.' .. its] = true
  elseif its and now - tonumber(beat) <= lease then
    alive[known[i] .. '.' .. its] = true
  end
end
if not alive[broker .. '.' .. epoch] then return {3} end

local claims, used, slots, reserved = {}, {}, {}, {}
for row = 1, count do
  local claim = {}
  for number in string.gmatch(ARGV[4 + row], '%S+') do claim[#claim + 1] = tonumber(number) end
  claims[row] = claim
  local first, kept, sum, held, old, by_slot, is_lost = claim[5], claim[6], 0, 0, {}, {}, claim[10] == 1
  local fields = redis.call('HGETALL', KEYS[row + 1])
  for i = 1, #fields, 2 do
    local whose, kind, at = string.match(fields[i], '^(%S+) ([sr]) (-?%d+)$')
    local slot, amount = tonumber(at), tonumber(fields[i + 1])
    if slot < kept then
      old[#old + 1] = fields[i]
    elseif slot >= first and (kind == 's' or alive[whose]) then
      sum = sum + amount
      if kind == 'r' then held = held + amount end
      by_slot[slot] = (by_slot[slot] or 0) + amount
      if kind == 's' and whose == broker then is_lost = false end
    end
  end
  if is_lost then
    redis.call('DEL', KEYS[1])
    return {3}
  end
  if #old > 0 then redis.call('HDEL', KEYS[row + 1], unpack(old, 1, math.min(#old, 1000))) end
  used[row], slots[row], reserved[row] = sum, by_slot, held
end

local function flat(by_slot)
  local result = {}
  for slot, amount in pairs(by_slot) do
    result[#result + 1] = slot
    result[#result + 1] = amount
  end
  return result
end

for row = 1, count do
  if claims[row][3] >= 0 and used[row] + claims[row][1] > claims[row][3] then
    return {1, row, used, {}, {}, flat(slots[row]), reserved[row]}
  end
end
local need, passed = {}, {}
for row = 1, count do need[row], passed[row] = claims[row][1], 0 end
for row = 1, count do
  local most = claims[row][2]
  if most >= 0 and need[row] > 0 and used[row] + need[row] > most then
    local lender = claims[row][7]
    if lender == 0 then return {2, row, used, {}, {}, flat(slots[row]), reserved[row]} end
    if claims[lender][8] == 0 then
      local room = math.max(0, most - used[row])
      passed[row] = need[row] - room
      need[lender] = need[lender] + passed[row]
      need[row] = room
    end
  end
end
for row = 1, count do
  if need[row] > 0 then
    redis.call('HINCRBY', KEYS[row + 1], broker .. '.' .. epoch .. ' r ' .. string.format('%d', claims[row][4]), need[row])
    if claims[row][9] > 0 then redis.call('EXPIREAT', KEYS[row + 1], claims[row][9]) end
  end
end
return {0, 0, used, need, passed, {}, 0}
