-- past: the states of the history by their place in it, newest first; the head is not one of them.
-- Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta
-- ARGV  1 the first place, as LRANGE takes it: 0 the newest, -1 the oldest
--       2 the last place, included
-- Returns {history entry as JSON text, ...}
-- Errors  CIRCMAN_BAD_JSON (no number) CIRCMAN_CORRUPT
local STATE, HISTORY, META = KEYS[1], KEYS[2], KEYS[3]
local FIRST, LAST = ARGV[1], ARGV[2]
-- @include base
-- @include record
-- @include head

local function past()
  if not (FIRST .. ' ' .. LAST):find('^%-?%d+ %-?%d+$') then
    refuse('BAD_JSON', '{"reason":' .. told('no places: ' .. FIRST .. ' ' .. LAST) .. '}')
  end
  local newest, _, _, bytes, mixed = read_head()
  local first = tonumber(FIRST)
  if first < 0 then first = math.max(first + redis.call('LLEN', HISTORY), 0) end
  local texts = redis.call('LRANGE', HISTORY, FIRST, LAST)
  for i, text in ipairs(texts) do checked_entry(text, newest - first - i) end
  return mixed and with_states(texts, newest - first - 1, newest, bytes) or texts
end

return answer(past, 'string list hash', 3, 2)
