-- The rest of settle-lines, for all lines that it ended. Needs: batch-step, hold-lines, what settle-lines has gathered
-- What is done to all of them alike is done at once.
if #ended > 0 then
  redis.call('APPEND', order, table.concat(entries))
  redis.call('RPUSH', KEYS[15], unpack(news))
  count_money(ARGV[9], -take_held(ended), spent)
  redis.call('HDEL', lines, unpack(ended))
  if not is_mine then redis.call('ZREM', parked, unpack(ended)) end
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
