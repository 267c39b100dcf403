#!/usr/bin/env bash
# Keep the last seven copies of the logbook.
set -euo pipefail

source_dir="${1:?usage: backup.sh DIR}"
target="/var/backups/logbook"

mkdir -p "$target"
tar -czf "$target/$(date +%F).tar.gz" "$source_dir"

ls -1t "$target"/*.tar.gz | tail -n +8 | while read -r old; do
  echo "removing $old"
  rm -- "$old"
done
