-- Takes a deployment for one call, in one step: the first in the caller's order, tier by tier, that is neither cooling nor at
-- a limit; within a tier the best by the ranking (docs/decisions/0013). When none is free, names the one that is first and when.
-- If a limit is the reason it keeps a place of its own for the caller there, so that waiting jobs wake in their order; at a
-- full deployment the caller stands in line. After a cooldown the first to come is the probe; the rest wait for it.
-- KEYS: per candidate its state, its key's pause, its usage log, its calls in flight, the line before it
-- ARGV: now_ms ('' = Redis TIME), 'window probe lease' in ms, 'input output' tokens as estimated, holder (job), keep a place
--       ('1' | '0'); then, unless nothing of it is asked for: 'candidate ms' whose place is already kept and when (1-based,
--       0 = none), ranking ('' | 'busy' | 'tokens' | 'latency'), 'buffer ttl' (ms a sample counts), and for each candidate
--       'tier rpm tpm itpm otpm parallel' (0 = no limit), tiers ascending
-- Output: {'go', candidate, ms at which it is counted or 0, is probe (1 | 0), has a place in flight (1 | 0), handed} |
--         {'wait', candidate, at ms, 'cooldown' | 'limit' | 'busy', now_ms, is next (1 | 0), handed}
--         handed: candidate, holder, ...: those in line who were given a place there
if #ARGV == 5 then
  -- Nothing is known of the first choice, and nothing asked: nearly always so, hence short.
  local known = redis.call('HMGET', KEYS[1], 'until', 'rests', 'counted', 'leased')
  if not (known[1] or known[2] or known[3] or known[4]) and not redis.call('HGET', KEYS[2], 'until') then
    return { 'go', 1, 0, 0, 0, {} }
  end
end
local function figures(text)
  local all = {}
  for figure in string.gmatch(text, '%S+') do all[#all + 1] = tonumber(figure) end
  return unpack(all)
end

local window, probe_ms, lease_ms = figures(ARGV[2])
local need, holder, keeps = { 1, figures(ARGV[3]) }, ARGV[4], ARGV[5] == '1'
local held, held_at = figures(ARGV[6] or '0 0')
local ranking, buffer, ttl = ARGV[7] or '', figures(ARGV[8] or '0 0')
-- @include now
-- @include keep
-- @include cooling
-- @include usage
-- @include limits
-- @include places
-- @include in-line
-- @include candidate
-- @include take
-- @include samples
-- @include ranking
local all, free, best = {}, {}, nil
for i = 1, #KEYS / 5 do all[i] = candidate(i) end
-- A place that has passed, or was never counted, is none.
if held > 0 and (held_at < part_ends(gone) - span or redis.call('HEXISTS', all[held].log, math.floor(held_at / part_ms)) == 0) then
  held = 0
end
for _, one in ipairs(all) do
  if #free > 0 and (ranking == '' or one.tier > free[1].tier) then break end
  look(one)
  if one.at <= now then free[#free + 1] = one
  elseif not best or one.at < best.at then best = one end
end
local chosen = ranking ~= '' and best_of(free) or free[1]
for _, one in ipairs(all) do
  local kept = chosen or keeps and best.why == 'busy' and best
  if one.parallel > 0 and not (kept and kept.flight == one.flight) then leave(one, chosen or keeps) end
end
-- @include keep-place
