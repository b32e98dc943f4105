-- repair: puts a twin right whose keys something else damaged, as it was planned, on exactly what the plan saw.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema  6 ids  7 old ids  8 times  9 events (a channel)
--       10 kept state  11 kept history  12 kept meta  13 kept rules  14 kept schema  15 kept ids  16 kept old ids
--       17 kept times
-- ARGV  1 fingerprint of the twin, as this script told it when it was planned; '' to be told it, and no more
--       2 what to keep: a letter for each of the first eight keys: m to move it to its kept key, c to copy it
--         there, - to leave it
--       3 state to store ('' to leave it as it is)
--       4 history: the first and the last index to leave in the list, as in LTRIM ('' for all)
--       5 an entry to put on top of the history then ('' for none)
--       6 commit: facts of the commit (op external) that the state to store is, a JSON object: version, timestamp
--         (JSON text), stamp (microseconds, '' for the commit's own); gone, to announce that there is no state any
--         more; '' for neither
--       7 epoch: random text to begin another epoch with ('' to go on in the one there is)
--       8 earliest: microseconds, before which nothing can have been committed
--       9 actor, up to 128 bytes ('' for none)
--       10 meta: a JSON object of fields to set, as text; 'now' stands for the server's time
--       11 times: a JSON array, score and version by turns, in the place of what there is ('' to leave it)
--       12 rules: a JSON object, JSON Pointer pattern -> text of the rule ('' to leave them)
--       13 schema: its text ('' to leave it)
-- Returns the fingerprint; or, where there was one in ARGV, {epoch, version, committed_at} of the commit, empty and 0
--         where it made none
-- Errors  CIRCMAN_CONFLICT (the twin is not what the plan saw) CIRCMAN_BAD_JSON (the actor)
-- Publishes the event of the commit that it makes, or one with op delete where there is no state any more
local STATE, HISTORY, META, RULES, SCHEMA, IDS, OLD_IDS, TIMES, EVENTS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local KEPT = { KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17] }
local SEEN, KEEP, NEW_STATE, RANGE, ENTRY, COMMIT, EPOCH, EARLIEST, ACTOR =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local NEW_META, NEW_TIMES, NEW_RULES, NEW_SCHEMA = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
-- @include base
-- @include time
-- @include utf8
-- @include channel
-- @include notice

local STANDING = { STATE, HISTORY, META, RULES, SCHEMA, IDS, OLD_IDS, TIMES }
local MOST_FIELDS = 512 -- of a hash that are looked at one by one
local MOST_BYTES, PAGE = 4194304, 32 -- of a list that are looked at, from its beginning; how many entries at once
local MOST_PAIRS = 1000
local MAX_MESSAGE = 32768

-- --- the fingerprint ---

