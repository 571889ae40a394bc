-- Writes a gateway key's record, or takes it away; only on top of the record that the writer read, so that no change brings
-- back a key that was revoked meanwhile. Whoever remembers keys is told. Safe to send twice.
-- KEYS: records, hashes by id, ids of the tenant
-- ARGV: the key's hash, id, record as it was read ('': there was none), new record ('': it is revoked), ms of now,
--       most keys of a tenant, channel
-- Output: 'written' | 'changed' (somebody else wrote meanwhile: read again) | 'full'
local records, hashes, ids = KEYS[1], KEYS[2], KEYS[3]
local hash, id, read, record, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
local current = redis.call('HGET', records, hash) or ''
if current ~= read and current ~= record then return 'changed' end
if current == '' and record ~= '' and redis.call('ZCARD', ids) >= tonumber(ARGV[6]) then return 'full' end

if record == '' then
  redis.call('HDEL', records, hash)
  redis.call('HDEL', hashes, id)
  redis.call('ZREM', ids, id)
else
  redis.call('HSET', records, hash, record)
  redis.call('HSET', hashes, id, hash)
  -- Two of one millisecond keep their order.
  local last = tonumber(redis.call('ZREVRANGE', ids, 0, 0, 'WITHSCORES')[2]) or 0
  redis.call('ZADD', ids, 'NX', math.max(tonumber(ARGV[5]), last + 1), id)
end
redis.call('PUBLISH', channel, id)
return 'written'
