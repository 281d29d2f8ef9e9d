#!/usr/bin/env bash
# Runs on a Cloud TPU pod slice, on all of its workers at once:
#
#   launch/tpu.sh create NAME --zone=us-central2-b \
#     --accelerator-type=v4-32 --runtime-version=tpu-ubuntu2204-base [--spot]
#   launch/tpu.sh run NAME --zone=... -- --config=configs/polymnist.py:paper \
#     --workdir=/mnt/runs/first
#   launch/tpu.sh follow NAME --zone=...   shows worker 0's log again
#   launch/tpu.sh stop NAME --zone=...     SIGTERM: it saves and ends
#   launch/tpu.sh fetch NAME --zone=...    copies worker 0's runs/ to here
#   launch/tpu.sh delete NAME --zone=...   gives the slice back
#
# `create` asks for the slice; it is there when `gcloud compute tpus
# queued-resources list` says ACTIVE. `run` copies the repository to all
# workers, makes the environment and starts the run so that a lost connection
# does not end it. What stands behind -- goes to `python -m mmjsd_jax.main`.
# The workdir lies on a file system that all workers mount. The disks of a slice
# go with it; where the workdir does not, `create` and `run` go on after a
# preemption.
#
#   --project=ID     otherwise gcloud's
#   --data-dir=PATH  MMJSD_DATA_DIR on the workers
#   --setup=COMMAND  done first on every worker, such as a mount; otherwise
#                    installs Python 3.11 where there is none of 3.11 to 3.13
#   --dry-run        prints what would be done
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"

zone='' accelerator_type='' runtime_version='' spot='' project='' data_dir=''
# Ubuntu 22.04, which slices run, has Python 3.10.
# shellcheck disable=SC2016 # the workers replace it
setup='for v in 11 12 13; do python3.$v -m ensurepip --version && break; done'
setup+=' || { sudo apt-get update && sudo apt-get install -y python3.11-venv; }'
read_options 'create run follow stop fetch delete' \
  'zone= accelerator-type= runtime-version= spot project= data-dir= setup=' "$@"
[[ ${#words[@]} == 1 ]] || die "need one NAME of a slice; got '${words[*]-}'."
name="${words[0]}"
require zone "where the slice is, such as us-central2-b"
where=(--zone="$zone" ${project:+--project="$project"})

gcloud_tpus() {
  run gcloud compute tpus "$@" "${where[@]}"
}

# On the workers $1, 'all' or a number.
remote() {
  gcloud_tpus tpu-vm ssh "$name" --worker="$1" --command="$2"
}

need_tool gcloud "It comes with the Google Cloud CLI:" \
  "https://cloud.google.com/sdk/docs/install."
case "$verb" in
  create)
    require accelerator-type "kind and size of the slice, such as v4-32"
    require runtime-version "its software, such as tpu-ubuntu2204-base"
    gcloud_tpus queued-resources create "$name" --node-id="$name" \
      --accelerator-type="$accelerator_type" \
      --runtime-version="$runtime_version" ${spot:+--spot}
    ;;
  run)
    require_arguments
    archive="$root/.cache/mmjsd_jax.tar.gz"
    run mkdir -p "$root/.cache"
    run tar --create --gzip --file="$archive" --directory="$root" \
      --exclude=./.git --exclude='./.venv*' --exclude=./.cache \
      --exclude=./runs .
    gcloud_tpus tpu-vm scp "$archive" "$name:" --worker=all
    remote all "$setup"
    remote all "mkdir -p mmjsd_jax && cd mmjsd_jax && \
tar --extract --gzip --file=../mmjsd_jax.tar.gz && $(
      quote env MMJSD_EXTRAS=tpu ${data_dir:+"MMJSD_DATA_DIR=$data_dir"} \
        launch/detached.sh start --distributed "${arguments[@]}"
    )"
    remote 0 'cd mmjsd_jax && launch/detached.sh follow'
    ;;
  follow) remote 0 'cd mmjsd_jax && launch/detached.sh follow' ;;
  stop) remote all 'cd mmjsd_jax && launch/detached.sh stop' ;;
  fetch)
    gcloud_tpus tpu-vm scp --recurse "$name:mmjsd_jax/runs" "$root" --worker=0
    ;;
  delete) gcloud_tpus queued-resources delete "$name" --force ;;
esac
