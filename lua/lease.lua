-- lease: a role that one worker at a time has: takes it, keeps it, gives it back.
--
-- KEYS  1 leases
-- ARGV  1 action: take (where nobody has the role, or its time is over, or it is the holder's own: with a new token), keep (for
--         longer), release
--       2 role, 1 to 64 of A-Z a-z 0-9 _ . : -
--       3 holder, 1 to 128 of the same
--       4 for how long, in milliseconds, at least 1
--       5 token that the holder was given ('' to take)
-- Returns {1 where the holder has the role now (or gave it back), else 0; token; holder; until: microseconds of the server's
--          clock} of whoever has it; an empty holder where nobody does
-- Errors  CIRCMAN_BAD_JSON CIRCMAN_CORRUPT
local LEASES = KEYS[1]
local STATE = LEASES -- for messages
local ACTION, ROLE, HOLDER, MILLISECONDS, TOKEN = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- @include base
-- @include time
-- @include fence

local function check_arguments()
  local is_known = ACTION == 'take' or ACTION == 'keep' or ACTION == 'release'
  local is_named = ROLE:find('^[%w_.:-]+$') and HOLDER:find('^[%w_.:-]+$') and #ROLE <= 64 and #HOLDER <= 128
  local is_time = MILLISECONDS:find('^[1-9]%d*$') and #MILLISECONDS < 11
  local has_token = ACTION == 'take' or (TOKEN:find('^%d+$') and #TOKEN < 17)
  if not (is_known and is_named and is_time and has_token) then
    refuse('BAD_JSON', '{"reason":"take, keep or release; a role; a holder; milliseconds; a token: one of them is not so"}')
  end
end

local function lease()
  check_arguments()
  local held = read_lease(ROLE)
  check_right('HSET', LEASES, '', '')
  local now = server_time(0)
  local is_free = not held or held.holder == '' or held.expires <= now
  if ACTION == 'take' then
    if not is_free and held.holder ~= HOLDER then return { 0, held.token, held.holder, ('%.0f'):format(held.expires) } end
    -- Tokens rise, whatever the clock does.
    TOKEN = ('%.0f'):format(held and math.max(held.token + 1, now) or now)
  elseif not held or held.token ~= TOKEN or held.holder ~= HOLDER then
    return { 0, held and held.token or '0', is_free and '' or held.holder, ('%.0f'):format(held and held.expires or 0) }
  end
  local holder = ACTION == 'release' and '' or HOLDER
  local expires = ACTION == 'release' and now or now + MILLISECONDS * 1000
  redis.call('HSET', LEASES, ROLE, ('{"token":%s,"holder":%s,"until":"%s"}'):format(TOKEN, quote(holder), to_iso(expires)))
  return { 1, TOKEN, holder, ('%.0f'):format(expires) }
end

return answer(lease, 'hash', 1, 5)
