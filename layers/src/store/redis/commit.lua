-- KEYS head, states, log. ARGV: the token that this follows; '1' to replace everything; the moment after which nobody waits
-- for it; life, revision, commit, lineage, the commit before it, what changed, the most entries of the log; then the states.
if standing() ~= ARGV[1] then return 'moved' end
if tonumber(ARGV[3]) > 0 and now() > tonumber(ARGV[3]) then return 'late' end
if ARGV[2] == '1' then redis.call('DEL', KEYS[1], KEYS[2], KEYS[3]) end
-- First what could fail.
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[10], ARGV[5] .. '-0',
  'life', ARGV[4], 'commit', ARGV[6], 'before', ARGV[8], 'states', ARGV[9])
for i = 11, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'life', ARGV[4], 'revision', ARGV[5], 'commit', ARGV[6], 'lineage', ARGV[7],
  'count', redis.call('HLEN', KEYS[2]))
return 'kept'
