-- clear: removes the history; the state and its version stay.
--
-- KEYS  1 state  2 history  3 meta  4 times  5 events (a channel)
-- ARGV  1 actor, up to 128 bytes ('' for none)
-- Returns the number of entries removed
-- Errors  CIRCMAN_BAD_JSON (the actor) CIRCMAN_CORRUPT
-- Publishes one event with op clear
local STATE, HISTORY, META, TIMES, EVENTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ACTOR = ARGV[1]
-- @include base
-- @include time
-- @include utf8
-- @include record
-- @include twin
-- @include channel
-- @include notice

local function clear()
  check_actor()
  local twin = read_twin()
  if not twin.state then return 0 end
  local removed = redis.call('LLEN', HISTORY)
  check_right('ZREMRANGEBYRANK', TIMES, '0', '0')
  check_right('ZADD', TIMES, '0', '0')
  check_right('HSET', META, '', '')
  check_right('UNLINK', HISTORY)
  check_notice()
  redis.call('ZREMRANGEBYRANK', TIMES, 0, -1)
  redis.call('ZADD', TIMES, ('%.0f'):format(twin.stamp), ('%.0f'):format(twin.version))
  redis.call('HSET', META, 'entries', 0)
  redis.call('UNLINK', HISTORY)
  notice(twin, 'clear')
  return removed
end

return answer(clear, 'string list hash zset', 5, 1)
