-- What stands in the store: a token that changes with every change, what is wrong with it, and the head's fields.
local function kind(key) return redis.call('TYPE', key)['ok'] end

local function standing()
  local head, states, log = kind(KEYS[1]), kind(KEYS[2]), kind(KEYS[3])
  if head == 'none' and states == 'none' and log == 'none' then return 'none', '', {} end
  if head ~= 'hash' then return 'broken', 'its head is ' .. (head == 'none' and 'gone' or 'a ' .. head), {} end
  local at = redis.call('HMGET', KEYS[1], 'life', 'revision', 'commit', 'count', 'lineage')
  for i = 1, 5 do if not at[i] then at[i] = ''; at.hole = true end end
  if at.hole or not string.match(at[2], '^%d+$') then return 'broken', 'its head makes no sense', at end
  if states ~= 'hash' and not (states == 'none' and at[4] == '0') then
    return 'broken', 'its states are ' .. (states == 'none' and 'gone' or 'a ' .. states), at
  end
  if tostring(redis.call('HLEN', KEYS[2])) ~= at[4] then return 'broken', 'some of its states are gone', at end
  if log ~= 'stream' then return 'broken', 'its log is ' .. (log == 'none' and 'gone' or 'a ' .. log), at end
  local told = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #told, 2 do
    if told[i] == 'last-generated-id' and told[i + 1] ~= at[2] .. '-0' then
      return 'broken', 'its log ends with what nobody committed', at
    end
  end
  return at[1] .. ':' .. at[2] .. ':' .. at[3], '', at
end

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
