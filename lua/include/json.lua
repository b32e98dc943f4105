-- json: reads JSON strictly (RFC 8259), and keeps every value as its text.
--
-- A document becomes a tree: an object is {keys = {name, ...}, values = {name = value}}, everything else is its
-- text. Names and texts are in the stored form (see `quote`), so that equal names are equal bytes.
-- Refused (CIRCMAN_BAD_JSON, with the JSON Pointer): what is not JSON, duplicate keys, more than 64 levels,
-- invalid UTF-8, lone surrogates, integers beyond 64 bits, numbers that are not finite.
local MAX_DEPTH = 64
local UNTIDY = {} -- raised on text that may be good JSON, but is not in the stored form

local path = {} -- where the reader stands: a name or an index per level
local tidied -- whether the text is known to be in the stored form but for its structure
local key_pattern, string_pattern

-- The raw bytes of the stored-form text `s` (without its quotes).
local LONG = { b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }
local function plain(s)
  if not find(s, '\\', 1, true) then return s end
  s = gsub(s, '\\([bfnrt])', LONG)
  return (gsub(s, '\\u00(%x%x)', function(hex) return char(tonumber(hex, 16)) end))
end

-- One token of a JSON Pointer (RFC 6901) from a stored-form name.
local function token(name)
  if not find(name, '[\\~/]') then return name end
  return (gsub(gsub(plain(name), '~', '~0'), '/', '~1'))
end

-- The JSON Pointer of the place `depth` levels down the path, as a JSON string.
local function pointer(depth)
  local tokens = {}
  for i = 1, depth do tokens[i] = '/' .. token(path[i]) end
  return quote(concat(tokens))
end

local function bad(reason, depth)
  refuse('BAD_JSON', format('{"pointer":%s,"reason":%s}', pointer(depth or 0), quote(reason)))
end

local function untidy_or_bad(reason, depth)
  if not tidied then error(UNTIDY) end
  bad(reason, depth)
end

local function integer_fits(text)
  local digits = match(text, '%d+')
  local limit = byte(text) == 45 and '9223372036854775808' or '18446744073709551615'
  return #digits < #limit or (#digits == #limit and digits <= limit)
end

