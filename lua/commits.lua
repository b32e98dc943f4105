-- commits: a page of commits with their states, newest first; the head is one of them.
-- Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta
-- ARGV  1 only versions below this one ('' for all)
--       2 at most so many ('' for all)
-- Returns {epoch, history entry as JSON text, ...}
-- Errors  CIRCMAN_BAD_JSON (no number) CIRCMAN_CORRUPT
local STATE, HISTORY, META = KEYS[1], KEYS[2], KEYS[3]
local BEFORE, LIMIT = ARGV[1], ARGV[2]
-- @include base
-- @include record
-- @include head

local function whole_number(text, default)
  if text == '' then return default end
  if not text:find('^%-?%d+$') then refuse('BAD_JSON', '{"reason":' .. told('no whole number: ' .. text) .. '}') end
  return tonumber(text)
end

local function commits()
  local newest, epoch, head, bytes, mixed = read_head()
  local before, limit = whole_number(BEFORE, newest + 1), whole_number(LIMIT, newest)
  if newest == 0 then return {} end
  local reply, next_version = { epoch }, math.min(before - 1, newest)
  if limit > 0 and next_version == newest then
    reply[2] = head_entry(head, bytes)
    next_version, limit = newest - 1, limit - 1
  end
  if limit < 1 or next_version < 1 then return reply end
  local start = newest - 1 - next_version
  local stop = start + math.min(limit, newest) - 1
  local texts = redis.call('LRANGE', HISTORY, ('%.0f'):format(start), ('%.0f'):format(stop))
  for i, text in ipairs(texts) do checked_entry(text, next_version + 1 - i) end
  if mixed then texts = with_states(texts, next_version, newest, bytes) end
  for _, text in ipairs(texts) do reply[#reply + 1] = text end
  return reply
end

return answer(commits, 'string list hash', 3, 2)
