-- time: ISO 8601 text <-> microseconds since 1970 (days by H. Hinnant, "chrono-compatible low-level date algorithms").
local DAY = 86400000000

-- The server's clock, in microseconds; where it is behind, the next one after `last`. So commits never run backwards, nor
-- do they stand still, by which ids that are new would be taken for those that were forgotten.
local function server_time(last)
  local now = redis.call('TIME')
  local us = now[1] * 1000000 + now[2]
  return us > last and us or last + 1
end

-- `us` as UTC with microseconds and Z.
local function to_iso(us)
  local floor = math.floor
  local days = floor(us / DAY)
  local rest = us - days * DAY
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local seconds = floor(rest / 1000000)
  return ('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ'):format(year, month, doy - floor((153 * mp + 2) / 5) + 1,
    floor(seconds / 3600), floor(seconds / 60) % 60, seconds % 60, rest - seconds * 1000000)
end

-- Minutes east of UTC that an offset names ('' is UTC), or nil: Z, +HH:MM, +HHMM, +HH.
local function offset_minutes(text)
  if text == '' or text == 'Z' then return 0 end
  local sign, hours, minutes = text:match('^([+-])(%d%d):?(%d%d)$')
  if not sign then
    sign, hours = text:match('^([+-])(%d%d)$')
    minutes = 0
  end
  if not sign or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
  return (sign == '-' and -1 or 1) * (hours * 60 + minutes)
end

-- Microseconds that the ISO 8601 date-time `text` names, or nil where it is none.
-- YYYY-MM-DD (T or space) HH:MM:SS [.digits] [Z, +HH:MM, +HHMM, +HH]; without an offset it is UTC. In UTC too it lies
-- within the years 1 to 9999. A double has every microsecond from 1684 to 2255, and further off every 2nd to 32nd.
local function from_iso(text)
  local floor = math.floor
  local y, m, d, h, mi, s, behind = text:match('^(%d%d%d%d)%-(%d%d)%-(%d%d)[T ](%d%d):(%d%d):(%d%d)()')
  if not y then return nil end
  local fraction, offset = text:match('^%.(%d+)(.*)$', behind)
  if not fraction then fraction, offset = '', text:sub(behind) end
  local east = (offset == 'Z' or offset == '+00:00') and 0 or offset_minutes(offset)
  y, m, d, h, mi, s = y + 0, m + 0, d + 0, h + 0, mi + 0, s + 0
  if not east or y < 1 or m < 1 or m > 12 or d < 1 or d > 31 or h > 23 or mi > 59 or s > 59 then return nil end
  if d == 31 and (m == 4 or m == 6 or m == 9 or m == 11) then return nil end
  if m == 2 and (d > 29 or (d == 29 and (y % 4 ~= 0 or (y % 100 == 0 and y % 400 ~= 0)))) then return nil end
  if m <= 2 then y = y - 1 end
  local era = floor(y / 400)
  local yoe = y - era * 400
  local doy = floor((153 * (m > 2 and m - 3 or m + 9) + 2) / 5) + d - 1
  local days = era * 146097 + yoe * 365 + floor(yoe / 4) - floor(yoe / 100) + doy - 719468
  local seconds = days * 86400 + h * 3600 + (mi - east) * 60 + s
  if seconds < -62135596800 or seconds > 253402300799 then return nil end
  return seconds * 1000000 + (fraction .. '000000'):sub(1, 6)
end