-- Where the number, true, false or null at `i` ends, and its text.
local function read_scalar(s, i, depth)
  local _, last = find(s, '^[%w.+-]+', i)
  if not last then untidy_or_bad(i > #s and 'ends too early' or 'a value was expected', depth) end
  local text = sub(s, i, last)
  if find(text, '^%-?[1-9]%d*$') or text == '0' or text == '-0' then
    if #text > 18 and not integer_fits(text) then bad('an integer beyond 64 bits', depth) end
  elseif find(text, '^%-?%d+%.%d+$') or find(text, '^%-?%d+%.?%d*[eE][+-]?%d+$') then
    if find(text, '^%-?0%d') or find(text, '%.[eE]') then bad('not a JSON number', depth) end
    local number = tonumber(text)
    if number - number ~= 0 then bad('a number that is not finite', depth) end
  elseif text ~= 'true' and text ~= 'false' and text ~= 'null' then
    bad(find(text, '^[+-]?[IiNn][na]') and 'NaN and Infinity are not JSON' or 'not a JSON value', depth)
  end
  return text, last + 1
end

local read_object, read_array

-- The value at `i` of `s`, and the position behind it. Its name or index stands in path[depth].
local function read_value(s, i, depth)
  local first = byte(s, i)
  if first == 34 then
    local _, last = find(s, string_pattern, i)
    if not last then untidy_or_bad('not a JSON string', depth) end
    return sub(s, i, last), last + 1
  elseif first == 123 then
    return read_object(s, i, depth + 1)
  elseif first == 91 then
    return read_array(s, i, depth + 1)
  end
  return read_scalar(s, i, depth)
end

function read_object(s, i, depth)
  if depth > MAX_DEPTH then bad('deeper than 64 levels', depth - 1) end
  local keys, values, n = {}, {}, 0
  local object = { keys = keys, values = values }
  if byte(s, i + 1) == 125 then return object, i + 2 end
  local separator
  repeat
    local _, last, key = find(s, key_pattern, i + 1)
    if not last then untidy_or_bad('a member name and a colon were expected', depth - 1) end
    path[depth] = key
    if values[key] then bad('a duplicate key', depth) end
    n = n + 1
    keys[n] = key
    values[key], i = read_value(s, last + 1, depth)
    separator = byte(s, i)
  until separator ~= 44
  if separator ~= 125 then untidy_or_bad('a comma or } was expected', depth - 1) end
  return object, i + 1
end

function read_array(s, i, depth)
  if depth > MAX_DEPTH then bad('deeper than 64 levels', depth - 1) end
  if byte(s, i + 1) == 93 then return '[]', i + 2 end
  local start, index, separator, _ = i, 0, nil, nil
  repeat
    path[depth] = index
    _, i = read_value(s, i + 1, depth)
    index = index + 1
    separator = byte(s, i)
  until separator ~= 44
  if separator ~= 93 then untidy_or_bad('a comma or ] was expected', depth - 1) end
  return sub(s, start, i), i + 1
end

-- The slow way in, for text with white space, escapes or brackets inside strings: made only when it is met.
local function tidy(s)
  local UNESCAPE = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }

  local function utf8(code)
    if code < 128 then return char(code) end
    if code < 2048 then return char(192 + floor(code / 64), 128 + code % 64) end
    if code < 65536 then return char(224 + floor(code / 4096), 128 + floor(code / 64) % 64, 128 + code % 64) end
    return char(240 + floor(code / 262144), 128 + floor(code / 4096) % 64, 128 + floor(code / 64) % 64, 128 + code % 64)
  end

  -- The character that the \u escape at `i` stands for, and the position behind it.
  local function unicode(text, i)
    local hex = match(text, '^\\u(%x%x%x%x)', i)
    if not hex then bad('a bad escape in a string') end
    local code = tonumber(hex, 16)
    if code < 55296 or code > 57343 then return utf8(code), i + 6 end
    local low = code < 56320 and match(text, '^\\u([dD][c-fC-F]%x%x)', i + 6)
    if not low then bad('a lone surrogate in a string') end
    return utf8(65536 + (code - 55296) * 1024 + tonumber(low, 16) - 56320), i + 12
  end

  local function raw(text)
    local parts, n, i = {}, 0, 1
    while true do
      local at = find(text, '\\', i, true)
      if not at then break end
      local c = sub(text, at + 1, at + 1)
      local decoded, behind = UNESCAPE[c], at + 2
      if not decoded then decoded, behind = unicode(text, at) end
      parts[n + 1], parts[n + 2] = sub(text, i, at - 1), decoded
      n, i = n + 2, behind
    end
    parts[n + 1] = sub(text, i)
    return concat(parts)
  end

  local parts, n, i = {}, 0, 1
  while true do
    local opening = find(s, '"', i, true)
    local between = sub(s, i, (opening or #s + 1) - 1)
    if find(between, '[\t\n\r ]') then
      if find(between, '[%w.+-][\t\n\r ]+[%w.+-]') then bad('white space inside a value') end
      between = gsub(between, '[\t\n\r ]+', '')
    end
    n = n + 1
    parts[n] = between
    if not opening then break end
    local closing = opening
    repeat
      closing = find(s, '["\\]', closing + 1)
      if not closing then bad('a string without an end') end
      local escaped = byte(s, closing) == 92
      if escaped then closing = closing + 1 end
    until not escaped
    local text = sub(s, opening + 1, closing - 1)
    if find(text, '[%z\1-\31]') then bad('a control character in a string') end
    n = n + 1
    parts[n] = quote(raw(text))
    i = closing + 1
  end
  return concat(parts)
end

-- Whether `s` is UTF-8 (RFC 3629): every well-formed sequence is blanked, and no high byte may be left.
local function is_utf8(s)
  for _, sequence in ipairs({
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
    '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
  }) do
    s = gsub(s, sequence, ' ')
  end
  return not find(s, '[\128-\255]')
end

local function read_root(s)
  if byte(s, 1) ~= 123 then untidy_or_bad('must be a JSON object') end
  local tree, behind = read_object(s, 1, 1)
  if behind ~= #s + 1 then untidy_or_bad('something stands behind the JSON object') end
  return tree
end

-- The tree of the JSON object `s`, and its text in the stored form.
local function read_json(s)
  if find(s, '[\128-\255]') and not is_utf8(s) then bad('invalid UTF-8') end
  key_pattern, string_pattern = '^"([^%z\1-\31"\\{}%[%]]*)":', '^"[^%z\1-\31"\\{}%[%]]*"'
  tidied = false
  local ok, tree = pcall(read_root, s)
  if ok then return tree, s end
  if tree ~= UNTIDY then error(tree) end
  s = tidy(s)
  tidied = true
  key_pattern, string_pattern = '^"([^%z\1-\31"{}%[%]]*)":', '^"[^%z\1-\31"{}%[%]]*"'
  return read_root(s), s
end

-- The tree of one value in the stored form that was read before, such as an item of an array.
local function reread(text, depth)
  key_pattern, string_pattern = '^"([^"]*)":', '^"[^"]*"'
  return (read_value(text, 1, depth))
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
  return '{' .. concat(parts, ',') .. '}'
end
