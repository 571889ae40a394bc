-- Samples of seconds per output token, newest last, as 'ms:seconds ms:seconds' in the state's field `samples`. Needs: now, keep
local function each_sample(text, ttl, visit)
  for at, seconds in string.gmatch(text or '', '(%d+):(%S+)') do
    if at + ttl > now then visit(at, seconds) end
  end
end

local function mean_of(text, ttl)
  local sum, count = 0, 0
  each_sample(text, ttl, function(_, seconds)
    sum, count = sum + seconds, count + 1
  end)
  return count > 0 and sum / count or 0
end

local function note_samples(state, samples, samples_max, ttl)
  local all = {}
  each_sample(redis.call('HGET', state, 'samples'), ttl, function(at, seconds) all[#all + 1] = at .. ':' .. seconds end)
  for _, seconds in ipairs(samples) do all[#all + 1] = string.format('%.0f:', now) .. seconds end
  redis.call('HSET', state, 'samples', table.concat(all, ' ', math.max(1, #all - samples_max + 1)))
  keep(state, ttl)
end
