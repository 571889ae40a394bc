-- What is counted of a tenant or a customer: live jobs, bytes that its jobs take, those of ended ones among them, bytes that
-- are kept free for results, requests of this minute and the one before, micro USD spent this day (UTC) and held for jobs
-- under way. Needs: now
local minute, today = math.floor(now / 60000), math.floor(now / 86400000)
local IDLE_MS = 172800000
local COUNTED = { 'live', 'bytes', 'ended', 'reserved', 'minute', 'count', 'before', 'day', 'spent', 'held' }

local function open_account(key)
  local read = redis.call('HMGET', key, unpack(COUNTED))
  local one = { key = key, is_new = not read[1] }
  for index, name in ipairs(COUNTED) do one[name] = tonumber(read[index]) or 0 end
  if one.minute ~= minute then
    one.before, one.count = one.minute == minute - 1 and one.count or 0, 0
  end
  if one.day ~= today then one.spent = 0 end
  return one
end

local function is_unused(one)
  return one.live <= 0 and one.bytes <= 0 and one.held <= 0
end

-- One that nothing is live, stored or held of is forgotten when its minute and its day are over.
local function save_account(one)
  local is_idle = is_unused(one)
  one.minute, one.day = minute, today
  local fields = {}
  for _, name in ipairs(COUNTED) do fields[#fields + 1], fields[#fields + 2] = name, math.max(0, one[name]) end
  redis.call('HSET', one.key, unpack(fields))
  if is_idle then
    redis.call('PEXPIRE', one.key, IDLE_MS)
  elseif one.was_idle and not one.is_new then
    redis.call('PERSIST', one.key)
  end
end

-- The accounts that a job counts in: its tenant's, and its customer's if it has one ('2').
local function accounts_of(prefix, tenant, owner, count)
  local all = { open_account(prefix .. tenant) }
  if tostring(count) == '2' then all[2] = open_account(prefix .. tenant .. ':' .. owner) end
  for _, one in ipairs(all) do one.was_idle = is_unused(one) end
  return all
end

-- What all jobs take together, for the mark that Redis may be filled up to.
local function count_all(prefix, bytes, reserved)
  if bytes ~= 0 then redis.call('HINCRBY', prefix .. '*', 'bytes', bytes) end
  if reserved ~= 0 then redis.call('HINCRBY', prefix .. '*', 'reserved', reserved) end
end
