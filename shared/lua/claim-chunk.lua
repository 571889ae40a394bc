-- Gives a chunk to one worker under a new token, with what is known of its lines. Never takes a chunk whose claim has a live
-- lease, nor runs an entry of an older generation. What a stopped batch
-- had not begun is let go here.
-- KEYS: those of a batch's step (include/batch-step)
-- ARGV: now_ms ('' = Redis TIME), id, chunk, generation, token, lease ms, ms after which an entry that nobody claimed is looked for, worker id,
--       where its logs stand: output, error; then the record fields to return
-- Output: {'claimed', now_ms, width, log, predecessors '<log>:<output>:<error> ...', {line, ...}, {state, ...}, {field, ...}}
--         | {'gone'} | {'stale'} | {'held'} | {'stopped', finish to be enqueued 1|0}
local unclaimed_ms = tonumber(ARGV[7])
-- @include now
-- @include batch-step
local member = id .. ' ' .. number
local facts = redis.call('HMGET', chunk, 'generation', 'token', 'lines', 'width', 'log', 'from', 'earlier', 'open')
if not facts[1] then return { 'gone' } end
if facts[1] ~= ARGV[4] then return { 'stale' } end
if facts[2] and (tonumber(redis.call('ZSCORE', window, member)) or 0) > now then return { 'held' } end
if facts[3] and not facts[2] and redis.call('HGET', batch, 'ending') then
  leave(tonumber(facts[8]))
  return { 'stopped', check_end() }
end

local log = redis.call('HGET', lines, 'log:' .. ARGV[8])
if not log then
  log = redis.call('HINCRBY', batch, 'logs', 1)
  redis.call('HSET', lines, 'log:' .. ARGV[8], log)
end
local earlier = facts[7] or ''
-- Of one log that was taken note of before, more was.
if facts[2] and not string.find(' ' .. earlier, ' ' .. facts[5] .. ':', 1, true) then
  earlier = earlier .. facts[5] .. ':' .. facts[6] .. ' '
end
redis.call('HSET', chunk, 'token', ARGV[5], 'log', log, 'from', ARGV[9] .. ':' .. ARGV[10], 'earlier', earlier)
redis.call('ZADD', window, now + tonumber(ARGV[6]), member)

local all, open = {}, {}
local from, to = string.match(facts[3] or '', '^(%d+)%-(%d+)$')
if from then
  for line = tonumber(from), tonumber(to) do all[#all + 1] = line end
else
  for line in string.gmatch(facts[3] or '', '%d+') do all[#all + 1] = tonumber(line) end
end
for _, line in ipairs(all) do
  if not facts[2] or redis.call('HEXISTS', chunk, 'x' .. line) == 0 then open[#open + 1] = line end
end
local states = #open > 0 and redis.call('HMGET', lines, unpack(open)) or {}
return { 'claimed', now, tonumber(facts[4]), tonumber(log), earlier, open, states, redis.call('HMGET', batch, unpack(ARGV, 11)) }
