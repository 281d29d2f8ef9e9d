#!/usr/bin/env bash
# Runs on a machine with NVIDIA GPUs that ssh reaches:
#
#   launch/gpu.sh run [user@]HOST -- --config=configs/polymnist.py:paper
#   launch/gpu.sh follow HOST   shows the log again, after a lost connection
#   launch/gpu.sh stop HOST     SIGTERM: it saves and ends; `run` goes on
#   launch/gpu.sh fetch HOST    copies its runs/ to here
#
# `run` copies the repository, makes the environment with JAX for CUDA, starts
# the run so that a lost connection does not end it, and shows its log. What
# stands behind -- goes to `python -m mmjsd_jax.main`.
#
#   --folder=PATH    the copy on HOST; otherwise mmjsd_jax in the home folder
#   --data-dir=PATH  MMJSD_DATA_DIR on HOST
#   --extra=NAME     gpu (CUDA 13, driver 580 or newer) or gpu-cuda12
#   --dry-run        prints what would be done
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"

folder=mmjsd_jax
data_dir=''
extra=gpu
read_options 'run follow stop fetch' 'folder= data-dir= extra=' "$@"
[[ ${#words[@]} == 1 ]] || die "need one HOST; got '${words[*]-}'."
host="${words[0]}"

remote() {
  run ssh "$host" "cd $(quote "$folder") && $(quote "$@")"
}

need_tool ssh "It comes with OpenSSH (on Debian and Ubuntu: apt install" \
  "openssh-client)."
need_tool rsync "On Debian and Ubuntu: apt install rsync."
case "$verb" in
  run)
    require_arguments
    # What is excluded is not removed over there, either.
    run rsync --archive --delete --exclude=/.git --exclude='/.venv*' \
      --exclude=/.cache --exclude=/runs "$root/" "$host:$folder/"
    remote env "MMJSD_EXTRAS=$extra" \
      ${data_dir:+"MMJSD_DATA_DIR=$data_dir"} \
      launch/detached.sh start "${arguments[@]}"
    remote launch/detached.sh follow
    ;;
  follow | stop) remote launch/detached.sh "$verb" ;;
  fetch)
    run rsync --archive --exclude=/.detached "$host:$folder/runs/" "$root/runs/"
    ;;
esac
