-- Sums up news of what was used, oldest first, each once: a tenant's of one UTC day, by customer, gateway key and model. A day
-- has so many of these combinations at most; what comes beyond is summed up under '*'. A day stands among those to be exported
-- from its first news on, scored by its end.
-- KEYS: news, days
-- ARGV: news at most, prefix of sums, combinations of a day at most, ms that the sums are kept after the day, '1' when days are
--       exported
-- Output: {news summed up, news left}
local news, days = KEYS[1], KEYS[2]
local prefix, combinations_max, kept = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local DAY_MS, OTHERS = 86400000, '["*","*","*"]'
local lines = redis.call('LPOP', news, ARGV[1])
if not lines then return { 0, 0 } end

local sums = {}
local function sums_of(tenant, day)
  local member = day .. ' ' .. tenant
  if not sums[member] then
    local key = prefix .. tenant .. ':' .. day
    sums[member] = { key = key, day = tonumber(day), size = redis.call('HLEN', key), fields = {} }
  end
  return sums[member]
end

-- As it stands, or a new one: requests, completed ones of them, input and output tokens, micro USD.
local function sum_of(of, field)
  if of.fields[field] then return of.fields[field] end
  local known = redis.call('HGET', of.key, field)
  if not known and of.size >= combinations_max and field ~= OTHERS then return sum_of(of, OTHERS) end
  if not known then of.size = of.size + 1 end
  local figures = {}
  for figure in string.gmatch(known or '0 0 0 0 0', '%S+') do figures[#figures + 1] = tonumber(figure) end
  of.fields[field] = figures
  return figures
end

for _, line in ipairs(lines) do
  local day, text = string.match(line, '^(%d+) (.+)$')
  local tenant, customer, key, model, status, input, output, micro_usd = unpack(cjson.decode(text))
  local sum = sum_of(sums_of(tenant, day), cjson.encode({ customer, key, model }))
  local added = { 1, status == 'completed' and 1 or 0, input, output, micro_usd }
  for at, figure in ipairs(added) do sum[at] = sum[at] + figure end
end

for member, of in pairs(sums) do
  for field, sum in pairs(of.fields) do
    redis.call('HSET', of.key, field, string.format('%.0f %.0f %.0f %.0f %.6f', unpack(sum)))
  end
  local ends = (of.day + 1) * DAY_MS
  redis.call('PEXPIREAT', of.key, ends + kept)
  if ARGV[5] == '1' then redis.call('ZADD', days, 'NX', ends, member) end
end
return { #lines, redis.call('LLEN', news) }
