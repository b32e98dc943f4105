-- delete: removes all keys of a twin, whatever they hold.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema  6 ids  7 old ids  8 times  9 events (a channel)
-- ARGV  1 actor ('' for none)
-- Returns the version that the twin had, 0 where it had no state
-- Publishes one event with op delete
local STATE, META, EVENTS = KEYS[1], KEYS[3], KEYS[9]
local ACTOR = ARGV[1]
-- @include base
-- @include time
-- @include notice

local function delete()
  local m = redis.call('TYPE', META).ok == 'hash' and redis.call('HMGET', META, 'version', 'epoch', 'committed') or {}
  local twin = {
    version = tonumber(m[1] or 0), epoch = m[2] or '', committed = tonumber(m[3] or 0),
  }
  local removed = redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
  if removed > 0 then notice(twin, 'delete') end
  return twin.version
end

return answer(delete, {})
