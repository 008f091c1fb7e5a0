#!/usr/bin/env bash
# Three Ray nodes on this machine, as three hosts would be, and a run on them. Usage: examples/cluster.sh RECIPE DATA OUT
set -euo pipefail
recipe=$1 data=$2 out=$3
port=${PORT:-6391}
# Without a token in the environment Ray refuses to start nodes that trust each other; on a real cluster use RAY_AUTH_MODE=token.
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-disabled} RAY_USAGE_STATS_ENABLED=0
nodes=()
stop() { rm -f /tmp/ray/ray_current_cluster; kill "${nodes[@]}" 2>/dev/null || true; wait "${nodes[@]}" 2>/dev/null || true; }
trap stop EXIT

ray start --head --port "$port" --num-cpus 1 --object-store-memory 100000000 --include-dashboard false --block >/dev/null & nodes+=($!)
until ray health-check --address "127.0.0.1:$port" 2>/dev/null; do sleep 1; done
for _ in 1 2; do
  ray start --address "127.0.0.1:$port" --num-cpus 1 --object-store-memory 100000000 --block >/dev/null & nodes+=($!)
done

RAY_ADDRESS="127.0.0.1:$port" vl3-curate run "$recipe" --data "$data" --out "$out" --executor ray
