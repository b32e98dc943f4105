#!/bin/sh
# A command to a server of docker-compose.yml, as its operator: docker compose exec redis-1 sh /deploy/op.sh INFO
set -eu
REDISCLI_AUTH=$(tr -d '\r\n' < "${SECRETS:-/run/secrets}/operator_password")
export REDISCLI_AUTH
exec valkey-cli -h "${LISTEN:-127.0.0.1}" -p "${PORT:-6379}" --user operator --no-auth-warning "$@"
