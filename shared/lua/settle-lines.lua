-- Ends lines of a batch, each once: notes where its durable result lies, counts it, erases the key of its credentials, frees
-- its place in its chunk, counts what it cost in place of what was held for it, tells what it used. The first complete result of
-- any claim counts; any other end needs the current token. Told twice, it changes nothing.
-- KEYS: those of a batch's step (include/batch-step), usage news
-- ARGV: now_ms ('' = Redis TIME), id, chunk, token, ms after which an entry that nobody claimed is looked for, channel, channel of
--       stops, bytes of a line's key, prefix of accounts, then of each line: line, by ('complete' | 'claim'), order entry,
--       'completed' | 'failed' | 'expired' | 'cancelled', input tokens, cached ones of them, output tokens, cost ('' = unknown),
--       the same in micro USD, what it used as JSON
-- Output: {a letter for each line: s(ettled) | e(nded before) | f(enced), finish to be enqueued 1|0, tenants waiting}
local unclaimed_ms, key_bytes = tonumber(ARGV[5]), tonumber(ARGV[8])
-- @include now
-- @include batch-step
-- @include account
-- @include hold-lines
local is_mine = redis.call('HGET', chunk, 'token') == ARGV[4]
local has_ended = is_over(redis.call('HGET', batch, 'status'))
local words, ended, entries, left, sums, news, spent = {}, {}, {}, {}, {}, {}, 0
local keys_end, no_key = redis.call('STRLEN', line_keys), string.rep('\0', key_bytes)
local figures = { [4] = 'input_tokens', [5] = 'cached_tokens', [6] = 'output_tokens', [7] = 'cost' }

local function settle(at)
  local line = tonumber(ARGV[at])
  ended[#ended + 1], entries[#entries + 1], news[#news + 1] = line, ARGV[at + 2], today .. ' ' .. ARGV[at + 9]
  spent = spent + tonumber(ARGV[at + 8])
  for offset, name in pairs(figures) do
    if ARGV[at + offset] ~= '' then sums[name] = (sums[name] or 0) + tonumber(ARGV[at + offset]) end
  end
  sums.settled, sums[ARGV[at + 3]] = (sums.settled or 0) + 1, (sums[ARGV[at + 3]] or 0) + 1
  if (line + 1) * key_bytes <= keys_end then redis.call('SETRANGE', line_keys, line * key_bytes, no_key) end
end

for at = 10, #ARGV, 10 do
  local word = 'f'
  if has_ended then
    word = 'e'
  elseif is_mine or ARGV[at + 1] == 'complete' then
    word = redis.call('SETBIT', done, ARGV[at], 1) == 0 and 's' or 'e'
    if word == 's' then settle(at) end
  end
  if is_mine and number ~= 'f' then left[#left + 1], left[#left + 2] = 'x' .. ARGV[at], 1 end
  words[#words + 1] = word
end
-- @include end-lines
if #left > 0 then leave(redis.call('HSET', chunk, unpack(left))) end
offer()
redis.call('PUBLISH', ARGV[6], id)
return { table.concat(words), check_end(), redis.call('LLEN', tenants) }
