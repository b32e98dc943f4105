-- json: reads JSON strictly (RFC 8259), and keeps every value as its text.
--
-- A document becomes a tree: an object is {keys = {name, ...}, values = {name = value}}, everything else is its
-- text. Names and texts are in the stored form (see `quote`), so that equal names are equal bytes.
-- Refused (CIRCMAN_BAD_JSON, with the JSON Pointer): what is not JSON, duplicate keys, more than 64 levels,
-- invalid UTF-8, lone surrogates, integers beyond 64 bits, numbers that are not finite.
local MAX_DEPTH = 64
local UNTIDY = {} -- raised on text that may be good JSON, but is not in the stored form

local path = {} -- where the reader stands: a name or an index per level
local tidied -- whether the text is in the stored form for sure, but for its structure

-- The raw bytes of the stored-form text `s` (without its quotes).
local function plain(s)
  if not s:find('\\', 1, true) then return s end
  s = s:gsub('\\([bfnrt])', { b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' })
  return (s:gsub('\\u00(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

-- One token of a JSON Pointer (RFC 6901) from a stored-form name.
local function token(name)
  if not name:find('[\\~/]') then return name end
  return (plain(name):gsub('~', '~0'):gsub('/', '~1'))
end

-- The JSON Pointer of the place `depth` levels down the path, as a JSON string.
local function pointer(depth)
  local tokens = {}
  for i = 1, depth do tokens[i] = '/' .. token(tostring(path[i])) end
  return quote(table.concat(tokens))
end

-- Refuses the text; but while it may only be untidy (white space, escapes), it is tidied and read again first.
local function bad(reason, depth, for_sure)
  if not (tidied or for_sure) then error(UNTIDY) end
  refuse('BAD_JSON', ('{"pointer":%s,"reason":%s}'):format(pointer(depth), quote(reason)))
end

-- Where the JSON number at the start of `text` ends, or nil. Each pattern matches in one way only: one that can fail
-- in many (as %d+%.?%d* can) takes hours over a megabyte of digits, and nothing can stop it.
local function number_end(text)
  local behind = text:match('^%-?[1-9]%d*()') or text:match('^%-?0()')
  if not behind or behind > #text then return behind end
  behind = text:match('^%.%d+()', behind) or behind
  return text:match('^[eE][+-]?%d+()', behind) or behind
end

-- The number, true, false or null at `i`, and the position behind it.
local function read_scalar(s, i, depth)
  local _, last = s:find('^[%w.+-]+', i)
  if not last then bad(i > #s and 'ends too early' or 'a value was expected', depth) end
  local text = s:sub(i, last)
  if text == 'true' or text == 'false' or text == 'null' then return text, last + 1 end
  if number_end(text) ~= #text + 1 then
    bad(text:find('^[+-]?[IiNn][na]') and 'NaN and Infinity are not JSON' or 'not a JSON value', depth, true)
  elseif text:find('[.eE]') then
    local number = tonumber(text)
    if number - number ~= 0 then bad('a number that is not finite', depth, true) end
  else
    local digits = text:match('%d+')
    local most = text:byte() == 45 and '9223372036854775808' or '18446744073709551615'
    if #digits > #most or (#digits == #most and digits > most) then bad('an integer beyond 64 bits', depth, true) end
  end
  return text, last + 1
end

local read_object, read_array

-- The value at `i` of `s`, and the position behind it. Its name or index stands in path[depth].
-- The first patterns are the usual values, which one look is enough for.
local function read_value(s, i, depth)
  local first = s:byte(i)
  if first == 34 then
    local _, last = s:find('^"[%w_:.+-]*"', i)
    if not last then
      _, last = s:find(tidied and '^"[^%z\1-\31"{}%[%]]*"' or '^"[^%z\1-\31"\\{}%[%]]*"', i)
      if not last then bad('not a JSON string', depth) end
    end
    return s:sub(i, last), last + 1
  elseif first == 123 then
    return read_object(s, i, depth + 1)
  elseif first == 91 then
    return read_array(s, i, depth + 1)
  end
  local text, behind = s:match('^(%-?[1-9]%d*%.%d+)()[,%]}]', i)
  if text and #text < 18 then return text, behind end
  return read_scalar(s, i, depth)
end

function read_object(s, i, depth)
  if depth > MAX_DEPTH then bad('deeper than 64 levels', depth - 1, true) end
  local keys, values, n = {}, {}, 0
  if s:byte(i + 1) == 125 then return { keys = keys, values = values }, i + 2 end
  local separator
  repeat
    local _, last, key = s:find('^"([%w_]+)":', i + 1)
    if not last then
      _, last, key = s:find(tidied and '^"([^%z\1-\31"{}%[%]]*)":' or '^"([^%z\1-\31"\\{}%[%]]*)":', i + 1)
      if not last then bad('a member name and a colon were expected', depth - 1) end
    end
    path[depth] = key
    if values[key] then bad('a duplicate key', depth, true) end
    n = n + 1
    keys[n] = key
    values[key], i = read_value(s, last + 1, depth)
    separator = s:byte(i)
  until separator ~= 44
  if separator ~= 125 then bad('a comma or } was expected', depth - 1) end
  return { keys = keys, values = values }, i + 1
end

function read_array(s, i, depth)
  if depth > MAX_DEPTH then bad('deeper than 64 levels', depth - 1, true) end
  if s:byte(i + 1) == 93 then return '[]', i + 2 end
  local start, index, separator, _ = i, 0, nil, nil
  repeat
    path[depth] = index
    _, i = read_value(s, i + 1, depth)
    index = index + 1
    separator = s:byte(i)
  until separator ~= 44
  if separator ~= 93 then bad('a comma or ] was expected', depth - 1) end
  return s:sub(start, i), i + 1
end

-- The slow way in, for text with white space, escapes or brackets inside strings: made only when it is met.
local function tidy(s)
  local UNESCAPE = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }
  local floor, char = math.floor, string.char

  local function utf8(code)
    if code < 128 then return char(code) end
    if code < 2048 then return char(192 + floor(code / 64), 128 + code % 64) end
    if code < 65536 then return char(224 + floor(code / 4096), 128 + floor(code / 64) % 64, 128 + code % 64) end
    return char(240 + floor(code / 262144), 128 + floor(code / 4096) % 64, 128 + floor(code / 64) % 64, 128 + code % 64)
  end

  -- The character that the \u escape at `i` stands for, and the position behind it.
  local function unicode(text, i)
    local hex = text:match('^\\u(%x%x%x%x)', i)
    if not hex then bad('a bad escape in a string', 0, true) end
    local code = tonumber(hex, 16)
    if code < 55296 or code > 57343 then return utf8(code), i + 6 end
    local low = code < 56320 and text:match('^\\u([dD][c-fC-F]%x%x)', i + 6)
    if not low then bad('a lone surrogate in a string', 0, true) end
    return utf8(65536 + (code - 55296) * 1024 + tonumber(low, 16) - 56320), i + 12
  end

  local function raw(text)
    local parts, n, i = {}, 0, 1
    while true do
      local at = text:find('\\', i, true)
      if not at then break end
      local decoded, behind = UNESCAPE[text:sub(at + 1, at + 1)], at + 2
      if not decoded then decoded, behind = unicode(text, at) end
      parts[n + 1], parts[n + 2] = text:sub(i, at - 1), decoded
      n, i = n + 2, behind
    end
    parts[n + 1] = text:sub(i)
    return table.concat(parts)
  end

  local parts, n, i = {}, 0, 1
  while true do
    local opening = s:find('"', i, true)
    local between = s:sub(i, (opening or #s + 1) - 1)
    if between:find('[\t\n\r ]') then
      if between:find('[%w.+-][\t\n\r ]+[%w.+-]') then bad('white space inside a value', 0, true) end
      between = between:gsub('[\t\n\r ]+', '')
    end
    n = n + 1
    parts[n] = between
    if not opening then break end
    local closing = opening
    repeat
      closing = s:find('["\\]', closing + 1)
      if not closing then bad('a string without an end', 0, true) end
      local escaped = s:byte(closing) == 92
      if escaped then closing = closing + 1 end
    until not escaped
    local text = s:sub(opening + 1, closing - 1)
    if text:find('[%z\1-\31]') then bad('a control character in a string', 0, true) end
    n = n + 1
    parts[n] = quote(raw(text))
    i = closing + 1
  end
  return table.concat(parts)
end

local function read_root(s)
  if s:byte(1) ~= 123 then bad('must be a JSON object', 0) end
  local tree, behind = read_object(s, 1, 1)
  if behind ~= #s + 1 then bad('something stands behind the JSON object', 0) end
  return tree
end

-- The tree of the JSON object `s`, and its text in the stored form.
local function read_json(s)
  if not is_utf8(s) then bad('invalid UTF-8', 0, true) end
  tidied = false
  local ok, tree = pcall(read_root, s)
  if ok then return tree, s end
  if tree ~= UNTIDY then error(tree) end
  s = tidy(s)
  tidied = true
  return read_root(s), s
end

-- The text of a tree. Without nulls it is what a merge patch makes of a member that was not there (RFC 7396).
local function write_json(tree, without_nulls)
  if type(tree) == 'string' then return tree end
  local parts, n = {}, 0
  for _, key in ipairs(tree.keys) do
    local value = tree.values[key]
    if value ~= 'null' or not without_nulls then
      n = n + 1
      parts[n] = '"' .. key .. '":' .. write_json(value, without_nulls)
    end
  end
  return '{' .. table.concat(parts, ',') .. '}'
end
