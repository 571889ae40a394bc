-- Writes a stored credential: a new one, if its tenant may have one more, or over the state that was read. Safe to send twice.
-- KEYS: credential, credentials of the tenant
-- ARGV: id, revision that was read ('' = it is new), revision to be written, most that a tenant may have, then field, value, ...
-- Output: 'written' | 'full' | 'stale' (changed since, or gone)
local credential, index = KEYS[1], KEYS[2]
local id, read, revision = ARGV[1], ARGV[2], ARGV[3]
local current = redis.call('HGET', credential, 'revision') or ''
if current == revision then return 'written' end
if current ~= read then return 'stale' end
if read == '' and redis.call('ZCARD', index) >= tonumber(ARGV[4]) then return 'full' end

redis.call('HSET', credential, 'revision', revision, unpack(ARGV, 5))
-- All at one score: ids sort by time.
redis.call('ZADD', index, 0, id)
return 'written'
