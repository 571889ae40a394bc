-- Sends off what is due, target after target: those that can be sent something for longest come first, each gets as many as
-- there is room for on the way to it, and no target's thousands stand before another's.
-- KEYS: targets due
-- ARGV: now_ms ('' = Redis TIME), settings, most targets at once
-- Output: {number of targets, {delivery, number of try, tenant, target}, ...}
-- @include now
-- @include delivery-settings
-- @include feed-target
local targets = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[3]))
local out = { #targets }
for _, id in ipairs(targets) do feed_target(id, false, out) end
return out
