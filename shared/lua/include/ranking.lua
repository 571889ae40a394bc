-- Picks among free candidates of one tier: the first in the given order of those as good as the best.
-- Needs: samples, ranking ('busy' | 'tokens' | 'latency'), buffer, ttl
local function figure_of(one)
  if ranking == 'busy' then return redis.call('ZCOUNT', one.flight, string.format('(%.0f', now), '+inf') end
  if ranking == 'tokens' then return one.sum[2] + one.sum[3] end
  return mean_of(redis.call('HGET', one.state, 'samples'), ttl)
end

local function best_of(free)
  local figures, lowest = {}, math.huge
  for index, one in ipairs(free) do
    figures[index] = figure_of(one)
    lowest = math.min(lowest, figures[index])
  end
  for index, one in ipairs(free) do
    if figures[index] <= lowest * (1 + buffer) then return one end
  end
end
