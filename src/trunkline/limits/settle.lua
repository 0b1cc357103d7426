-- Ends calls: gives their leases back, and replaces the tokens they were admitted with by those
-- that they did use. A lease that is gone has been settled before, or has run out: it is passed
-- over, so that settling twice is settling once.
--
-- KEYS: for each ended call and subject its rates and its runs, as in admit.lua.
-- ARGV: for each the lease's name, and the microseconds to add to the limit of tokens.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function exact(number)
  return string.format('%.0f', number)
end

for index = 1, #KEYS / 2 do
  local rates, runs = KEYS[2 * index - 1], KEYS[2 * index]
  local lease, change = ARGV[2 * index - 1], tonumber(ARGV[2 * index])
  if redis.call('ZREM', runs, lease) == 1 and change ~= 0 then
    local before = redis.call('HMGET', rates, 'r', 't')
    local requests = tonumber(before[1] or 0)
    local tokens = math.max(now, math.max(now, tonumber(before[2] or 0)) + change)
    redis.call('HSET', rates, 'r', exact(requests), 't', exact(tokens))
    redis.call('PEXPIREAT', rates, exact(math.ceil(math.max(requests, tokens) / 1000)))
  end
end
return {}
