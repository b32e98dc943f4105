-- lookup: one commit with its state: the head, the one at a version, or the one that held at a time.
-- Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta  4 times
-- ARGV  1 how: head, version or time
--       2 the version, or the time: ISO 8601, UTC where it names no offset; '' for the head
-- Returns {epoch, history entry as JSON text}, or nil where there is none (never was, or left the history)
-- Errors  CIRCMAN_BAD_JSON (no time, no version) CIRCMAN_CORRUPT
local STATE, HISTORY, META, TIMES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local HOW, WANTED = ARGV[1], ARGV[2]
local MOST_TORN = 1000 -- as many commits as one call makes
-- @include base
-- @include time
-- @include record
-- @include head

local function wanted_version(head_version)
  if HOW == 'head' then return head_version end
  if HOW == 'version' and WANTED:find('^%d+$') then return tonumber(WANTED) end
  local us = HOW == 'time' and from_iso(WANTED)
  if not us then refuse('BAD_JSON', '{"reason":' .. told('no time or version: ' .. HOW .. ' ' .. WANTED) .. '}') end
  -- Each member's score is below that of all newer ones, so the last one not after the time is the newest. A commit that
  -- the append-only file kept torn may have left versions there that never came about.
  local found, skipped = nil, 0
  repeat
    found = tonumber(redis.call('ZREVRANGEBYSCORE', TIMES, ('%.0f'):format(us), '-inf', 'LIMIT', skipped, 1)[1])
    skipped = skipped + 1
  until not found or found <= head_version or skipped > MOST_TORN
  return found
end

local function lookup()
  local head_version, epoch, head, bytes, mixed = read_head()
  local version = wanted_version(head_version)
  if not version or version < 1 or version > head_version then return false end
  if version == head_version then return { epoch, head_entry(head, bytes) } end
  local found = redis.call('LINDEX', HISTORY, ('%.0f'):format(head_version - 1 - version))
  if not found then return false end
  checked_entry(found, version)
  return { epoch, mixed and with_states({ found }, version, head_version, bytes)[1] or found }
end

return answer(lookup, 'string list hash zset', 4, 2)
