#!/bin/sh
# Starts Alertmanager in its official image with the local stack's configuration: alertmanager.sh TEMPLATE
# Alerts are posted to ALERT_WEBHOOK_URL, which may hold a secret; to nobody where it is empty.
set -eu

receiver=nobody
if [ -n "${ALERT_WEBHOOK_URL:-}" ]; then receiver=webhook; fi
umask 077
printf '%s' "${ALERT_WEBHOOK_URL:-http://127.0.0.1/}" >/tmp/webhook.url
sed -e "s|{{ \"webhook\" if settings.get(\"ALERT_WEBHOOK_URL\") else \"nobody\" }}|$receiver|" \
  -e 's|{{ conf }}|/tmp|' "$1" >/tmp/alertmanager.yml
if grep -q '{{' /tmp/alertmanager.yml; then
  echo "alertmanager.sh: $1 has a placeholder that this script does not know: $(grep -m 1 '{{' /tmp/alertmanager.yml)" >&2
  exit 1
fi
exec alertmanager --config.file=/tmp/alertmanager.yml --storage.path=/alertmanager --cluster.listen-address=
