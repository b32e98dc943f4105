-- backup_history: a page of the history as it is stored, newest first, for a backup that began at an earlier moment.
-- Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta
-- ARGV  1 the version at that moment
--       2 only versions below this one
-- Returns {epoch, when the commit of that version was stored ('' where it is not there any more), 1 where the history is
--          as long as it may be (then a commit makes its oldest entry leave it) else 0, history entry, ...}
-- Errors  CIRCMAN_BAD_JSON (no number) CIRCMAN_CORRUPT
local STATE, HISTORY, META = KEYS[1], KEYS[2], KEYS[3]
local AT, BEFORE = ARGV[1], ARGV[2]
-- @include base
-- @include record
-- @include head

local MOST_BYTES = 262144 -- that are read for one reply, about
local CHUNK = 8 -- entries read at once: they may be large

local function committed_at(newest, head)
  local record = AT + 0 == newest and head or redis.call('LINDEX', HISTORY, ('%.0f'):format(newest - 1 - AT)) or ''
  return is_of_version(record, AT + 0) and record:match(',"committed_at":"([^"]*)"') or ''
end

local function page()
  if not (AT .. ' ' .. BEFORE):find('^[1-9]%d* [1-9]%d*$') then
    refuse('BAD_JSON', '{"reason":' .. told('no versions: ' .. AT .. ' ' .. BEFORE) .. '}')
  end
  local newest, epoch, head = read_head()
  if newest < AT + 0 then return { epoch or '', '', 0 } end
  local most = tonumber(redis.call('HGET', META, 'history_length') or 1000)
  local reply = { epoch, committed_at(newest, head), redis.call('LLEN', HISTORY) >= (most or 0) and 1 or 0 }
  local version, room = BEFORE - 1, MOST_BYTES
  while version > 0 and room > 0 do
    local start = newest - 1 - version
    local texts = redis.call('LRANGE', HISTORY, ('%.0f'):format(start), ('%.0f'):format(start + CHUNK - 1))
    if not texts[1] then break end
    for _, text in ipairs(texts) do
      if room <= 0 then break end
      reply[#reply + 1] = checked_entry(text, version)
      version, room = version - 1, room - #text
    end
  end
  return reply
end

return answer(page, 'string list hash', 3, 2)
