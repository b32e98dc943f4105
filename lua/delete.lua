-- delete: removes all keys of a twin, whatever they hold.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema  6 ids  7 old ids  8 times  9 leases  10 origin
--       11 events (a channel)
-- ARGV  1 actor, up to 128 bytes ('' for none)
-- Returns the version that the twin had, 0 where it had no state
-- Errors  CIRCMAN_BAD_JSON (the actor)
-- Publishes one event with op delete
local STATE, META, EVENTS = KEYS[1], KEYS[3], KEYS[11]
local ACTOR = ARGV[1]
-- @include base
-- @include time
-- @include utf8
-- @include channel
-- @include notice

-- The whole number that a field of meta holds; 0 where it holds none, for a corrupt twin can be deleted too.
local function whole(text)
  local number = tonumber(text or 0)
  return number and number % 1 == 0 and number or 0
end

local function delete()
  check_actor()
  local m = redis.call('TYPE', META).ok == 'hash' and redis.call('HMGET', META, 'version', 'epoch', 'committed') or {}
  local epoch = m[2] and is_utf8(m[2]) and m[2] or ''
  local twin = { version = whole(m[1]), epoch = epoch, committed = whole(m[3]) }
  check_right('UNLINK', unpack(KEYS, 1, 10))
  check_notice()
  local removed = redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9],
    KEYS[10])
  if removed > 0 then notice(twin, 'delete') end
  return twin.version
end

return answer(delete, '', 11, 1)
