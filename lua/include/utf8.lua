-- utf8: what is sent on to readers has to be text.

-- Whether `s` is UTF-8 (RFC 3629): every well-formed sequence is blanked, and no high byte may be left.
local function is_utf8(s)
  if not s:find('[\128-\255]') then return true end
  for _, sequence in ipairs({
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
    '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
  }) do
    s = s:gsub(sequence, ' ')
  end
  return not s:find('[\128-\255]')
end

-- Whether `text` may be an actor, a commit id or another short argument.
local function is_short_text(text) return #text <= 128 and is_utf8(text) end
