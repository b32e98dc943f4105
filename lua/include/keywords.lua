-- keywords: whether a rule can be checked at all. One with a bound that is no number would end a commit in the middle.
local function is_rule(rule)
  if type(rule) ~= 'table' then return false end
  for _, keyword in ipairs({ 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minLength', 'maxLength' }) do
    if rule[keyword] ~= nil and type(rule[keyword]) ~= 'number' then return false end
  end
  if rule.enum ~= nil and type(rule.enum) ~= 'table' then return false end
  if rule.required == nil then return true end
  if type(rule.required) ~= 'table' then return false end
  for _, name in ipairs(rule.required) do
    if type(name) ~= 'string' then return false end
  end
  return true
end
