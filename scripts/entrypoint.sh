#!/usr/bin/env bash
# Starts one role of the platform, in a container and in the local stack alike: entrypoint.sh ROLE [ARGUMENT...]
# It waits until what the role needs takes connections, then gives its place to the role's process, so that signals
# arrive there. Everything it reads comes from the environment, and nothing secret goes onto a command line.
set -euo pipefail

readonly wait_seconds="${PENSTOCK_WAIT_SECONDS:-120}"

usage() {
  cat <<'TEXT'
usage: entrypoint.sh ROLE [ARGUMENT...]
  init            migrate Airflow's database, make its admin user, pools and Variables; safe to repeat
  api-server | scheduler | dag-processor | triggerer | celery worker
                  a component of Airflow
  spark-master | spark-worker
                  a process of the Spark cluster
  car-api | replay-api
                  the car API; recorded sources, for where there is no internet
  recentchange-collector | web-event-producer | price-consumer | kafka-lag-exporter | penstock-exporter
                  a program of apps/
  landing-stream PIPELINE
                  the driver of a Spark stream that lands a pipeline's records
  wiki-edits-minute
                  the driver of the Spark stream that counts recent changes
  jobs            supervisord with all of these but replay-api, and the Flume agents
  flume AGENT PORT
                  one Flume agent, its counters served on PORT
  penstock        the platform's own command
  airflow | python | bash
                  this program
TEXT
}

fail() {
  printf 'entrypoint.sh: %s\n' "$*" >&2
  exit 1
}

# The HOST:PORT of a URL, whose port may be left to a default: address_of URL DEFAULT_PORT
address_of() {
  local authority="${1##*@}"
  authority="${authority#*://}"
  authority="${authority%%[/?]*}"
  [[ "$authority" == *:* ]] || authority+=":$2"
  printf '%s\n' "$authority"
}

answers() {
  # shellcheck disable=SC2016 # the inner shell expands its own arguments
  timeout 2 bash -c ': <"/dev/tcp/$0/$1"' "${1%:*}" "${1##*:}" 2>/dev/null
}

# Waits until one of some addresses takes connections: wait_for WHAT HOST:PORT...
wait_for() {
  local what="$1" deadline=$((SECONDS + wait_seconds)) address
  shift
  while true; do
    for address in "$@"; do
      if answers "$address"; then return; fi
    done
    if ((SECONDS >= deadline)); then
      fail "$what did not answer at $* within $wait_seconds s: see whether it runs, and its log"
    fi
    sleep 0.5
  done
}

# Waits for each server that one of these settings names: wait_for_needs SETTING...
wait_for_needs() {
  local setting addresses
  for setting in "$@"; do
    [[ -n "${!setting:-}" ]] || fail "$setting is not set: .env.example says what it means"
    case "$setting" in
      AIRFLOW__DATABASE__SQL_ALCHEMY_CONN) wait_for "Airflow's database" "$(address_of "${!setting}" 5432)" ;;
      AIRFLOW__CELERY__BROKER_URL) wait_for "the Celery broker" "$(address_of "${!setting}" 6379)" ;;
      LEDGER_URL) wait_for "the ledger's database" "$(address_of "${!setting}" 5432)" ;;
      SCHEMA_REGISTRY_URL) wait_for "the schema registry" "$(address_of "${!setting}" 80)" ;;
      INFLUXDB_URL) wait_for "InfluxDB" "$(address_of "${!setting}" 80)" ;;
      WEBHDFS_URL) wait_for "HDFS" "$(address_of "${!setting}" 80)" ;;
      SPARK_MASTER_URL) wait_for "the Spark master" "$(address_of "${!setting}" 7077)" ;;
      KAFKA_BOOTSTRAP_SERVERS)
        IFS=, read -ra addresses <<<"${!setting}"
        wait_for "Kafka" "${addresses[@]}"
        ;;
      CASSANDRA_HOSTS)
        IFS=, read -ra addresses <<<"${!setting}"
        wait_for "Cassandra" "${addresses[@]/%/:${CASSANDRA_PORT:-9042}}"
        ;;
    esac
  done
}

