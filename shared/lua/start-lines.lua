-- Notes, before the provider is called, that calls for these lines are about to be made: whatever dies after this, they stay
-- known. What a line may cost is held once, however many calls it takes, if the day's budget has room for it.
-- KEYS: batch, chunk, states of lines, settled lines, budgets
-- ARGV: now_ms ('' = Redis TIME), token, prefix of accounts, then of each line: line, state, micro USD
-- Output: a letter for each line: s(tarted) | e(nded: by an answer that an earlier claim brought in) | f(enced: another claim took
--         the chunk) | c(ancelling: nothing new of the batch is to be started) | b(udget: it has no room)
local batch, chunk, lines, done, budgets = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
-- @include now
-- @include account
-- @include hold-lines
local count = (#ARGV - 3) / 3
if redis.call('HGET', chunk, 'token') ~= ARGV[2] then return string.rep('f', count) end
if redis.call('HEXISTS', batch, 'ending') == 1 then return string.rep('c', count) end

-- Nobody has a budget in most installations: then no account is read.
local function room_of_budget()
  if redis.call('EXISTS', budgets) == 0 then return math.huge end
  local tenant, owner = unpack(redis.call('HMGET', batch, 'tenant', 'owner'))
  local limits = redis.call('HMGET', budgets, tenant, tenant .. ' ' .. owner, tenant .. ' *')
  local each, room = { tonumber(limits[1]), tonumber(limits[2] or limits[3]) }, math.huge
  for at, one in ipairs(accounts_of_batch(ARGV[3])) do
    if each[at] then room = math.min(room, each[at] - one.spent - one.held) end
  end
  return room
end

local room, words, states, held = room_of_budget(), {}, {}, 0
local function hold(line, amount)
  if redis.call('HEXISTS', lines, 'h' .. line) == 1 then return 's' end
  if amount > room or amount == 0 and room == 0 then return 'b' end
  if amount > 0 then states[#states + 1], states[#states + 2] = 'h' .. line, amount end
  room, held = room - amount, held + amount
  return 's'
end

for at = 4, #ARGV, 3 do
  local word = redis.call('GETBIT', done, ARGV[at]) == 1 and 'e' or hold(ARGV[at], tonumber(ARGV[at + 2]))
  words[#words + 1] = word
  if word == 's' then states[#states + 1], states[#states + 2] = ARGV[at], ARGV[at + 1] end
end
if #states > 0 then redis.call('HSET', lines, unpack(states)) end
count_money(ARGV[3], held, 0)
return table.concat(words)
