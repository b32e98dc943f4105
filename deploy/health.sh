#!/bin/sh
# Whether a server of docker-compose.yml does what it is there for: exit code 0, or 1 with the reason.
set -eu
secrets=${SECRETS:-/run/secrets} port=${PORT:-6379}
REDISCLI_AUTH=$(tr -d '\r\n' < "$secrets/internal_password")
export REDISCLI_AUTH

as() { user=$1; shift; valkey-cli -h "${LISTEN:-127.0.0.1}" -p "$port" --user "$user" --no-auth-warning "$@" | tr -d '\r'; }
fail() { echo "$1"; exit 1; }
says() { printf '%s\n' "$facts" | grep -q "^$1\$"; }

# A Sentinel: enough others that it can reach to agree on a failover, and to carry it out.
if [ "$KIND" = sentinel ]; then
  answer=$(as peer SENTINEL CKQUORUM main)
  case $answer in OK*) exit 0 ;; *) fail "$answer" ;; esac
fi

facts=$(as health INFO)
says 'loading:0' || fail "it does not answer, or still reads its data"
says 'aof_last_write_status:ok' || fail "its append-only file cannot be written"
# A replica: it has what its master has.
if says 'role:slave'; then
  says 'master_link_status:up' || fail "it has no connection to its master"
  says 'master_sync_in_progress:0' || fail "it still gets the first copy from its master"
fi
# A node of a cluster: all slots are served, as far as it knows.
if [ "$KIND" = cluster ]; then
  facts=$(as health CLUSTER INFO)
  says 'cluster_state:ok' || fail "the cluster is not whole"
fi
