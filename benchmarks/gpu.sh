#!/usr/bin/env bash
# Measures both models on the accelerator of this machine, within 10 minutes:
#
#   benchmarks/gpu.sh [--output=gpu.json] [--minutes=10] [--only=run/*] [--quick]
#
# Other options go to benchmarks/gpu.py, which says what is measured. Data sets
# are taken from MMJSD_DATA_DIR; noise of the same shapes stands in for them.
#
#   --python=PATH  a Python that has JAX for the accelerator, flax, optax and
#                  orbax; otherwise the environment is made, with MMJSD_EXTRAS,
#                  by default gpu
#   --wheels=DIR   wheels that PATH lacks, such as ml_collections and
#                  tensorboardX; they are installed beside it
set -euo pipefail
export MMJSD_EXTRAS="${MMJSD_EXTRAS:-gpu}"
# shellcheck source-path=SCRIPTDIR/.. source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"

python='' wheels='' arguments=()
for argument in "$@"; do
  case "$argument" in
    --python=*) python="${argument#*=}" ;;
    --wheels=*) wheels="${argument#*=}" ;;
    *) arguments+=("$argument") ;;
  esac
done
if [[ -z "$python" ]]; then
  make_environment
  python="$venv/bin/python"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if [[ -n "$wheels" ]]; then
  site="$(mktemp -d)"
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -qq --no-index --no-deps --target "$site" \
    "$wheels"/*.whl
  PYTHONPATH+=":$site"
fi
"$python" "$root/benchmarks/gpu.py" ${arguments[@]+"${arguments[@]}"}
