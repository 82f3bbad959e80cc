#!/usr/bin/env bash
# Starts an HDFS daemon in Hadoop's official image with the local stack's configuration: hdfs.sh namenode|datanode FOLDER
# FOLDER has the templates. An empty file system is made where there is none.
set -euo pipefail

data=/var/lib/hadoop
config="${HADOOP_CONF_DIR:-/opt/hadoop/etc/hadoop}"
for file in core-site.xml hdfs-site.xml; do
  sed -e "s|{{ data }}|$data|" \
    -e 's|127.0.0.1:{{ port.hdfs }}|hdfs-namenode:8020|' \
    -e 's|127.0.0.1:{{ port.hdfs_http }}|0.0.0.0:9870|' \
    -e 's|127.0.0.1:{{ port.hdfs_data }}|0.0.0.0:9866|' \
    -e 's|127.0.0.1:{{ port.hdfs_data_http }}|0.0.0.0:9864|' \
    -e 's|127.0.0.1:{{ port.hdfs_data_ipc }}|0.0.0.0:9867|' \
    -e '/dfs.datanode.hostname/s|127.0.0.1|hdfs-datanode|' "$2/$file.j2" >"$config/$file"
  if grep -q '{{' "$config/$file"; then
    echo "hdfs.sh: $2/$file.j2 has a placeholder that this script does not know: $(grep -m 1 '{{' "$config/$file")" >&2
    exit 1
  fi
done

if [[ "$1" == namenode && ! -d "$data/name" ]]; then
  # The folder gets its name once it is whole, so that an interrupted start leaves nothing half-made.
  rm -rf "$data/name.partial"
  hdfs namenode -D "dfs.namenode.name.dir=file://$data/name.partial" -format -force -nonInteractive
  mv "$data/name.partial" "$data/name"
fi
exec hdfs "$1"
