-- Takes what one call needs from every subject, or nothing from any of them.
--
-- KEYS: for each subject its rates (a hash: "r" and "t", the microsecond at which the limit of
--   requests and that of tokens will be full again) and its runs (a sorted set: the leases of the
--   calls under way, by the microsecond at which they run out).
-- ARGV: the lease's name and length in microseconds; then for each subject the cost of a request
--   and of the tokens in microseconds of their limit, and the calls at once; -1 for no limit.
-- Returns: 1 if the call was admitted, else 0; the server's time; then for each subject both
--   times of its rates and the number of its runs.
--
-- Times are below 2^53, and so whole in Lua's numbers, as long as they are never printed by %g.

local MINUTE = 60000000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lease, length = ARGV[1], tonumber(ARGV[2])
local admitted = 1
local subjects = {}

local function exact(number)
  return string.format('%.0f', number)
end

local function take(full, cost)
  if cost < 0 then
    return full
  end
  local taken = math.max(full, now) + cost
  if taken > now + MINUTE then
    admitted = 0
  end
  return taken
end

for index = 1, #KEYS / 2 do
  local subject = { rates = KEYS[2 * index - 1], runs = KEYS[2 * index], running = 0 }
  local at = 3 * index
  local request, tokens = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local most = tonumber(ARGV[at + 2])
  local rates = redis.call('HMGET', subject.rates, 'r', 't')
  subject.before = { tonumber(rates[1] or 0), tonumber(rates[2] or 0) }
  subject.after = { take(subject.before[1], request), take(subject.before[2], tokens) }
  subject.rated = request >= 0 or tokens >= 0
  subject.leased = tokens >= 0 or most >= 0 -- else nobody will ask for it again
  if subject.leased then
    redis.call('ZREMRANGEBYSCORE', subject.runs, '-inf', exact(now))
    subject.running = redis.call('ZCARD', subject.runs)
  end
  if most >= 0 and subject.running >= most then
    admitted = 0
  end
  subjects[index] = subject
end

local answer = { admitted, now }
for _, subject in ipairs(subjects) do
  local times = subject.before
  if admitted == 1 then
    times = subject.after
    subject.running = subject.running + 1
    if subject.rated then
      redis.call('HSET', subject.rates, 'r', exact(times[1]), 't', exact(times[2]))
      redis.call('PEXPIREAT', subject.rates, exact(math.ceil(math.max(times[1], times[2]) / 1000)))
    end
    if subject.leased then
      redis.call('ZADD', subject.runs, exact(now + length), lease)
      redis.call('PEXPIRE', subject.runs, exact(math.ceil(length / 1000)))
    end
  end
  table.insert(answer, times[1])
  table.insert(answer, times[2])
  table.insert(answer, subject.running)
end
return answer
