-- restore: puts what restore_begin.lua and restore_history.lua laid by in the place of the twin, all at once.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema  6 ids  7 old ids  8 times  9 restore  10 restore history
--       11 restore times  12 origin  13 events (a channel)
-- ARGV  1 token: that of restore_begin.lua
--       2 mode: new (only where nothing of the twin is there), replace (whatever is there)
--       3 how many history entries were laid by
--       4 actor, up to 128 bytes ('' for none)
-- Returns the twin's new epoch
-- Errors  CIRCMAN_CONFLICT (new, and there is a twin) CIRCMAN_BAD_JSON
-- Publishes one event with op restore
local STATE, HISTORY, META, RULES, SCHEMA, IDS, OLD_IDS, TIMES, RESTORE, RESTORE_HISTORY, RESTORE_TIMES, ORIGIN, EVENTS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local TOKEN, MODE, ENTRIES, ACTOR = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- @include base
-- @include time
-- @include utf8
-- @include json
-- @include keywords
-- @include members
-- @include channel
-- @include notice

-- Whether this restore was made already, and only its answer got lost.
local function made_before()
  local epoch = redis.call('TYPE', META).ok == 'hash' and redis.call('HGET', META, 'epoch')
  return epoch and #epoch > 8 and epoch:sub(-8) == TOKEN:sub(1, 8) and epoch
end

local function check_free()
  if MODE == 'replace' or redis.call('EXISTS', STATE, HISTORY, META, RULES, SCHEMA, IDS, OLD_IDS, TIMES) == 0 then return end
  local version = redis.call('TYPE', META).ok == 'hash' and redis.call('HGET', META, 'version')
  refuse('CONFLICT', '{"expected":0,"actual":' .. (version and is_count(version) and version or '0') .. '}')
end

-- What was laid by, all of it.
local function read_staged()
  local m = redis.call('HMGET', RESTORE, 'token', 'version', 'stamp', 'committed', 'state', 'head', 'settings', 'rules',
    'schema', 'lowest', 'origin')
  if not m[1] or m[1] ~= TOKEN then bad_argument('this restore is not under way any more: begin it again') end
  local entries = redis.call('LLEN', RESTORE_HISTORY)
  if entries ~= tonumber(ENTRIES) or entries ~= m[2] - m[10] then
    bad_argument(('%d entries of the history are there, and %s were sent: begin it again'):format(entries, ENTRIES))
  end
  local settings = unquoted(members_of(m[7]))
  local most, rules = 1000, rules_of(m[8])
  for i = 1, #settings, 2 do
    if settings[i] == 'model_hash' then rules = with_root(rules) end
    if settings[i] == 'history_length' then most = tonumber(settings[i + 1]) end
  end
  if entries > most then bad_argument(('%d entries are over the history_length of %.0f'):format(entries, most)) end
  return {
    version = tonumber(m[2]), version_text = m[2], stamp = m[3], committed_text = m[4], committed = tonumber(m[4]),
    state = m[5], head = m[6], settings = settings, rules = rules, schema = m[9], entries = entries,
    origin = m[11] or '',
  }
end

local function check_rights()
  check_right('SET', STATE, '')
  check_right('UNLINK', HISTORY, META, RULES, SCHEMA, IDS, OLD_IDS, TIMES, RESTORE, ORIGIN)
  check_right('HSET', META, '', '')
  check_right('HSET', RULES, '', '')
  check_right('SET', SCHEMA, '')
  check_right('SET', ORIGIN, '')
  check_right('RENAME', RESTORE_HISTORY, HISTORY)
  check_right('RENAME', RESTORE_TIMES, TIMES)
  check_right('PERSIST', HISTORY)
  check_right('PERSIST', TIMES)
  check_right('ZADD', TIMES, '0', '0')
  check_notice()
end

-- Commit ids are forgotten: a retry of what was first sent before the copy's newest commit is refused, for it may be in it.
-- One below that commit's time, so that an id which says that its maker knew just this commit is good.
local function write(twin)
  local since = ('%.0f'):format(math.max(twin.committed - 1, 0))
  redis.call('SET', STATE, twin.state)
  redis.call('UNLINK', HISTORY, META, RULES, SCHEMA, IDS, OLD_IDS, TIMES, ORIGIN)
  redis.call('HSET', META, 'version', twin.version_text, 'epoch', twin.epoch, 'head', twin.head, 'bytes', #twin.state,
    'stamp', twin.stamp, 'committed', twin.committed_text, 'calls', 0, 'ids_since', since, 'ids_rotated', since,
    'entries', twin.entries)
  if in_cluster() then redis.call('HSET', META, 'sharded', '1') end
  if twin.settings[1] then redis.call('HSET', META, unpack(twin.settings)) end
  write_pairs(RULES, twin.rules)
  if twin.schema ~= '' then redis.call('SET', SCHEMA, twin.schema) end
  if twin.origin ~= '' then redis.call('SET', ORIGIN, twin.origin) end
  if twin.entries > 0 then
    redis.call('RENAME', RESTORE_HISTORY, HISTORY)
    redis.call('PERSIST', HISTORY)
  end
  if redis.call('EXISTS', RESTORE_TIMES) == 1 then
    redis.call('RENAME', RESTORE_TIMES, TIMES)
    redis.call('PERSIST', TIMES)
  end
  redis.call('ZADD', TIMES, twin.stamp, twin.version_text)
  redis.call('UNLINK', RESTORE)
end

local function restore()
  check_actor()
  if MODE ~= 'new' and MODE ~= 'replace' then bad_argument('unknown mode ' .. MODE) end
  local before = made_before()
  if before then return before end
  check_free()
  local twin = read_staged()
  check_rights()
  local now = ('%.0f'):format(server_time(twin.committed))
  twin.epoch = ('%x'):format(now) .. TOKEN:sub(1, 8)
  write(twin)
  notice(twin, 'restore')
  return twin.epoch
end

return answer(restore, 'string list hash hash string hash hash zset hash list zset string', 13, 4)
