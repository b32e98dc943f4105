-- fork: makes a branch of a twin: a twin of its own, in the same slot, that begins with a state of the other.
--
-- KEYS  1 state  2 history  3 meta  4 rules
--       5 branch state  6 branch history  7 branch meta  8 branch rules  9 branch schema  10 branch ids
--       11 branch old ids  12 branch times  13 branch origin  14 branch events (a channel)
-- ARGV  1 version of the twin to begin with ('' for its newest)
--       2 commit id, up to 128 bytes: said again, the call returns what the first one made
--       3 actor, up to 128 bytes ('' for none)
--       4 the JSON Schema text of the twin's model ('' for none): not among KEYS, as a writer cannot write there
-- Returns what commit.lua returns for the branch's first commit: {epoch, duplicate (0 or 1), committed_at, 1, timestamp
--         as JSON text}
-- Errors  CIRCMAN_CONFLICT (there is such a branch) CIRCMAN_NO_STATE (no state, or none of that version any more)
--         CIRCMAN_BAD_JSON CIRCMAN_CORRUPT
-- Publishes one event with op import
local STATE, HISTORY, META, RULES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local NEW_STATE, NEW_HISTORY, NEW_META, NEW_RULES, NEW_SCHEMA, NEW_IDS, NEW_OLD_IDS, NEW_TIMES, ORIGIN, EVENTS =
  KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local VERSION, ID, ACTOR, SCHEMA = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local MAX_MESSAGE = 32768 -- a longer event leaves its body out
-- @include base
-- @include time
-- @include utf8
-- @include json
-- @include record
-- @include head
-- @include channel
-- @include pairs

local SETTINGS = { 'history_length', 'max_bytes', 'auto_timestamp', 'history', 'model', 'model_hash', 'checks', 'validation' }

local function check_arguments()
  for _, text in ipairs({ VERSION, ID, ACTOR }) do
    if not is_short_text(text) then refuse('BAD_JSON', '{"reason":"an argument that is not 0 to 128 bytes of UTF-8"}') end
  end
  if ID == '' or not (VERSION == '' or VERSION:find('^[1-9]%d*$') and #VERSION < 16) then
    refuse('BAD_JSON', '{"reason":"a commit id is wanted, and a version that is a whole number of at least 1, or empty"}')
  end
end

-- What this call returned, if it was made before.
local function recognised()
  local record = redis.call('HGET', NEW_IDS, ID)
  if not record then return nil end
  local committed_at, timestamp = record:match('^([^\n]+)\n1\n(.*)$')
  if not committed_at then return nil end
  return { redis.call('HGET', NEW_META, 'epoch'), 1, committed_at, 1, timestamp }
end

local function check_free()
  local there = redis.call('EXISTS', NEW_STATE, NEW_HISTORY, NEW_META, NEW_RULES, NEW_SCHEMA, NEW_IDS, NEW_OLD_IDS,
    NEW_TIMES, ORIGIN)
  if there == 0 then return end
  local version = redis.call('HGET', NEW_META, 'version')
  refuse('CONFLICT', '{"expected":0,"actual":' .. (version and version:match('^%d+$') or '0') .. '}')
end

-- The commit to begin with: its epoch, and its history entry.
local function read_commit()
  local newest, epoch, head, bytes, mixed = read_head()
  local version = VERSION == '' and newest or tonumber(VERSION)
  if version == newest and version > 0 then return epoch, head_entry(head, bytes) end
  local found = version > 0 and version < newest and redis.call('LINDEX', HISTORY, ('%.0f'):format(newest - 1 - version))
  if not found then refuse('NO_STATE', ('{"version":%.0f}'):format(version)) end
  checked_entry(found, version)
  return epoch, mixed and with_states({ found }, version, newest, bytes)[1] or found
end

local function read_begin()
  local epoch, text = read_commit()
  local version, timestamp, committed_at = text:match('^{"version":(%d+),"timestamp":(.-),"committed_at":"([^"]*)"')
  local state = text:match('^,"state":(%b{})}$', patch_end(text) + 1)
  if not version or not state then corrupt(HISTORY, 'holds what no commit wrote: something else wrote it') end
  local origin = ('{"twin":%s,"epoch":%s,"version":%s,"committed_at":"%s","state":'):format(quote(twin_id()), quote(epoch),
    version, committed_at) .. state .. '}'
  return { state = state, timestamp = timestamp, origin = origin }
end

local function read_settings()
  local values, found = redis.call('HMGET', META, unpack(SETTINGS)), {}
  for i, name in ipairs(SETTINGS) do
    if values[i] then found[#found + 1], found[#found + 2] = name, values[i] end
  end
  return found
end

local function check_rights()
  check_right('ZADD', NEW_TIMES, '0', '0')
  check_right('SET', NEW_STATE, '')
  check_right('SET', NEW_SCHEMA, '')
  check_right('SET', ORIGIN, '')
  check_right('HSET', NEW_META, '', '')
  check_right('HSET', NEW_RULES, '', '')
  check_right('HSET', NEW_IDS, '', '')
  check_right(publish_command(in_cluster()), EVENTS, '')
end

-- The branch as the event names it.
local function branch_id()
  local trunk, branch = NEW_STATE:match('{(.-)}(@?[^:]*)')
  return trunk and trunk .. branch or NEW_STATE
end

local function fork()
  check_arguments()
  local before = recognised()
  if before then return before end
  check_free()
  if SCHEMA ~= '' then read_json(SCHEMA) end
  local begin, settings = read_begin(), read_settings()
  local rules = redis.call('HGETALL', RULES)
  check_rights()

  local now = server_time(0)
  local committed_at, now_text = to_iso(now), ('%.0f'):format(now)
  local own = begin.timestamp:match('^"(.*)"$')
  local stamp = ('%.0f'):format(own and from_iso(own) or now)
  local epoch = ('%x'):format(now) .. ID:gsub('%W', ''):sub(-8)
  local facts = '"version":1,"timestamp":' .. begin.timestamp .. ',"committed_at":"' .. committed_at
    .. '","op":"import","actor":' .. (ACTOR == '' and 'null' or quote(ACTOR)) .. ',"id":' .. quote(ID)

  redis.call('SET', NEW_STATE, begin.state)
  redis.call('SET', ORIGIN, begin.origin)
  redis.call('ZADD', NEW_TIMES, stamp, '1')
  redis.call('HSET', NEW_META, 'version', '1', 'epoch', epoch, 'head', '{' .. facts .. ',"patch":null}', 'bytes', #begin.state,
    'stamp', stamp, 'committed', now_text, 'calls', 1, 'entries', 0, 'sharded', in_cluster() and '1' or '0')
  if redis.sha1hex then redis.call('HSET', NEW_META, 'digest', '1:' .. redis.sha1hex(begin.state)) end
  write_pairs(NEW_META, settings)
  write_pairs(NEW_RULES, rules)
  if SCHEMA ~= '' then redis.call('SET', NEW_SCHEMA, SCHEMA) end
  redis.call('HSET', NEW_IDS, ID, committed_at .. '\n1\n' .. begin.timestamp)

  local names = '{"twin":' .. quote(branch_id()) .. ',"epoch":"' .. epoch .. '",'
  local news = #names + #facts + #begin.state < MAX_MESSAGE and ',"state":' .. begin.state or ',"body":"omitted"'
  redis.call(publish_command(in_cluster()), EVENTS, names .. facts .. news .. '}')
  return { epoch, 0, committed_at, 1, begin.timestamp }
end

return answer(fork, 'string list hash hash string list hash hash string hash hash zset string', 14, 4)
