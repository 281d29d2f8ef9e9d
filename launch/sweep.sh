#!/usr/bin/env bash
# Makes the environment if need be, then runs all points of a sweep:
#
#   launch/sweep.sh --config=configs/sweeps/mst_beta.py [--workdir=...]
#
# Arguments go to `python -m mmjsd_jax.sweep`; see launch/environment.sh for
# the environment variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_environment
exec "$venv/bin/python" -m mmjsd_jax.sweep "$@"
