-- Renews the leases of calls under way; one that the server has lost is made anew.
--
-- KEYS: the runs of each lease, as in admit.lua.
-- ARGV: the length of a lease in microseconds, then the name of each lease.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local length = tonumber(ARGV[1])

for index, runs in ipairs(KEYS) do
  redis.call('ZADD', runs, string.format('%.0f', now + length), ARGV[index + 1])
  redis.call('PEXPIRE', runs, string.format('%.0f', math.ceil(length / 1000)))
end
return {}
