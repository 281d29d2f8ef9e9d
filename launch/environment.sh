#!/usr/bin/env bash
# Sourced by the other scripts, or run: makes the virtual environment, once.
#
# PYTHON        the Python to use; otherwise the first of 3.11 to 3.13 found.
# MMJSD_VENV    where the environment lies; otherwise .venv in the repository.
# MMJSD_EXTRAS  what it has beside the package, of pyproject.toml; otherwise
#               test. gpu, gpu-cuda12 and tpu bring JAX for those.
#
# Defines $root (the repository), $venv, and the functions
#   supported_pythons   prints "3.12.1 /path/to/python", preferred first;
#   make_environment    creates $venv unless it is there and complete.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${MMJSD_VENV:-$root/.venv}"
[[ "$venv" == /* ]] || venv="$PWD/$venv"
extras="${MMJSD_EXTRAS:-test}"

die() {
  echo "error: $*" >&2
  exit 1
}

# Prints version and path of the Python that $1 runs; nothing when it does not
# run (a pyenv shim of a version that is not active), is not supported, or
# cannot make virtual environments (Debian without python3-venv). Inside a
# virtual environment it prints the Python beneath, which outlives it.
probe_python() {
  "$1" -I - 2>/dev/null <<'END' || true
import ensurepip, platform, sys, venv
if (3, 11) <= sys.version_info[:2] <= (3, 13):
  print(platform.python_version(), sys._base_executable)
END
}

supported_pythons() {
  local candidate
  for candidate in python3 python3.12 python3.13 python3.11 \
    "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin/python; do
    probe_python "$candidate"
  done
}

# The lock file for Python version $1.
lock_file() {
  local minor="${1#3.}"
  echo "$root/constraints/py3${minor%%.*}.txt"
}

# All that the environment depends on, for Python version $1. The path counts
# because an editable install points to it.
environment_inputs() {
  echo "$root"
  echo "$1"
  echo "$extras"
  cat "$root/pyproject.toml" "$(lock_file "$1")"
}

# Locked, so that two scripts started at once do not install into each other.
make_environment() {
  mkdir -p "$(dirname "$venv")"
  (
    if command -v flock >/dev/null; then flock 9; fi
    make_environment_alone
  ) 9>"$venv.lock"
}

make_environment_alone() {
  local found="" version python
  if [[ -n "${PYTHON:-}" ]]; then
    found="$(probe_python "$PYTHON")"
    [[ -n "$found" ]] || die "PYTHON=$PYTHON is not a working Python 3.11," \
      "3.12 or 3.13 with the venv and ensurepip modules."
  elif [[ -x "$venv/bin/python" ]]; then
    found="$(probe_python "$venv/bin/python")"
  fi
  if [[ -z "$found" ]]; then
    found="$(supported_pythons)"
    [[ -n "$found" ]] || die "no Python 3.11, 3.12 or 3.13 with the venv and" \
      "ensurepip modules found. Install one (on Debian and Ubuntu:" \
      "apt install python3 python3-venv), or set PYTHON to its path."
    found="${found%%$'\n'*}"
  fi
  version="${found%% *}"
  python="${found#* }"

  # Written last, so an interrupted install is never taken for a complete one.
  local stamp="$venv/mmjsd_jax.complete"
  if environment_inputs "$version" | cmp -s - "$stamp"; then return; fi

  local place="$root"$'\n'"$version"
  if [[ -e "$stamp" && "$(head -n 2 "$stamp")" == "$place" ]]; then
    echo "Updating $venv." >&2
    rm "$stamp"
  else
    recreate_venv "$version" "$python"
  fi
  # The build tools come from the lock file too, hence no build isolation:
  # one dependency (promise) exists as source only.
  install_locked "$version" pip setuptools
  install_locked "$version" --no-build-isolation --editable "${root}[$extras]"
  environment_inputs "$version" >"$stamp.new"
  mv "$stamp.new" "$stamp"
}

# Makes an empty $venv for version $1 with the Python $2. Never empties a folder
# that this script did not make.
recreate_venv() {
  local marker="$venv/mmjsd_jax.venv"
  if [[ -e "$venv" && ! -e "$marker" && -n "$(ls -A "$venv")" ]]; then
    die "$venv exists and was not made by this script. Remove it, or set" \
      "MMJSD_VENV to another path."
  fi
  echo "Installing into $venv (Python $1, about 1.3 GB)." >&2
  rm -rf "$venv"
  mkdir "$venv"
  touch "$marker"
  "$2" -m venv "$venv" || die "$2 cannot make $venv."
}

# -qq: errors only. --no-user: pip refuses PIP_USER=1 in an environment.
install_locked() {
  local lock
  lock="$(lock_file "$1")"
  shift
  "$venv/bin/python" -m pip install -qq --no-user --disable-pip-version-check \
    --constraint "$lock" "$@" || die "pip could not install ($*). It needs" \
    "the network or a package index that can be reached" \
    "(PIP_INDEX_URL, PIP_FIND_LINKS)."
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  set -euo pipefail
  make_environment
fi
