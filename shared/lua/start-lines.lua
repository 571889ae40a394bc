-- Notes, before the provider is called, that calls for these lines are about to be made: whatever dies after this, they stay
-- known.
-- KEYS: batch, chunk, states of lines, settled lines
-- ARGV: token, then line, state, line, state, ...
-- Output: a letter for each line: s(tarted) | e(nded: by an answer that an earlier claim brought in) | f(enced: another claim took
--         the chunk) | c(ancelling: nothing new of the batch is to be started)
local batch, chunk, lines, done = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local count = (#ARGV - 1) / 2
if redis.call('HGET', chunk, 'token') ~= ARGV[1] then return string.rep('f', count) end
if redis.call('HEXISTS', batch, 'ending') == 1 then return string.rep('c', count) end
local words, states = {}, {}
for at = 2, #ARGV, 2 do
  local is_done = redis.call('GETBIT', done, ARGV[at]) == 1
  words[#words + 1] = is_done and 'e' or 's'
  if not is_done then states[#states + 1], states[#states + 2] = ARGV[at], ARGV[at + 1] end
end
if #states > 0 then redis.call('HSET', lines, unpack(states)) end
return table.concat(words)
