-- Keys and times of deliveries, the same for all of their scripts: `deliverySettings` in shared/webhooks/delivery-targets.ts.
-- ARGV[2]: JSON
local set = cjson.decode(ARGV[2])
