-- Notes, before the provider is called, that a call is about to be made: whatever dies after this, it stays known.
-- KEYS: job
-- ARGV: token, then field, value, ... to write
-- Output: 'started' | 'fenced' (another claim took the job, or it ended) | 'cancelling'
local job = KEYS[1]
local record = redis.call('HMGET', job, 'status', 'token')
if record[2] ~= ARGV[1] then return 'fenced' end
if record[1] == 'cancelling' then return 'cancelling' end
if record[1] ~= 'in_progress' then return 'fenced' end
redis.call('HSET', job, unpack(ARGV, 2))
return 'started'
