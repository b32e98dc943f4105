-- backup: all that stands in a twin but its history, of one moment. Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema  6 origin
-- ARGV  none
-- Returns {epoch, head version, number of history entries, head record, state, schema ('' for none),
--          {setting, value, ...}, {rule's place, rule, ...}, origin ('' for what is no branch)}, or nil where there is no
--          state
-- Errors  CIRCMAN_BAD_JSON (not its keys) CIRCMAN_CORRUPT
local STATE, HISTORY, META, RULES, SCHEMA, ORIGIN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
-- @include base
-- @include record
-- @include twin

local KEPT = {
  'history_length', 'max_bytes', 'auto_timestamp', 'history', 'model', 'model_hash', 'checks', 'validation', 'digest',
}

local function backup()
  local twin = read_twin()
  if not twin.head then return false end
  local settings = {}
  for i, value in ipairs(redis.call('HMGET', META, unpack(KEPT))) do
    if value then settings[#settings + 1], settings[#settings + 2] = KEPT[i], value end
  end
  return {
    twin.epoch, twin.version, redis.call('LLEN', HISTORY), twin.head, twin.state,
    redis.call('GET', SCHEMA) or '', settings, redis.call('HGETALL', RULES), redis.call('GET', ORIGIN) or '',
  }
end

return answer(backup, 'string list hash hash string string', 6, 0)
