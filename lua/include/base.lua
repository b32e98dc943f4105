-- base: what every script starts from, after it bound KEYS and ARGV to names. Locals, because a global look-up costs more and Redis forbids new globals.
local call = redis.call
local byte, char, find, format, gsub, match, sub =
  string.byte, string.char, string.find, string.format, string.gsub, string.match, string.sub
local concat = table.concat

local DEFAULT_HISTORY_LENGTH = 1000
local DEFAULT_MAX_BYTES = 1048576
local MAX_MESSAGE = 32768 -- a longer event leaves its body out

-- Ends the script with one of the CIRCMAN_ errors. `particulars` is the text of a JSON object.
local function refuse(code, particulars)
  error({ refusal = 'CIRCMAN_' .. code .. ' ' .. particulars })
end

local SHORT = { ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }

-- The bytes `s` as a JSON string in the stored form: no raw quote, backslash or bracket inside, so that
-- a plain search for the next quote, and %b{} and %b[], jump over any stored value at C speed.
local function quote(s)
  if find(s, '[%z\1-\31"\\{}%[%]]') then
    s = gsub(s, '[%z\1-\31"\\{}%[%]]', function(c) return SHORT[c] or format('\\u%04x', byte(c)) end)
  end
  return '"' .. s .. '"'
end

-- Runs `body`, and turns a refusal into an error reply. What Redis itself raised is passed on, except that
-- a wrong type is named: it means that something else wrote one of the twin's keys.
local function answer(body, expected_types)
  local ok, result = pcall(body)
  if ok then return result end
  if type(result) == 'table' and result.refusal then return redis.error_reply(result.refusal) end
  local message = type(result) == 'table' and result.err or tostring(result)
  if find(message, 'WRONGTYPE', 1, true) then
    for i, key in ipairs(KEYS) do
      local found = call('TYPE', key).ok
      if expected_types[i] and found ~= 'none' and found ~= expected_types[i] then
        return redis.error_reply('CIRCMAN_CORRUPT ' .. format(
          '{"key":%s,"reason":"holds a %s, not a %s: something else wrote it"}', quote(key), found, expected_types[i]))
      end
    end
  end
  return { err = message }
end
