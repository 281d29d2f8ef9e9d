#!/usr/bin/env bash
# Runs as a Kubernetes JobSet, on GPUs or on TPUs:
#
#   launch/kubernetes.sh run NAME --image=IMAGE --claim=CLAIM [--nodes=2] \
#     -- --config=configs/polymnist.py:paper
#   launch/kubernetes.sh follow NAME   shows the first process's log
#   launch/kubernetes.sh stop NAME     it saves and ends; `run` goes on
#
# The cluster needs JobSet 0.6 or newer. CLAIM is a PersistentVolumeClaim that
# all nodes may write; it holds the workdir, in NAME, and the compiled programs.
# What stands behind -- goes to `python -m mmjsd_jax.main`, one process a node.
# IMAGE starts in the repository, with the package installed:
#
#   FROM python:3.12-slim
#   COPY . /mmjsd_jax
#   WORKDIR /mmjsd_jax
#   RUN pip install --constraint constraints/py312.txt --editable '.[gpu]'
#
# Where a process fails, all of them start again from the newest checkpoint: as
# often as pods are evicted or lose their node, and --max-restarts times for any
# other reason.
#
#   --nodes=N             otherwise 1
#   --resource=NAME=N     of every node; otherwise nvidia.com/gpu=1
#   --node-selector=K=V,K=V
#   --max-restarts=N      otherwise 10
#   --namespace=NAME      otherwise kubectl's
#   --data-dir=PATH       MMJSD_DATA_DIR, such as /mnt/runs/data on CLAIM
#   --dry-run             prints what would be done
#
# On GKE's TPUs: --resource=google.com/tpu=4 --node-selector=\
# cloud.google.com/gke-tpu-accelerator=tpu-v5-lite-podslice,\
# cloud.google.com/gke-tpu-topology=4x4, and the extra 'tpu' in the image.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"

mount=/mnt/runs
port=8476
image='' claim='' nodes=1 resource=nvidia.com/gpu=1 node_selector=''
max_restarts=10 namespace='' data_dir=''
known='image= claim= nodes= resource= node-selector= max-restarts= namespace='
read_options 'run follow stop' "$known data-dir=" "$@"
[[ ${#words[@]} == 1 ]] || die "need one NAME; got '${words[*]-}'."
name="${words[0]}"
# Pods are called NAME-main-0-<node>-<five characters>: a DNS label.
[[ "$name" =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] ||
  die "NAME must be 1 to 40 small letters, digits and inner dashes;" \
    "got '$name'."
for option in nodes max_restarts; do
  [[ "${!option}" =~ ^[1-9][0-9]*$ ]] ||
    die "--${option//_/-} must be a number above 0; got '${!option}'."
done
kubectl=(kubectl ${namespace:+--namespace="$namespace"})

# A string of YAML. Kubernetes replaces $(VARIABLE), and writes $$ for $.
yaml() {
  local text="$1"
  text="${text//\\/\\\\}"
  text="${text//\"/\\\"}"
  text="${text//$'\n'/\\n}"
  printf '"%s"' "$text"
}

# The same, and nothing is replaced.
yaml_as_is() {
  yaml "${1//\$/\$\$}"
}

manifest() {
  local argument pair environment
  cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
spec:
  failurePolicy:
    maxRestarts: $max_restarts
    rules:
    - action: RestartJobSetAndIgnoreMaxRestarts
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: main
    template:
      spec:
        completionMode: Indexed
        completions: $nodes
        parallelism: $nodes
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onPodConditions:
            - type: DisruptionTarget
              status: "True"
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
END
  if [[ -n "$node_selector" ]]; then
    echo '            nodeSelector:'
    while IFS= read -r -d , pair; do
      echo "              $(yaml "${pair%%=*}"): $(yaml "${pair#*=}")"
    done <<<"$node_selector,"
  fi
  cat <<END
            containers:
            - name: main
              image: $(yaml "$image")
              command: [python, -m, mmjsd_jax.main]
              args:
END
  for argument in --workdir="$mount/$name" "${arguments[@]}"; do
    echo "              - $(yaml_as_is "$argument")"
  done
  if ((nodes > 1)); then
    # shellcheck disable=SC2016 # Kubernetes replaces it
    for argument in --coordinator="$name-main-0-0.$name:$port" \
      --num_processes="$nodes" '--process_id=$(JOB_COMPLETION_INDEX)'; do
      echo "              - $(yaml "$argument")"
    done
  fi
  echo '              env:'
  for environment in MMJSD_CACHE_DIR="$mount/.cache" \
    ${data_dir:+"MMJSD_DATA_DIR=$data_dir"}; do
    echo "              - name: ${environment%%=*}"
    echo "                value: $(yaml_as_is "${environment#*=}")"
  done
  cat <<END
              resources:
                limits:
                  $(yaml "${resource%%=*}"): $(yaml "${resource#*=}")
              volumeMounts:
              - name: runs
                mountPath: $mount
            volumes:
            - name: runs
              persistentVolumeClaim:
                claimName: $(yaml "$claim")
END
}

need_tool kubectl "See https://kubernetes.io/docs/tasks/tools."
case "$verb" in
  run)
    require image "a container image with this package"
    require claim "a PersistentVolumeClaim for the workdir"
    require_arguments
    feed "$(manifest)" "${kubectl[@]}" apply --filename=-
    ;;
  follow)
    run "${kubectl[@]}" logs --follow --tail=-1 --selector="jobset.sigs.k8s.io/\
jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
    ;;
  stop) run "${kubectl[@]}" delete jobset "$name" ;;
esac
