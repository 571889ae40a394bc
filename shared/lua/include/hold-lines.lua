-- What lines of a batch may cost: held in the accounts of its tenant and its customer before their calls, spent at their ends. Of
-- each line it is noted ('h<line>', beside its state), of the batch their sum. Needs: account, batch, lines
local function accounts_of_batch(prefix)
  local facts = redis.call('HMGET', batch, 'tenant', 'owner', 'accounts')
  return accounts_of(prefix, facts[1], facts[2], facts[3])
end

local function count_money(prefix, held, spent)
  if held == 0 and spent == 0 then return end
  if held ~= 0 then redis.call('HINCRBY', batch, 'held', held) end
  for _, one in ipairs(accounts_of_batch(prefix)) do
    one.held, one.spent = one.held + held, one.spent + spent
    save_account(one)
  end
end

-- @return what is no longer held for these lines
local function take_held(numbers)
  if #numbers == 0 or (tonumber(redis.call('HGET', batch, 'held')) or 0) == 0 then return 0 end
  local names, sum = {}, 0
  for at, line in ipairs(numbers) do names[at] = 'h' .. line end
  for _, held in ipairs(redis.call('HMGET', lines, unpack(names))) do sum = sum + (tonumber(held or 0) or 0) end
  if sum > 0 then redis.call('HDEL', lines, unpack(names)) end
  return sum
end
