-- Cuts one chunk of a batch. Needs: now, window, busy, lines_max, ARGV as in feed-chunks
-- @include batch-room
local function lines_of(parked, facts, count)
  local due = redis.call('ZRANGE', parked, '-inf', now, 'BYSCORE', 'LIMIT', 0, count)
  if #due > 0 then
    redis.call('ZREM', parked, unpack(due))
    return table.concat(due, ' '), #due
  end
  local from, total = tonumber(facts[1]), tonumber(facts[2])
  if not takes_more(parked, from, total, tonumber(facts[7])) then return nil, 0 end
  local to = math.min(from + count, total)
  return from .. '-' .. (to - 1), to - from, to
end

-- @return number of the chunk or nil, whether the batch stays in line: it has more lines, and room of its own for them
local function cut(id, tenant, owner, room)
  local batch, parked = ARGV[6] .. id, ARGV[8] .. id
  local facts = redis.call('HMGET', batch, 'cursor', 'total', 'inflight', 'concurrency', 'status', 'ending', 'settled')
  if facts[5] ~= 'in_progress' or facts[6] then return nil, false end
  -- One that is at its own limit is offered again when lines of it settle.
  room = math.min(room, own_room(facts[3], facts[4]))
  if room < 1 then return nil, false end
  local text, count, cursor = lines_of(parked, facts, math.min(lines_max, math.max(8, 2 * room)))
  if not text then return nil, false end
  if cursor then redis.call('HSET', batch, 'cursor', cursor) end
  local width = math.min(room, count)
  local number = redis.call('HINCRBY', batch, 'chunks', 1)
  redis.call('HSET', ARGV[7] .. id .. ':' .. number, 'generation', 1, 'lines', text, 'open', count, 'width', width)
  redis.call('ZADD', window, now + tonumber(ARGV[3]), id .. ' ' .. number)
  redis.call('HINCRBY', batch, 'live', 1)
  local inflight = redis.call('HINCRBY', batch, 'inflight', width)
  for _, field in ipairs({ tenant, tenant .. ' ' .. owner, '*' }) do redis.call('HINCRBY', busy, field, width) end
  local more = has_lines(parked, cursor or tonumber(facts[1]), tonumber(facts[2]), tonumber(facts[7]))
  return tostring(number), more and own_room(inflight, facts[4]) > 0
end
