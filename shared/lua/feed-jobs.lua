-- Moves waiting jobs into the window while it has room: round robin over tenants, within a tenant over its owners, within
-- an owner by priority and age. No tenant gets above half of the slots while others wait, nor ever the last 15% of them.
-- Waiting sets, owner rings and records are named by what the rings hold, hence the prefixes (all in this shard's slot).
-- KEYS: window, busy, tenants, slots
-- ARGV: now_ms ('' = Redis TIME), jobs at most, prefix of owner rings, prefix of waiting sets, prefix of records,
--       ms after which a queue entry that nobody claimed is looked for
-- Output: {id, generation, id, generation, ...} to be enqueued
local window, busy, tenants, slots_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local jobs_max, owners_prefix, waiting_prefix, job_prefix = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local slots = tonumber(redis.call('GET', slots_key)) or 0
local total = redis.call('ZCARD', window)
local ring = redis.call('LLEN', tenants)
local passed, out = 0, {}

while #out < jobs_max * 2 and passed < ring and total < slots + 32 do
  local tenant = redis.call('LMOVE', tenants, tenants, 'LEFT', 'RIGHT')
  local mine = tonumber(redis.call('HGET', busy, tenant)) or 0
  if mine < math.max(1, slots / 2) or (ring == 1 and total + 1 <= slots * 0.85) then
    local owners = owners_prefix .. tenant
    local owner = redis.call('LMOVE', owners, owners, 'LEFT', 'RIGHT')
    local waiting = waiting_prefix .. tenant .. ':' .. (owner or '')
    local id = redis.call('ZPOPMIN', waiting)[1]
    if owner and redis.call('ZCARD', waiting) == 0 then redis.call('LREM', owners, 0, owner) end
    if redis.call('LLEN', owners) == 0 then
      redis.call('LREM', tenants, 0, tenant)
      ring = ring - 1
    end
    if id and redis.call('HGET', job_prefix .. id, 'status') == 'queued' then
      local generation = redis.call('HINCRBY', job_prefix .. id, 'generation', 1)
      redis.call('ZADD', window, now + tonumber(ARGV[6]), id)
      redis.call('HINCRBY', busy, tenant, 1)
      total = total + 1
      out[#out + 1] = id
      out[#out + 1] = generation
    end
    passed = 0
  else
    passed = passed + 1
  end
end
return out
