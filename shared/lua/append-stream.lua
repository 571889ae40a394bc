-- Appends a piece to the stream of a job's answer, once, and tells whoever reads along; never for a claim that was replaced.
-- KEYS: job, stream
-- ARGV: token, number of the piece (1, 2, ...), piece, ms the stream is kept from its first piece on, channel
-- Output: 'appended' (now or before) | 'fenced' (another claim took the job, or it ended)
local job, stream = KEYS[1], KEYS[2]
local number, piece = tonumber(ARGV[2]), ARGV[3]
if redis.call('HGET', job, 'token') ~= ARGV[1] then return 'fenced' end
local told = redis.call('XLEN', stream)
if told >= number then return 'appended' end
redis.call('XADD', stream, number .. '-1', 'd', piece)
-- The first there is: number 1, or a later one when Redis came back without what was told just before it stopped.
if told == 0 then
  redis.call('PEXPIRE', stream, ARGV[4])
  redis.call('HSET', job, 'streamed', 1)
end
redis.call('PUBLISH', ARGV[5], number .. ' ' .. piece)
return 'appended'
