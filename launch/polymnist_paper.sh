#!/usr/bin/env bash
# MoPoE's PolyMNIST experiment to the end: four objectives, 300 epochs each, the
# full evaluation with the authors' estimators beside, and the tables.
#
#   MMJSD_DATA_DIR=/path/to/data launch/polymnist_paper.sh
#
# For a GPU: on two CPU cores an objective takes some seven hours. Started again,
# it goes on where it was. See launch/environment.sh for the environment variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_environment
cd "$root"
results=()
for objective in mopoe mmjsd mmvae mvae; do
  workdir="runs/polymnist-paper-$objective"
  "$venv/bin/python" -m mmjsd_jax.main \
    --config="configs/polymnist.py:paper,objective=$objective" \
    --config.evaluation.as_released=True --workdir="$workdir" "$@"
  results+=("$workdir/results.json")
done
"$venv/bin/python" docs/make_results.py "${results[@]}" >runs/polymnist-paper.md
echo "Tables: runs/polymnist-paper.md"
