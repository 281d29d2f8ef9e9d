#!/usr/bin/env bash
# Runs as a SLURM job:
#
#   launch/slurm.sh run [--nodes=1] [--gpus-per-node=1] [--time=04:00:00] \
#     -- --config=configs/polymnist.py:paper
#   launch/slurm.sh stop   cancels it: it saves and ends; `run` goes on
#
# `run` makes the environment here, so that compute nodes need no network, and
# submits the job; the repository lies where they see it. What stands behind --
# goes to `python -m mmjsd_jax.main`. One node is one process with all of its
# GPUs, several nodes have one process for each GPU.
#
# Before its time is over, the job gets SIGTERM, saves, ends with status 143 and
# puts itself back into the queue; a job that is preempted, or whose node fails,
# is put there by SLURM. Either goes on from its newest checkpoint.
#
#   --name=NAME       of the job; otherwise mmjsd_jax
#   --grace=SECONDS   from SIGTERM to the end; otherwise 120
#   --data-dir=PATH   MMJSD_DATA_DIR
#   --extra=NAME      gpu (CUDA 13, driver 580 or newer) or gpu-cuda12
#   --account= --constraint= --cpus-per-task= --mem= --partition= --qos=
#                     those of sbatch; SBATCH_... variables hold, too
#   --dry-run         prints what would be done
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"

name=mmjsd_jax nodes=1 gpus_per_node=1 grace=120 data_dir='' extra=gpu
passed='account constraint cpus-per-task mem partition qos time'
for option in $passed; do
  printf -v "${option//-/_}" ''
done
read_options 'run stop' \
  "name= nodes= gpus-per-node= grace= data-dir= extra= ${passed// /= }=" "$@"
[[ ${#words[@]} == 0 ]] || die "unexpected '${words[*]}'."
for option in nodes gpus_per_node grace; do
  [[ "${!option}" =~ ^[1-9][0-9]*$ ]] ||
    die "--${option//_/-} must be a number above 0; got '${!option}'."
done

how="SLURM's commands are where its login nodes are: run this there."
case "$verb" in
  run)
    require_arguments
    need_tool sbatch "$how"
    tasks=1 distributed=()
    if ((nodes > 1)); then
      # JAX gives every process of a SLURM job one GPU.
      tasks="$gpus_per_node" distributed=(--distributed)
    fi
    options=(
      --job-name="$name" --nodes="$nodes" --ntasks-per-node="$tasks"
      --gpus-per-node="$gpus_per_node" --requeue --open-mode=append
      --signal="TERM@$grace"
    )
    for option in $passed; do
      variable="${option//-/_}"
      if [[ -n "${!variable}" ]]; then
        options+=(--"$option=${!variable}")
      fi
    done
    environment=(
      "MMJSD_EXTRAS=$extra" ${data_dir:+"MMJSD_DATA_DIR=$data_dir"}
    )
    # Only the steps get the signal of --signal. One that this shell gets ends
    # it, before it could put back a job that was cancelled.
    job="#!/usr/bin/env bash
cd $(quote "$root") || exit
export $(quote "${environment[@]}")
status=0
srun $(quote launch/local.sh ${distributed[@]+"${distributed[@]}"} \
      "${arguments[@]}") || status=\$?
if [[ \$status == 143 ]]; then scontrol requeue \"\$SLURM_JOB_ID\"; fi
exit \$status"
    run env "${environment[@]}" "$root/launch/environment.sh"
    feed "$job" sbatch "${options[@]}"
    ;;
  stop)
    need_tool scancel "$how"
    run scancel --user="${USER:-$(id -un)}" --name="$name"
    ;;
esac
