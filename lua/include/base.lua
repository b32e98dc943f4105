-- base: what every script starts from, after it bound KEYS and ARGV to names.
--
-- A script's functions are made anew in every call, and each local of the script that a function uses costs time then.
-- So strings are called by method (s:find), Redis by its global, and what is rarely needed is made inside what needs it.
-- Ends the script with one of the CIRCMAN_ errors. `particulars` is the text of a JSON object.
local function refuse(code, particulars)
  error({ refusal = 'CIRCMAN_' .. code .. ' ' .. particulars })
end

-- The bytes `s` as a JSON string in the stored form: no raw quote, backslash or bracket inside, so that
-- a plain search for the next quote, and %b{} and %b[], jump over any stored value at C speed.
local escapes -- by byte; made once it is needed: a table takes a third of the time that a function does
local function quote(s)
  if s:find('^[%w_.:-]*$') then return '"' .. s .. '"' end
  if s:find('[%z\1-\31"\\{}%[%]]') then
    if not escapes then
      escapes = { ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }
      for c in ('"\\{}[]'):gmatch('.') do escapes[c] = ('\\u%04x'):format(c:byte()) end
      for byte = 0, 31 do
        local c = string.char(byte)
        escapes[c] = escapes[c] or ('\\u%04x'):format(byte)
      end
    end
    s = s:gsub('[%z\1-\31"\\{}%[%]]', escapes)
  end
  return '"' .. s .. '"'
end

-- The same for a message: an argument that is refused may be of any length, and is not repeated as a whole.
local function told(s) return quote(#s > 200 and s:sub(1, 200) .. '...' or s) end

local function corrupt(key, reason)
  refuse('CORRUPT', ('{"key":%s,"reason":%s}'):format(quote(key), quote(reason)))
end

-- The twin's id: the hash tag of its keys, and for a branch what stands behind that.
local function twin_id()
  local trunk, branch = STATE:match('{(.-)}(@?[^:]*)')
  return trunk and trunk .. branch or STATE
end

-- Ends the script where the caller may not run the command. Redis does not roll back what a script wrote before a
-- command that is refused, so every right is looked at before the first write.
local function check_right(command, ...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(command, ...) then
    error({ err = 'NOPERM this user may not ' .. command .. ' ' .. ... .. ', which this needs; nothing was written' })
  end
end

-- Runs `body`, and turns a refusal into an error reply. What Redis itself raised is passed on, except that
-- a wrong type is named: it means that something else wrote one of the twin's keys. `types`: what the first of KEYS hold;
-- `keys`, `args`: how many of KEYS there are, and how many of ARGV at least. Fewer would be a runtime error in the middle.
local function answer(body, types, keys, args)
  if #KEYS ~= keys or #ARGV < args then
    return redis.error_reply(('CIRCMAN_BAD_JSON {"reason":"%d KEYS and %d ARGV, where %d and at least %d are wanted"}')
      :format(#KEYS, #ARGV, keys, args))
  end
  local ok, result = pcall(body)
  if ok then return result end
  if type(result) == 'table' and result.refusal then return redis.error_reply(result.refusal) end
  local message = type(result) == 'table' and result.err or tostring(result)
  if message:find('WRONGTYPE', 1, true) then
    local i = 0
    for expected in types:gmatch('%l+') do
      i = i + 1
      local key = KEYS[i]
      local found = redis.call('TYPE', key).ok
      if found ~= 'none' and found ~= expected then
        return redis.error_reply('CIRCMAN_CORRUPT ' .. ('{"key":%s,"reason":"holds a %s, not a %s: something else wrote it"}')
          :format(quote(key), found, expected))
      end
    end
  end
  local nameless = message:find("can't run this command", 1, true)
  if nameless or message:find("can't access at least", 1, true) or message:find('ACL failure', 1, true) then
    -- A script runs with its caller's rights. Redis 7.0 does not say which one is missing: it is one of those that come
    -- before the first write, as the others are looked at by name.
    local missing = nameless and not redis.acl_check_cmd('TIME') and ' TIME' or ''
    local reading = 'EXISTS GET HGET HGETALL HLEN HMGET LINDEX LLEN LRANGE STRLEN TYPE ZRANGE ZREVRANGEBYSCORE'
    for command in (nameless and reading or ''):gmatch('%u+') do
      if not redis.acl_check_cmd(command, STATE) then missing = missing .. ' ' .. command end
    end
    message = 'NOPERM this user lacks a right that this needs' .. (missing == '' and '' or ',' .. missing)
      .. '; nothing was written: ' .. message
  end
  return { err = message }
end
