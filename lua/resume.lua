-- resume: what came after a version, oldest first, as much of it as one reply should carry.
-- Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta
-- ARGV  1 the last version known ('' for none: the newest commit alone)
--       2 1 where the state at that version is known too, else 0
-- Returns {epoch, version of the newest commit, the commit of the last version known ('' where it is not there),
--          the commits after it ...}, or nil where there is no state. A commit is a history entry as JSON text. It leaves
--          the state out where it has a patch and the commit before it comes before it in the reply.
-- Errors  CIRCMAN_BAD_JSON (no number) CIRCMAN_CORRUPT
local STATE, HISTORY, META = KEYS[1], KEYS[2], KEYS[3]
local LAST, STATE_KNOWN = ARGV[1], ARGV[2] == '1'
-- @include base
-- @include record
-- @include head

local MOST_BYTES, MOST_COMMITS = 1048576, 512 -- that are read for one reply, about
local CHUNK = 8 -- commits read at once: they may be large

-- The facts and the patch of a history entry.
local function record_of(text) return text:sub(1, patch_end(text)) .. '}' end

local function resume()
  local newest, epoch, head, bytes, mixed = read_head()
  if LAST ~= '' and not LAST:find('^%d+$') then
    refuse('BAD_JSON', '{"reason":' .. told('no version: ' .. LAST) .. '}')
  end
  if newest == 0 then return false end
  local last = tonumber(LAST == '' and newest or LAST)
  local oldest = newest - redis.call('LLEN', HISTORY)
  local function whole(text, version)
    return mixed and with_states({ text }, version, newest, bytes)[1] or text
  end

  -- Whether the last version known is still the same commit is for the caller to see: where it is gone, no state is known.
  local reply, state_known = { epoch, newest, '' }, STATE_KNOWN and last == 0 and oldest == 1

  if last >= oldest and last <= newest then
    local text = last == newest and head_entry(head, bytes)
      or checked_entry(redis.call('LINDEX', HISTORY, ('%.0f'):format(newest - 1 - last)), last)
    local record = record_of(text)
    reply[3] = STATE_KNOWN and record or whole(text, last)
    state_known = true
  end

  local room = MOST_BYTES
  local function add(text, version)
    local record = record_of(text)
    local has_patch = record:byte(-2) == 125
    reply[#reply + 1] = (state_known and has_patch) and record or whole(text, version)
    state_known, room = true, room - #text
  end

  local version = math.max(last + 1, oldest)
  while version < newest and room > 0 and #reply < MOST_COMMITS do
    local final = math.min(version + CHUNK, newest) - 1
    local texts = redis.call('LRANGE', HISTORY, ('%.0f'):format(newest - 1 - final), ('%.0f'):format(newest - 1 - version))
    for i = #texts, 1, -1 do
      if room <= 0 then break end
      add(checked_entry(texts[i], version), version)
      version = version + 1
    end
  end
  if version == newest and room > 0 then add(head_entry(head, bytes), newest) end
  return reply
end

return answer(resume, 'string list hash', 3, 2)