local function of_hash(key)
  local length = redis.call('HLEN', key)
  if length > MOST_FIELDS then return length end
  local flat, pairs_of = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do pairs_of[#pairs_of + 1] = #flat[i] .. ':' .. flat[i] .. #flat[i + 1] .. ':' .. flat[i + 1] end
  table.sort(pairs_of) -- a hash has no order
  return redis.sha1hex(table.concat(pairs_of))
end

local function of_list(key)
  local length, start, bytes, digest = redis.call('LLEN', key), 0, 0, ''
  while start < length and bytes < MOST_BYTES do
    local page = redis.call('LRANGE', key, start, start + PAGE - 1)
    local text = table.concat(page, '\n')
    start, bytes, digest = start + PAGE, bytes + #text, redis.sha1hex(digest .. text)
  end
  return length .. ' ' .. digest .. ' ' .. redis.sha1hex(redis.call('LINDEX', key, -1))
end

local function of_times(key)
  return redis.call('ZCARD', key) .. ' ' .. table.concat(redis.call('ZRANGE', key, -3, -1, 'WITHSCORES'), ' ')
end

local function fingerprint()
  local found = {}
  for i, key in ipairs(STANDING) do
    local kind, more = redis.call('TYPE', key).ok, ''
    if kind == 'string' then more = redis.sha1hex(redis.call('GET', key)) end
    if kind == 'hash' then more = of_hash(key) end
    if kind == 'list' then more = of_list(key) end
    if kind == 'zset' then more = of_times(key) end
    found[i] = kind .. ' ' .. more
  end
  return redis.sha1hex(table.concat(found, '\n'))
end

-- --- the repair ---

local function conflict(actual) refuse('CONFLICT', ('{"expected":%s,"actual":%s}'):format(quote(SEEN), quote(actual))) end

-- Every right that this repair needs, before its first write.
local function check_rights()
  for i, key in ipairs(STANDING) do
    local how = KEEP:sub(i, i)
    if how == 'c' then check_right('COPY', key, KEPT[i]) end
    if how == 'm' then check_right('RENAME', key, KEPT[i]) end
    if how ~= '-' then check_right('PERSIST', KEPT[i]) end
  end
  check_right('HSET', META, '', '')
  if RANGE ~= '' then check_right('LTRIM', HISTORY, '0', '0') end
  if ENTRY ~= '' then check_right('LPUSH', HISTORY, '') end
  if NEW_STATE ~= '' then check_right('SET', STATE, '') end
  if NEW_RULES ~= '' then check_right('HSET', RULES, '', '') end
  if NEW_SCHEMA ~= '' then check_right('SET', SCHEMA, '') end
  if NEW_TIMES ~= '' or COMMIT ~= '' then check_right('ZADD', TIMES, '0', '0') end
  if COMMIT ~= '' then
    check_right('ZREMRANGEBYSCORE', TIMES, '0', '0')
    check_right(publish_command(in_cluster()), EVENTS, '')
  end
end

-- What was found is kept: copies first, for to copy is what fails cleanly where there is no room.
local function keep()
  for i, key in ipairs(STANDING) do
    if KEEP:sub(i, i) == 'c' then redis.call('COPY', key, KEPT[i]) end
  end
  for i, key in ipairs(STANDING) do
    if KEEP:sub(i, i) == 'm' then redis.call('RENAME', key, KEPT[i]) end
  end
  for i, key in ipairs(KEPT) do
    if KEEP:sub(i, i) ~= '-' then redis.call('PERSIST', key) end
  end
end

-- The next pairs from `start` on, as many as Lua can hand over.
local function next_pairs(flat, start) return unpack(flat, start, math.min(start + 2 * MOST_PAIRS - 1, #flat)) end

local function write_fields(key, flat)
  for start = 1, #flat, 2 * MOST_PAIRS do redis.call('HSET', key, next_pairs(flat, start)) end
end

local function write_times(flat)
  for start = 1, #flat, 2 * MOST_PAIRS do redis.call('ZADD', TIMES, next_pairs(flat, start)) end
end

local function flat_of(text, now_text)
  local flat = {}
  for name, value in pairs(cjson.decode(text)) do
    flat[#flat + 1], flat[#flat + 2] = name, value == 'now' and now_text or value
  end
  return flat
end

-- The state that was stored becomes a commit, whose patch nobody knows; the event is that of a set.
local function commit(facts, now)
  local committed_at, now_text = to_iso(now), ('%.0f'):format(now)
  local stamp = facts.stamp == '' and now_text or facts.stamp
  local epoch = EPOCH ~= '' and ('%x'):format(now) .. EPOCH or redis.call('HGET', META, 'epoch')
  local told = '"version":' .. facts.version .. ',"timestamp":' .. facts.timestamp .. ',"committed_at":"' .. committed_at
    .. '","op":"external","actor":' .. (ACTOR == '' and 'null' or quote(ACTOR)) .. ',"id":null'
  redis.call('HSET', META, 'version', facts.version, 'epoch', epoch, 'head', '{' .. told .. ',"patch":null}',
    'bytes', #NEW_STATE, 'stamp', stamp, 'committed', now_text,
    'digest', facts.version .. ':' .. redis.sha1hex(NEW_STATE))
  redis.call('ZREMRANGEBYSCORE', TIMES, stamp, '+inf')
  redis.call('ZADD', TIMES, stamp, facts.version)
  local names = '{"twin":' .. quote(twin_id()) .. ',"epoch":"' .. epoch .. '",' .. told
  local news = #names + #NEW_STATE < MAX_MESSAGE and ',"state":' .. NEW_STATE or ',"body":"omitted"'
  redis.call(publish_command(in_cluster()), EVENTS, names .. news .. '}')
  return { epoch, tonumber(facts.version), committed_at }
end

local function repair()
  local actual = fingerprint()
  if SEEN == '' then return actual end
  check_actor()
  if actual ~= SEEN then conflict(actual) end
  for i, key in ipairs(KEPT) do
    if KEEP:sub(i, i) ~= '-' and redis.call('EXISTS', key) == 1 then conflict('something else is kept at ' .. key) end
  end
  check_rights()
  local now = server_time(tonumber(EARLIEST))
  local gone, was = COMMIT == 'gone', { version = 0, epoch = '', committed = now }
  if gone and redis.call('TYPE', META).ok == 'hash' then
    local m = redis.call('HMGET', META, 'version', 'epoch')
    was.version, was.epoch = tonumber(m[1] or 0) or 0, m[2] and is_utf8(m[2]) and m[2] or ''
  end

  keep()
  if RANGE ~= '' then redis.call('LTRIM', HISTORY, RANGE:match('^(%S+)'), RANGE:match('(%S+)$')) end
  if ENTRY ~= '' then redis.call('LPUSH', HISTORY, ENTRY) end
  if NEW_STATE ~= '' then redis.call('SET', STATE, NEW_STATE) end
  write_fields(META, flat_of(NEW_META, ('%.0f'):format(now)))
  if NEW_TIMES ~= '' then write_times(cjson.decode(NEW_TIMES)) end
  if NEW_RULES ~= '' then write_fields(RULES, flat_of(NEW_RULES)) end
  if NEW_SCHEMA ~= '' then redis.call('SET', SCHEMA, NEW_SCHEMA) end
  if gone then
    notice(was, 'delete')
    return { '', 0, '' }
  end
  redis.call('HSET', META, 'entries', redis.call('LLEN', HISTORY))
  if in_cluster() then redis.call('HSET', META, 'sharded', '1') end
  if COMMIT == '' then return { '', 0, '' } end
  return commit(cjson.decode(COMMIT), now)
end

return answer(repair, '', 17, 13)
