-- pairs: many fields of a hash at once.
local MOST_PAIRS = 2000

-- Stores pairs in a hash, as many at once as Lua can hand over.
local function write_pairs(key, pairs)
  for start = 1, #pairs, MOST_PAIRS do
    redis.call('HSET', key, unpack(pairs, start, math.min(start + MOST_PAIRS - 1, #pairs)))
  end
end
