-- What this broker has spent and holds, where it is otherwise than Redis knows. KEYS: the brokers, then accounts. ARGV:
-- this broker, its epoch; then one text of each account, with its numbers: slot, all that it has spent in it, what it
-- holds more than before, and when the account is of no use any more (unix time; 0: never).
-- 1, or 0: not known, come in again.
local broker, epoch = ARGV[1], ARGV[2]
local its = string.match(redis.call('HGET', KEYS[1], broker) or '', '^(%S+) ')
if its ~= epoch then return 0 end
redis.call('HSET', KEYS[1], broker, epoch .. ' ' .. redis.call('TIME')[1])
for i = 2, #KEYS do
  local slot, spent, more, ends = string.match(ARGV[i + 1], '^(%S+) (%S+) (%S+) (%S+)$')
  local expires = tonumber(ends)
  if spent ~= '0' then
    redis.call('HSET', KEYS[i], broker .. ' s ' .. slot, spent)
  else
    redis.call('HDEL', KEYS[i], broker .. ' s ' .. slot)
  end
  -- Less than nothing: what it held was lost here.
  if more ~= '0' and redis.call('HINCRBY', KEYS[i], broker .. '.' .. epoch .. ' r ' .. slot, more) <= 0 then
    redis.call('HDEL', KEYS[i], broker .. '.' .. epoch .. ' r ' .. slot)
  end
  if expires > 0 then redis.call('EXPIREAT', KEYS[i], expires) end
end
return 1
