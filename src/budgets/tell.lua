-- What this broker has spent and holds, where it is otherwise than Redis knows. KEYS: the brokers, then accounts. ARGV:
-- this broker, its epoch; then four of each account: slot, all that it has spent in it, what it holds more than
-- before, and when the account is of no use any more (unix time; 0: never).
-- 1, or 0: not known, come in again.
local broker, epoch = ARGV[1], ARGV[2]
local its = string.match(redis.call('HGET', KEYS[1], broker) or '', '^(%S+) ')
if its ~= epoch then return 0 end
redis.call('HSET', KEYS[1], broker, epoch .. ' ' .. redis.call('TIME')[1])
for i = 2, #KEYS do
  local base = 2 + (i - 2) * 4
  local slot, spent, more, expires = ARGV[base + 1], ARGV[base + 2], ARGV[base + 3], tonumber(ARGV[base + 4])
  if spent ~= '0' then
    redis.call('HSET', KEYS[i], broker .. ' s ' .. slot, spent)
  else
    redis.call('HDEL', KEYS[i], broker .. ' s ' .. slot)
  end
  if more ~= '0' and redis.call('HINCRBY', KEYS[i], broker .. '.' .. epoch .. ' r ' .. slot, more) == 0 then
    redis.call('HDEL', KEYS[i], broker .. '.' .. epoch .. ' r ' .. slot)
  end
  if expires > 0 then redis.call('EXPIREAT', KEYS[i], expires) end
end
return 1
