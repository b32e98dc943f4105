-- ids: the commit ids of recent calls, by which a repeated one is recognised.
local ID_WINDOW = 2048 -- calls: an id is remembered for one to two windows

-- Whether a commit may have been made, and its id forgotten: by its age, or by what its id says of when it was made.
local function sent_before(since, now) return AGE ~= '0' and now - AGE * 1000 <= since end
local function made_before(since)
  local made = ID:match('^c%.(%x%x%x%x%x%x%x%x%x%x%x%x%x)%.')
  return made and tonumber(made, 16) <= since
end

-- WAIT and WAITAOF wait for the last write of their own connection, which may be new: so the answer to a repeated call
-- is a write too, of what stands there. Whether the server took it; a replica ends the script, for a master may know more.
local function written_again(twin)
  local ok, problem = pcall(function() redis.call('HSET', META, 'calls', twin.calls) end)
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  if not ok and text:find('READONLY', 1, true) then error(problem, 0) end
  return ok
end

-- What the commit with this id returned, if it was made before.
local function recognised(twin)
  if ID == '' then return nil end
  -- There is no older generation before the first is full.
  local record = redis.call('HGET', IDS, ID) or (twin.calls >= ID_WINDOW - 1 and redis.call('HGET', OLD_IDS, ID))
  if record and record:find('^refused\n') then
    local till, refusal = record:match('\n(%d+)\n(.*)')
    if twin.now < tonumber(till) then error({ refusal = refusal }) end
  elseif record then
    local reply = { twin.epoch, written_again(twin) and 1 or 2 }
    for part in record:gmatch('[^\n]+') do reply[#reply + 1] = part end
    reply[4] = tonumber(reply[4])
    return reply
  end
  local since = twin.ids_since
  if since > 0 and (sent_before(since, twin.now) or made_before(since)) then
    refuse('EXPIRED', ('{"id":%s,"remembered_since":"%s","age":%.0f,"committed":%.0f}')
      :format(quote(ID), to_iso(since), AGE, twin.committed))
  end
end

-- Two generations of ids: the older one is dropped whole, so that remembering is cheap and bounded.
local function remember(twin, commits, rotates)
  if rotates and redis.call('EXISTS', IDS) == 1 then
    redis.call('UNLINK', OLD_IDS)
    redis.call('RENAME', IDS, OLD_IDS)
    redis.call('HSET', META, 'ids_since', redis.call('HGET', META, 'ids_rotated') or '0', 'ids_rotated', twin.now_text)
  end
  if ID == '' then return end
  local record = twin.committed_at .. '\n' .. commits[1].version
  for i = 1, #commits do record = record .. '\n' .. commits[i].timestamp end
  redis.call('HSET', IDS, ID, record)
end
