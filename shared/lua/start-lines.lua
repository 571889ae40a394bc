-- Notes, before the provider is called, that calls for these lines are about to be made: whatever dies after this, they stay
-- known.
-- KEYS: batch, chunk, states of lines
-- ARGV: token, then line, state, line, state, ...
-- Output: 'started' | 'fenced' (another claim took the chunk) | 'cancelling' (nothing new of the batch is to be started)
local batch, chunk, lines = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', chunk, 'token') ~= ARGV[1] then return 'fenced' end
if redis.call('HEXISTS', batch, 'ending') == 1 then return 'cancelling' end
redis.call('HSET', lines, unpack(ARGV, 2))
return 'started'
