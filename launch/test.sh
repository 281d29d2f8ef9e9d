#!/usr/bin/env bash
# Makes the environment if need be, then runs the checks:
#
#   launch/test.sh                       ruff, mypy, shellcheck, docs, all tests
#   launch/test.sh --checks              the same without the tests
#   launch/test.sh tests/model_test.py   pytest only, with these arguments
#
# See launch/environment.sh for the environment variables. The tests that need
# the original data sets look for them in MMJSD_DATA_DIR.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

make_environment
cd "$root"
python="$venv/bin/python"
if [[ $# == 0 || "$*" == --checks ]]; then
  "$python" -m ruff check
  "$python" -m ruff format --check
  "$python" -m mypy
  "$venv/bin/shellcheck" launch/*.sh benchmarks/*.sh .ci/run
  "$python" -m mkdocs build --strict
fi
[[ "$*" == --checks ]] || exec "$python" -m pytest "$@"
