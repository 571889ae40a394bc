-- Writes a tenant's record, and with it how many jobs may run at once, which is where feeding looks, and what a day's calls may
-- cost, where lines of batches look; only on top of the record that the writer read. Whoever remembers tenants is told. Safe to send twice.
-- KEYS: records, index, concurrency, budgets
-- ARGV: tenant, record as it was read ('': there was none), new record, ms of now, channel, message,
--       then for each field of `concurrency` or `budgets` that this tenant has or had: which of KEYS, field, number ('': no such
--       limit); a later one of a field wins
-- Output: 'written' | 'changed' (somebody else wrote meanwhile: read again)
local records, index = KEYS[1], KEYS[2]
local tenant, read, record = ARGV[1], ARGV[2], ARGV[3]
local current = redis.call('HGET', records, tenant) or ''
if current ~= read and current ~= record then return 'changed' end

redis.call('HSET', records, tenant, record)
-- Two of one millisecond keep their order.
local last = tonumber(redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2]) or 0
redis.call('ZADD', index, 'NX', math.max(tonumber(ARGV[4]), last + 1), tenant)
for place = 7, #ARGV, 3 do
  local limits, field, limit = KEYS[tonumber(ARGV[place])], ARGV[place + 1], ARGV[place + 2]
  if limit == '' then
    redis.call('HDEL', limits, field)
  else
    redis.call('HSET', limits, field, limit)
  end
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 'written'
