-- Moves waiting jobs into the window while it has room: round robin over tenants, within a tenant over its owners, within
-- an owner by shares of its priorities, then by age. No tenant gets above half of the slots while others wait, nor ever the
-- last 15% of them; limits of concurrent jobs hold. Waiting sets, owner rings and records are named by what the rings hold,
-- hence the prefixes (all in this shard's slot).
-- KEYS: window, busy, tenants, slots, concurrency, lines in flight, turns
-- ARGV: now_ms ('' = Redis TIME), jobs at most, prefix of owner rings, prefix of waiting sets, prefix of records,
--       ms after which a queue entry that nobody claimed is looked for, jobs of a queue entry at most, slots for each of them
-- Output: {id, generation, name of the entry it goes in ('' = its own, behind which the next ones may go), ...} to be enqueued
local window, busy, tenants, concurrency, batch_busy, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7]
local jobs_max, owners_prefix, waiting_prefix, job_prefix = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local slots = tonumber(redis.call('GET', KEYS[4])) or 0
-- @include now
-- @include room-of
-- @include count-busy
-- @include next-of
local total = redis.call('ZCARD', window)
local ring = redis.call('LLEN', tenants)
local passed, out = 0, {}
local width, entry = 3 * math.max(1, math.min(tonumber(ARGV[7]), math.floor(slots / tonumber(ARGV[8])))), ''

while #out < jobs_max * 3 and passed < ring and total < slots + 32 do
  local tenant = redis.call('LMOVE', tenants, tenants, 'LEFT', 'RIGHT')
  local owners = owners_prefix .. tenant
  local owner, id
  if tenant_has_room(tenant, total, ring == 1) then owner, id = next_of(tenant, owners) end
  local is_left = redis.call('LLEN', owners) == 0
  if is_left then
    redis.call('LREM', tenants, 0, tenant)
    ring = ring - 1
  end
  if id then
    local record = redis.call('HMGET', job_prefix .. id, 'status', 'accounts')
    if record[1] == 'queued' then
      local generation = redis.call('HINCRBY', job_prefix .. id, 'generation', 1)
      redis.call('ZADD', window, now + tonumber(ARGV[6]), id)
      count_busy(tenant, owner, record[2], 1)
      total = total + 1
      local shared = #out % width > 0 and entry or ''
      if shared == '' then entry = id .. '-' .. generation end
      redis.call('HSET', job_prefix .. id, 'entry', shared)
      out[#out + 1] = id
      out[#out + 1] = generation
      out[#out + 1] = shared
    end
    passed = 0
  elseif not is_left then
    passed = passed + 1
  end
end
return out
