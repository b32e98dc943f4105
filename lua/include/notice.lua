-- notice: the event of something that is not a commit (clear, delete, restore), with the version it happened at.
local function check_actor()
  if not is_short_text(ACTOR) then
    refuse('BAD_JSON', '{"reason":"an actor that is not 0 to 128 bytes of UTF-8"}')
  end
end

-- To be called before the first write.
local function check_notice()
  check_right('TIME', '')
  check_right(publish_command(in_cluster()), EVENTS, '')
end

local function notice(twin, op)
  redis.call(publish_command(in_cluster()), EVENTS, ('{"twin":%s,"epoch":%s,"version":%.0f,"op":"%s","actor":%s,"committed_at":"%s"}')
    :format(quote(twin_id()), quote(twin.epoch), twin.version, op, ACTOR == '' and 'null' or quote(ACTOR),
    to_iso(server_time(twin.committed))))
end
