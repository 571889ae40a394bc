-- What is counted of a tenant or a customer: live jobs, bytes that its jobs take, those of ended ones among them, bytes that
-- are kept free for results, requests of this minute and the one before, micro USD spent this day (UTC) and held for jobs
-- under way. One string for each, since every job reads and writes it twice: '<live> <bytes> <ended> <reserved> <minute>
-- <count> <before> <day> <spent> <held>'. Needs: now
local minute, today = math.floor(now / 60000), math.floor(now / 86400000)
local IDLE_MS = 172800000
local max = math.max

local function open_account(key)
  local text = redis.call('GET', key)
  if not text then
    return { key = key, live = 0, bytes = 0, ended = 0, reserved = 0, count = 0, before = 0, spent = 0, held = 0 }
  end
  local live, bytes, ended, reserved, at, count, before, day, spent, held =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  at = tonumber(at)
  if at ~= minute then count, before = 0, at == minute - 1 and count or 0 end
  return {
    key = key, live = tonumber(live), bytes = tonumber(bytes), ended = tonumber(ended), reserved = tonumber(reserved),
    count = tonumber(count), before = tonumber(before), spent = tonumber(day) == today and tonumber(spent) or 0,
    held = tonumber(held),
  }
end

-- One that nothing is live, stored or held of is forgotten when its minute and its day are over.
local function save_account(one)
  local text = string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.6f %.0f', max(0, one.live), max(0, one.bytes),
    max(0, one.ended), max(0, one.reserved), minute, one.count, one.before, today, max(0, one.spent), max(0, one.held))
  if one.live <= 0 and one.bytes <= 0 and one.held <= 0 then
    redis.call('SET', one.key, text, 'PX', IDLE_MS)
  else
    redis.call('SET', one.key, text)
  end
end

-- The accounts that a job counts in: its tenant's, and its customer's if it has one ('2').
local function accounts_of(prefix, tenant, owner, count)
  local all = { open_account(prefix .. tenant) }
  if tostring(count) == '2' then all[2] = open_account(prefix .. tenant .. ':' .. owner) end
  return all
end

-- What is kept free for the results of all jobs together, for the mark that Redis may be filled up to.
local function count_reserved(prefix, reserved)
  if reserved ~= 0 then redis.call('HINCRBY', prefix .. '*', 'reserved', reserved) end
end
