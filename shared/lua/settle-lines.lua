-- Ends lines of a batch, each once: notes where its durable result lies, counts it, erases the key of its credentials, frees
-- its place in its chunk. The first complete result of any claim counts; any other end needs the current token. Told twice, it
-- changes nothing.
-- KEYS: those of a batch's step (include/batch-step)
-- ARGV: now_ms ('' = Redis TIME), id, chunk, token, ms after which an entry that nobody claimed is looked for, channel, channel of
--       stops, bytes of a line's key, then of each line: line, by ('complete' | 'claim'), order entry,
--       'completed' | 'failed' | 'expired' | 'cancelled', input tokens, cached ones of them, output tokens, cost ('' = unknown)
-- Output: {a letter for each line: s(ettled) | e(nded before) | f(enced), finish to be enqueued 1|0, tenants waiting}
local unclaimed_ms, key_bytes = tonumber(ARGV[5]), tonumber(ARGV[8])
-- @include now
-- @include batch-step
local is_mine = redis.call('HGET', chunk, 'token') == ARGV[4]
local has_ended = is_over(redis.call('HGET', batch, 'status'))
local words, left, sums = {}, 0, {}
local keys_end = redis.call('STRLEN', line_keys)

local function settle(at)
  local line = tonumber(ARGV[at])
  redis.call('APPEND', order, ARGV[at + 2])
  for offset, name in pairs({ [4] = 'input_tokens', [5] = 'cached_tokens', [6] = 'output_tokens', [7] = 'cost' }) do
    if ARGV[at + offset] ~= '' then sums[name] = (sums[name] or 0) + tonumber(ARGV[at + offset]) end
  end
  sums.settled, sums[ARGV[at + 3]] = (sums.settled or 0) + 1, (sums[ARGV[at + 3]] or 0) + 1
  redis.call('HDEL', lines, line)
  if not is_mine then redis.call('ZREM', parked, line) end
  if (line + 1) * key_bytes <= keys_end then
    redis.call('SETRANGE', line_keys, line * key_bytes, string.rep('\0', key_bytes))
  end
end

for at = 9, #ARGV, 8 do
  local word = 'f'
  if has_ended then
    word = 'e'
  elseif is_mine or ARGV[at + 1] == 'complete' then
    word = redis.call('SETBIT', done, ARGV[at], 1) == 0 and 's' or 'e'
    if word == 's' then settle(at) end
  end
  if is_mine and number ~= 'f' then left = left + redis.call('HSETNX', chunk, 'x' .. ARGV[at], 1) end
  words[#words + 1] = word
end
for name, sum in pairs(sums) do
  redis.call(name == 'cost' and 'HINCRBYFLOAT' or 'HINCRBY', batch, name, name == 'cost' and string.format('%.10f', sum) or sum)
end
-- Its worker's clock has seen the deadline first.
if sums.expired and redis.call('HSETNX', batch, 'ending', 'expired') == 1 then withdraw() end
local bounds = redis.call('HMGET', batch, 'errors_max', 'failed')
if bounds[1] and (tonumber(bounds[2]) or 0) > tonumber(bounds[1]) and redis.call('HSETNX', batch, 'ending', 'max_errors') == 1 then
  withdraw()
  redis.call('PUBLISH', ARGV[7], id)
end
if left > 0 then leave(left) end
offer()
redis.call('PUBLISH', ARGV[6], id)
return { table.concat(words), check_end(), redis.call('LLEN', tenants) }
