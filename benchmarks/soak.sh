#!/usr/bin/env bash
# The long form of what CI runs in short: kills, stops, and an hour of training.
#
#   benchmarks/soak.sh [minutes]
#
# Leaves soak.png, memory against time. The exit status is not zero if a promise
# of docs/reliability.md is broken.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR/.. source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"

make_environment
cd "$root"
python="$venv/bin/python"
"$python" benchmarks/kill.py --kills=30 --stops=10
"$python" benchmarks/soak.py --minutes="${1:-60}" --picture=soak.png
