-- Moves parked jobs whose time has come back into their owners' waiting sets, by priority and original age. Their records
-- name those sets, hence the prefixes.
-- KEYS: parked, tenants
-- ARGV: now_ms ('' = Redis TIME), jobs at most, prefix of owner rings, prefix of waiting sets, prefix of records
-- Output: {jobs woken, tenants with waiting jobs, ms until the next parked job is due or -1}
local parked, tenants = KEYS[1], KEYS[2]
local owners_prefix, waiting_prefix, job_prefix = ARGV[3], ARGV[4], ARGV[5]
-- @include now
-- @include wake-job
local due = redis.call('ZRANGEBYSCORE', parked, '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(due) do wake_job(id, place_of(id)) end
local following = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
local wait = following[2] and math.max(0, tonumber(following[2]) - now) or -1
return { #due, redis.call('LLEN', tenants), wait }
