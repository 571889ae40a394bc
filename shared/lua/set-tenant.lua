-- Writes a tenant's record, and with it how many jobs may run at once, which is where feeding looks; only on top of the
-- record that the writer read. Whoever remembers tenants is told. Safe to send twice.
-- KEYS: records, index, concurrency
-- ARGV: tenant, record as it was read ('': there was none), new record, ms of now, channel, message,
--       then for each field of `concurrency` that this tenant has or had: field, number ('': no such limit)
-- Output: 'written' | 'changed' (somebody else wrote meanwhile: read again)
local records, index, concurrency = KEYS[1], KEYS[2], KEYS[3]
local tenant, read, record = ARGV[1], ARGV[2], ARGV[3]
local current = redis.call('HGET', records, tenant) or ''
if current ~= read and current ~= record then return 'changed' end

redis.call('HSET', records, tenant, record)
redis.call('ZADD', index, 'NX', ARGV[4], tenant)
for place = 7, #ARGV, 2 do
  local field, limit = ARGV[place], ARGV[place + 1]
  if limit == '' then
    redis.call('HDEL', concurrency, field)
  else
    redis.call('HSET', concurrency, field, limit)
  end
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 'written'
