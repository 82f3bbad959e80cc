#!/usr/bin/env bash
# Starts Kafka in its official image; with the JMX agent where the profile monitoring has put it: kafka.sh
set -euo pipefail

if [[ -e /jmx/agent.jar ]]; then
  export KAFKA_OPTS="-javaagent:/jmx/agent.jar=7071:/jmx.yml"
fi
exec /etc/kafka/docker/run
