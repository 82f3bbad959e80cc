#!/usr/bin/env bash
# Starts Cassandra in its official image with the local stack's configuration: cassandra.sh TEMPLATE
# The image's own entrypoint then puts in the container's address. Where the profile monitoring has put the JMX agent, it
# runs along.
set -euo pipefail

config="${CASSANDRA_CONF:?}/cassandra.yaml"
sed -e 's|{{ data }}|/var/lib/cassandra|' \
  -e "s|127.0.0.1:{{ port.cassandra_storage }}|$(hostname)|" \
  -e 's|{{ port.cassandra_storage }}|7000|' \
  -e 's|{{ port.cassandra }}|9042|' \
  -e 's|^rpc_address:.*|rpc_address: 0.0.0.0\nbroadcast_rpc_address: 127.0.0.1|' "$1" >"$config"
if grep -q '{{' "$config"; then
  echo "cassandra.sh: $1 has a placeholder that this script does not know: $(grep -m 1 '{{' "$config")" >&2
  exit 1
fi
if [[ -e /jmx/agent.jar ]]; then
  export JVM_EXTRA_OPTS="${JVM_EXTRA_OPTS:-} -javaagent:/jmx/agent.jar=7072:/jmx.yml"
fi
exec docker-entrypoint.sh cassandra -f
