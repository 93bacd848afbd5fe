-- KEYS audit. ARGV: the id of the entry that this one follows; the most entries; the entry.
if kind(KEYS[1]) ~= 'stream' then redis.call('DEL', KEYS[1]) end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local id, entry = '', ''
if newest then id, entry = newest[1], newest[2][2] end
if id ~= ARGV[1] then return { 'moved', id, entry } end
return { 'kept', redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'entry', ARGV[3]), '' }