# Installs _PIP_ADDITIONAL_REQUIREMENTS beside the locked packages, at the locked versions of what both have:
# install_additional_requirements ROLE
install_additional_requirements() {
  local requirements target constraints
  read -ra requirements <<<"${_PIP_ADDITIONAL_REQUIREMENTS:-}"
  ((${#requirements[@]})) || return 0
  echo "entrypoint.sh: installing ${requirements[*]}, as _PIP_ADDITIONAL_REQUIREMENTS says: this delays every start and" \
    "pins nothing, so use it to try something out and build an image for anything else" >&2
  target="${AIRFLOW_HOME:?}/additional-requirements/$1"
  constraints="$target.constraints"
  mkdir -p "$target"
  python -c 'from importlib.metadata import distributions as d; print(*{f"{p.name}=={p.version}" for p in d()}, sep="\n")' \
    >"$constraints"
  if python -c 'import pip' 2>/dev/null; then
    python -m pip install --quiet --no-cache-dir --upgrade --target "$target" --constraint "$constraints" "${requirements[@]}"
  else
    uv pip install --quiet --python "$(command -v python)" --target "$target" --constraint "$constraints" "${requirements[@]}"
  fi
  export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$target"
}

# Completes Airflow's connection to InfluxDB with the token, which InfluxDB makes when it is provisioned.
connect_influxdb() {
  [[ -r "${INFLUXDB_TOKEN_FILE:-}" ]] || return 0
  local token host org
  token="$(<"$INFLUXDB_TOKEN_FILE")" host="${INFLUXDB_URL:?}" org="${INFLUXDB_ORG:-penstock}"
  export AIRFLOW_CONN_INFLUXDB_DEFAULT="{\"conn_type\": \"influxdb\", \"host\": \"$host\", \"extra\": {\"token\": \"$token\", \"org\": \"$org\"}}"
}

# Without lineage, Airflow does not even load what makes its events.
choose_lineage() {
  if [[ "${LINEAGE_FOLDER:-off}" == off ]]; then export AIRFLOW__OPENLINEAGE__DISABLED=True; fi
}

# Runs a Flume agent of include/flume, with the jars of the image: flume AGENT PORT
flume() {
  local conf="${PENSTOCK_HOME:?}/include/flume" jars="${FLUME_JARS:?}"
  [[ -r "$conf/$1.conf" ]] || fail "there is no Flume agent $1: see $conf"
  exec java -Xms192m -Xmx192m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true \
    "-Dlog4j2.configurationFile=$conf/log4j2.properties" \
    -DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties \
    -Dflume.monitoring.type=penstock.flume.LoopbackHttpMetricsServer "-Dflume.monitoring.port=$2" \
    "-Dflume.monitoring.host=${FLUME_METRICS_HOST:-127.0.0.1}" \
    -cp "$conf:$jars/*" org.apache.flume.node.Application "--name=$1" "--conf-file=$conf/$1.conf" --no-reload-conf
}

init() {
  local setting
  for setting in AIRFLOW_ADMIN_USER AIRFLOW_ADMIN_PASSWORD; do
    [[ -n "${!setting:-}" ]] || fail "$setting is not set: run \`make env\`, which generates what .env lacks"
  done
  airflow db migrate
  exec python -m penstock.airflow.init
}

role="${1:-}"
[[ -n "$role" ]] || {
  usage >&2
  exit 2
}
shift

case "$role" in
  init)
    wait_for_needs AIRFLOW__DATABASE__SQL_ALCHEMY_CONN
    install_additional_requirements "$role"
    init
    ;;
  api-server | scheduler | dag-processor | triggerer)
    wait_for_needs AIRFLOW__DATABASE__SQL_ALCHEMY_CONN
    install_additional_requirements "$role"
    connect_influxdb
    choose_lineage
    exec airflow "$role" "$@"
    ;;
  celery)
    wait_for_needs AIRFLOW__DATABASE__SQL_ALCHEMY_CONN AIRFLOW__CELERY__BROKER_URL
    install_additional_requirements "$role"
    connect_influxdb
    choose_lineage
    exec airflow celery "$@"
    ;;
  spark-master)
    exec spark-class org.apache.spark.deploy.master.Master "$@"
    ;;
  spark-worker)
    wait_for_needs SPARK_MASTER_URL
    exec spark-class org.apache.spark.deploy.worker.Worker "$@" "$SPARK_MASTER_URL"
    ;;
  car-api)
    wait_for_needs KAFKA_BOOTSTRAP_SERVERS
    exec python -m apps.car_api "$@"
    ;;
  replay-api | recentchange-collector | web-event-producer)
    exec python -m "apps.${role//-/_}" "$@"
    ;;
  wiki-edits-minute)
    wait_for_needs LEDGER_URL KAFKA_BOOTSTRAP_SERVERS WEBHDFS_URL INFLUXDB_URL
    exec python "${PENSTOCK_HOME:?}/spark_jobs/wiki_edits_minute.py" "$@"
    ;;
  landing-stream)
    wait_for_needs LEDGER_URL KAFKA_BOOTSTRAP_SERVERS WEBHDFS_URL INFLUXDB_URL
    exec python "${PENSTOCK_HOME:?}/spark_jobs/stream_to_influx.py" --pipeline "$@"
    ;;
  penstock-exporter)
    wait_for_needs LEDGER_URL
    exec python -m apps.penstock_exporter "$@"
    ;;
  price-consumer | kafka-lag-exporter)
    wait_for_needs KAFKA_BOOTSTRAP_SERVERS
    exec python -m "apps.${role//-/_}" "$@"
    ;;
  jobs)
    wait_for_needs KAFKA_BOOTSTRAP_SERVERS WEBHDFS_URL
    python -m penstock.stack.jobs_conf >/tmp/raw-copies.conf
    exec supervisord --nodaemon --configuration "${PENSTOCK_HOME:?}/include/docker/jobs.conf"
    ;;
  flume)
    (($# == 2)) || fail "flume takes the name of an agent and a port"
    flume "$@"
    ;;
  penstock)
    if [[ "${1:-}" == provision ]]; then
      wait_for_needs LEDGER_URL KAFKA_BOOTSTRAP_SERVERS SCHEMA_REGISTRY_URL CASSANDRA_HOSTS INFLUXDB_URL WEBHDFS_URL
    fi
    exec penstock "$@"
    ;;
  airflow | python | bash)
    # What a Kubernetes pod of Airflow starts, and what a person runs in a container.
    connect_influxdb
    choose_lineage
    exec "$role" "$@"
    ;;
  -h | --help | help)
    usage
    ;;
  *)
    usage >&2
    fail "there is no role $role"
    ;;
esac
