-- Puts claimed lines back for later without ending them: each frees its place in its chunk, and what was held for it, and stands
-- parked until due.
-- KEYS: those of a batch's step (include/batch-step)
-- ARGV: now_ms ('' = Redis TIME), id, chunk, token, ms after which an entry that nobody claimed is looked for, prefix of
--       accounts, then of each line: line, ms to wait, state
-- Output: {a letter for each line: p(arked) | e(nded before) | f(enced) | c(ancelling), finish to be enqueued 1|0, tenants waiting}
local unclaimed_ms = tonumber(ARGV[5])
-- @include now
-- @include batch-step
-- @include account
-- @include hold-lines
local is_mine = redis.call('HGET', chunk, 'token') == ARGV[4]
local facts = redis.call('HMGET', batch, 'ending', 'deadline')
local words, left, freed = {}, 0, {}
for at = 7, #ARGV, 3 do
  local line, word = ARGV[at], 'f'
  if is_mine and facts[1] then
    word = 'c'
  elseif is_mine then
    word = redis.call('GETBIT', done, line) == 1 and 'e' or 'p'
    local leaves = redis.call('HSETNX', chunk, 'x' .. line, 1)
    left = left + leaves
    if word == 'p' and leaves == 1 then
      local due = math.min(now + tonumber(ARGV[at + 1]), tonumber(facts[2]))
      redis.call('ZADD', parked, due, line)
      redis.call('ZADD', parked_due, 'LT', due, id)
      redis.call('HSET', lines, line, ARGV[at + 2])
      freed[#freed + 1] = line
    end
  end
  words[#words + 1] = word
end
count_money(ARGV[6], -take_held(freed), 0)
if left > 0 then leave(left) end
offer()
return { table.concat(words), check_end(), redis.call('LLEN', tenants) }
