#!/usr/bin/env bash
# One machine of a Ray cluster, held until Ctrl-C.
#
#   first machine     scripts/cluster/ray-start.sh
#   every other one   scripts/cluster/ray-start.sh FIRST      (its host name or address)
#
# Then, on any of them:   grpo train math --out /shared/runs/math
#
# PORT is that of the first machine (6379).  Other arguments go to `ray start`: --num-gpus=4, say.
# Whoever can reach the port can run programs, so machines show each other a token.  The first machine makes one in
# ~/.ray/auth_token; where homes are not shared, copy that file, or set RAY_AUTH_TOKEN to the same text everywhere.
set -euo pipefail

export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"  # else only the first machine asks for it, and turns the others away
port="${PORT:-6379}"
first="${1:-}"
if [[ -z "$first" || "$first" == --* ]]; then
    exec ray start --head --port="$port" --disable-usage-stats --block "$@"
fi
shift
exec ray start --address="$first:$port" --disable-usage-stats --block "$@"
