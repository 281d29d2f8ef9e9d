#!/usr/bin/env bash
# Rewrites constraints/ with today's newest releases, one lock file for each
# supported Python that is found here:
#
#   launch/lock.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
supported_pythons | while read -r version python; do
  lock="$(lock_file "$version")"
  made="$scratch/${lock##*/}"
  if [[ -e "$made" ]]; then continue; fi
  rm -rf "$scratch/venv"
  "$python" -m venv "$scratch/venv"
  pip=("$scratch/venv/bin/python" -m pip --disable-pip-version-check)
  "${pip[@]}" install -qq --upgrade pip setuptools
  "${pip[@]}" install -qq --no-build-isolation --editable "${root}[test]"
  "${pip[@]}" check
  {
    echo "# Made by launch/lock.sh on $(date +%F) with CPython $version:"
    echo "#   pip install --editable '.[test]'"
    echo "#   pip freeze --all --exclude-editable"
    "${pip[@]}" freeze --all --exclude-editable
  } >"$made"
done
for file in "$scratch"/py*.txt; do
  mv "$file" "$root/constraints/"
done
