-- KEYS instances. ARGV: name, revision. The store's clock is the only one that all can be measured by.
if kind(KEYS[1]) ~= 'hash' then redis.call('DEL', KEYS[1]) end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now()))
