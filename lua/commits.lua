-- commits: a page of commits with their states, newest first; the head is one of them.
-- Writes nothing: EVALSHA_RO will do.
--
-- KEYS  1 state  2 history  3 meta
-- ARGV  1 only versions below this one ('' for all)
--       2 at most so many ('' for all)
-- Returns {epoch, history entry as JSON text, ...}
-- Errors  CIRCMAN_CORRUPT
local STATE, HISTORY, META = KEYS[1], KEYS[2], KEYS[3]
local BEFORE, LIMIT = tonumber(ARGV[1]), tonumber(ARGV[2])
-- @include base
-- @include twin

local function commits()
  local m = redis.call('HMGET', META, 'version', 'epoch', 'head')
  if not m[1] then return {} end
  local newest = tonumber(m[1])
  local reply, start = { m[2] }, 0
  local limit = LIMIT or math.huge
  if not BEFORE or BEFORE > newest then
    if limit < 1 then return reply end
    local state = redis.call('GET', STATE)
    if not state then corrupt(STATE, 'is missing, while meta says that there is a state') end
    reply[2], limit = entry(m[3], state), limit - 1
  else
    start = newest - BEFORE
  end
  if limit < 1 then return reply end
  local stop = limit == math.huge and -1 or start + limit - 1
  for _, one in ipairs(redis.call('LRANGE', HISTORY, ('%.0f'):format(start), ('%.0f'):format(stop))) do reply[#reply + 1] = one end
  return reply
end

return answer(commits, { 'string', 'list', 'hash' })
