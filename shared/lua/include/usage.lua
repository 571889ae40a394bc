-- Usage of a deployment in sixtieths of the window ("parts"). A part counts until its end lies a whole window back; one in the
-- future holds the places that are kept for waiting jobs. The log holds part -> 'requests input output', the state's field
-- `usage` their sum with the lowest and the highest part in it ('requests input output low top'): as long as that fits,
-- nothing else is read, and never more parts than a limit is worth, however many jobs wait.
-- Needs: now, window, keep
-- One part in a hundred more than the window: calls reach the provider with more or less delay than they were granted.
local span, part_ms = math.ceil(window * 1.01), math.ceil(window / 60)
local part, gone = math.floor(now / part_ms), math.floor((now - span) / part_ms) - 1

local function read_use(text)
  local requests, input, output, low, top = string.match(text or '0 0 0', '^(%S+) (%S+) (%S+) ?(%S*) ?(%S*)$')
  return { tonumber(requests), tonumber(input), tonumber(output), low = tonumber(low), top = tonumber(top) }
end

local function add(sum, use, sign)
  for m = 1, 3 do sum[m] = sum[m] + sign * use[m] end
end

local function part_ends(at) return (at + 1) * part_ms + span end

-- Shows the used parts from..to, upwards (step 1) or down (-1), until `visit` answers true.
local function each_part(log, from, to, step, visit)
  for at = from, to, 60 * step do
    local names = {}
    for name = at, at + 59 * step, step do
      if (to - name) * step >= 0 then names[#names + 1] = name end
    end
    for index, text in ipairs(redis.call('HMGET', log, unpack(names))) do
      if text and visit(names[index], read_use(text)) then return end
    end
  end
end

local function save_sum(state, sum)
  redis.call('HSET', state, 'usage', string.format('%.0f %.0f %.0f %.0f %.0f', sum[1], sum[2], sum[3], sum.low, sum.top))
end

-- The sum as of now: what no longer counts is forgotten.
local function usage_of(state, log, text)
  local sum = read_use(text)
  if not sum.top or sum.top <= gone then
    if sum.top then redis.call('DEL', log) end
    return { 0, 0, 0, low = gone + 1, top = gone + 1 }
  end
  if sum.low > gone then return sum end
  each_part(log, sum.low, gone, 1, function(at, use)
    add(sum, use, -1)
    redis.call('HDEL', log, at)
  end)
  sum.low = gone + 1
  save_sum(state, sum)
  return sum
end
-- @include book-usage
