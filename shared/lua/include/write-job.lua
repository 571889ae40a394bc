-- The end of create-job: the job is taken.
for _, one in ipairs(accounts) do
  one.live, one.count = one.live + 1, one.count + 1
  one.bytes, one.reserved, one.held = one.bytes + bytes, one.reserved + reserved, one.held + held
  save_account(one)
end
count_reserved(ARGV[12], reserved)
if body_hash ~= '' then redis.call('SET', idem, id .. ' ' .. body_hash, 'PX', deadline - now + tonumber(ARGV[6])) end
if ARGV[11] ~= '' then
  redis.call('RPUSH', orphans, id)
  redis.call('PEXPIRE', orphans, deadline - now + 600000)
end
-- What is as with most jobs is not written: small records are names of fields for a good part.
local written = { 'status', 'queued', 'tenant', tenant, 'owner', owner, 'created', now, 'deadline', deadline, 'size', bytes,
  unpack(ARGV, 19) }
local function note(name, value, usual)
  if value == usual then return end
  written[#written + 1] = name
  written[#written + 1] = value
end
note('class', class, 1)
note('generation', generation, 0)
note('accounts', accounts_count, '1')
note('reserved', reserved, 0)
note('held', held, 0)
if state == 'delayed' then
  note('starts', starts)
  note('queue_state', state)
  note('next_at', starts)
end
redis.call('HSET', job, unpack(written))
if retried and redis.call('EXISTS', retried) == 1 then redis.call('HSET', retried, 'retried_by', id) end
redis.call('ZADD', index, now, id)
redis.call('ZADD', due, deadline, id)
if state == 'delayed' then
  redis.call('ZADD', parked, starts, id)
elseif generation == 1 then
  redis.call('ZADD', window, now + tonumber(ARGV[10]), id)
  count_busy(tenant, owner, accounts_count, 1)
else
  redis.call('ZADD', waiting, class * 1e14 + now, id)
  if redis.call('ZCARD', waiting) == 1 and redis.call('RPUSH', owners, owner) == 1 then
    redis.call('RPUSH', tenants, tenant)
  end
end
return { 'created', generation, now, slots, counted(accounts) }
