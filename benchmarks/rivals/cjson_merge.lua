-- The merge that most people write, for its time only: it loses data. cjson's decoder and encoder turn [] into {}, drop
-- digits from long numbers, and scramble the order of the members. It checks nothing, and sent again it applies again.
-- KEYS: state, history, meta, events. ARGV: patch, history length.
local current = redis.call('GET', KEYS[1])
local patch = cjson.decode(ARGV[1])
local doc = current and cjson.decode(current) or {}
local function merge(into, from)
  for k, v in pairs(from) do
    if type(v) == 'table' and type(into[k]) == 'table' then merge(into[k], v)
    elseif v == cjson.null then into[k] = nil
    else into[k] = v end
  end
end
merge(doc, patch)
local version = redis.call('HINCRBY', KEYS[3], 'version', 1)
if current then
  redis.call('LPUSH', KEYS[2], current)
  redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[2]) - 1)
end
redis.call('SET', KEYS[1], cjson.encode(doc))
redis.call('PUBLISH', KEYS[4], ARGV[1])
return version
