"""The scripts that start runs elsewhere, without any elsewhere.

Their tools are stubs that write down what they were called with, or missing.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import time

import pytest
import yaml

pytestmark = pytest.mark.whole
LAUNCH = pathlib.Path(__file__).resolve().parent.parent / 'launch'
CONFIG = '--config=configs/polymnist.py:paper'
# What a shell, SLURM, YAML or Kubernetes might take for its own.
NASTY = '--config.name=it\'s "a" $(b) $HOME \\n & c'
ARGUMENTS = (CONFIG, NASTY)
TOOLS = ('gcloud', 'kubectl', 'rsync', 'sbatch', 'scancel', 'ssh')
SLICE = ('--zone=us-central2-b', '--project=p')
COMMANDS = {
  'gpu run': ('gpu', 'run', 'me@box', '--data-dir=/the data'),
  'gpu follow': ('gpu', 'follow', 'box', '--folder=else where'),
  'gpu stop': ('gpu', 'stop', 'box'),
  'gpu fetch': ('gpu', 'fetch', 'box'),
  'tpu create': (
    *('tpu', 'create', 'pod', *SLICE, '--spot'),
    *('--accelerator-type=v4-32', '--runtime-version=tpu-ubuntu2204-base'),
  ),
  'tpu run': ('tpu', 'run', 'pod', *SLICE, '--setup=mount "/a b"'),
  'tpu follow': ('tpu', 'follow', 'pod', *SLICE),
  'tpu stop': ('tpu', 'stop', 'pod', *SLICE),
  'tpu fetch': ('tpu', 'fetch', 'pod', *SLICE),
  'tpu delete': ('tpu', 'delete', 'pod', *SLICE),
  'slurm run': ('slurm', 'run', '--name=a b', '--partition=gpu'),
  'slurm stop': ('slurm', 'stop'),
  'kubernetes run': (
    *('kubernetes', 'run', 'first', '--image=i:1', '--claim=runs'),
    *('--nodes=2', '--node-selector=a/b=c,d=e', '--data-dir=/mnt/$data'),
  ),
  'kubernetes follow': ('kubernetes', 'follow', 'first', '--namespace=n'),
  'kubernetes stop': ('kubernetes', 'stop', 'first'),
}
# What the dry run must print.
EXPECTED = {
  'gpu run': 'rsync --archive --delete --exclude=/.git',
  'gpu follow': "ssh box 'cd '\\''else where'\\'' && launch/detached.sh f",
  'gpu stop': "ssh box 'cd mmjsd_jax && launch/detached.sh stop'",
  'gpu fetch': 'rsync --archive --exclude=/.detached box:mmjsd_jax/runs/ ',
  'tpu create': (
    'gcloud compute tpus queued-resources create pod --node-id=pod'
    ' --accelerator-type=v4-32 --runtime-version=tpu-ubuntu2204-base --spot'
    ' --zone=us-central2-b --project=p'
  ),
  'tpu run': 'MMJSD_EXTRAS=tpu launch/detached.sh start --distributed',
  'tpu follow': 'tpu-vm ssh pod --worker=0',
  'tpu stop': (
    "tpu-vm ssh pod --worker=all '--command=cd mmjsd_jax &&"
    " launch/detached.sh stop'"
  ),
  'tpu fetch': 'tpu-vm scp --recurse pod:mmjsd_jax/runs',
  'tpu delete': 'queued-resources delete pod --force --zone=us-central2-b',
  'slurm run': "sbatch '--job-name=a b' --nodes=1 --ntasks-per-node=1",
  'slurm stop': '--name=mmjsd_jax',
  'kubernetes run': 'kubectl apply --filename=- <<',
  'kubernetes follow': 'kubectl --namespace=n logs --follow',
  'kubernetes stop': 'kubectl delete jobset first',
}


@pytest.fixture
def bare(tmp_path: pathlib.Path) -> pathlib.Path:
  """A PATH with what the scripts themselves need, and no tool."""
  folder = tmp_path / 'bare'
  folder.mkdir()
  for name in ('bash', 'cat', 'dirname', 'id', 'sed'):
    folder.joinpath(name).symlink_to(shutil.which(name))
  return folder


@pytest.fixture
def stubs(bare: pathlib.Path) -> pathlib.Path:
  """A PATH on which commands write words and input into $RECORD."""
  folder = bare.parent / 'stubs'
  shutil.copytree(bare, folder, symlinks=True)
  for name in (*TOOLS, 'env', 'mkdir', 'tar'):
    path = folder / name
    path.write_text(
      '#!/bin/sh\n'
      '{ printf "%s\\0" "${0##*/}" "$@"; cat; printf "\\0\\0"; } >>"$RECORD"\n'
    )
    path.chmod(0o755)
  return folder


def execute(words, path, **environment):
  return subprocess.run(
    words,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    env={'PATH': str(path), 'HOME': '/home/me', 'USER': 'me'} | environment,
  )


def launch(name, path, *options, **environment):
  """Runs a command of COMMANDS; those that start something get ARGUMENTS."""
  script, verb, *words = COMMANDS[name]
  behind = ('--', *ARGUMENTS) if verb == 'run' else ()
  return execute(
    ['bash', LAUNCH / f'{script}.sh', verb, *words, *options, *behind],
    path,
    **environment,
  )


def dry_run(name, path, *options):
  done = launch(name, path, *options, '--dry-run')
  assert (done.returncode, done.stderr) == (0, '')
  return done.stdout


def input_of(printed):
  """What a dry run shows as the input of its last command."""
  return printed.partition("<<'END'\n")[2].removesuffix('\nEND\n')


@pytest.mark.parametrize('name', COMMANDS)
def test_a_dry_run_prints_the_commands_and_needs_no_tool(name, bare):
  assert EXPECTED[name] in dry_run(name, bare)


@pytest.mark.parametrize('name', COMMANDS)
def test_what_is_done_is_what_a_dry_run_prints(name, stubs, tmp_path):
  printed = dry_run(name, stubs)
  assert not (tmp_path / 'done').exists()
  done = launch(name, stubs, RECORD=str(tmp_path / 'done'))
  assert done.returncode == 0, done.stderr
  again = execute(
    ['bash', '-ec', printed], stubs, RECORD=str(tmp_path / 'again')
  )
  assert again.returncode == 0, again.stderr
  record = (tmp_path / 'done').read_bytes()
  assert record
  assert record == (tmp_path / 'again').read_bytes()


@pytest.mark.parametrize('name', COMMANDS)
def test_a_missing_tool_is_one_line_that_says_how_to_get_it(name, bare):
  done = launch(name, bare)
  assert done.returncode == 1
  assert done.stdout == ''
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ') and ' is not installed. ' in line


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    ('gpu', 'what to do must be one of: run follow stop fetch'),
    ('gpu walk box', "got 'walk'"),
    ('gpu run -- --config=a', 'need one HOST'),
    ('gpu run box', 'behind --'),
    (
      'gpu run box --config=a',
      'unknown option --config=a; known are --folder=',
    ),
    ('gpu run box --folder', 'unknown option --folder;'),
    ('tpu run pod -- --config=a', '--zone=... is missing'),
    ('tpu create pod --zone=z', '--accelerator-type=... is missing'),
    ('tpu create pod --zone=z --spot=1', 'unknown option --spot=1'),
    ('slurm run --nodes=two -- --config=a', '--nodes must be a number above 0'),
    ('slurm run now -- --config=a', "unexpected 'now'"),
    ('kubernetes run A --image=i -- --config=a', "got 'A'"),
    ('kubernetes run a --image=i -- --config=a', '--claim=... is missing'),
  ],
)
def test_a_wrong_command_line_is_one_line(words, message, bare):
  script, *rest = words.split()
  done = execute(['bash', LAUNCH / f'{script}.sh', '--dry-run', *rest], bare)
  assert done.returncode == 1
  assert done.stdout == ''
  (line,) = done.stderr.splitlines()
  assert message in line


@pytest.mark.parametrize('script', ['gpu', 'tpu', 'slurm', 'kubernetes'])
def test_help_is_the_head_of_the_script(script, bare):
  done = execute(['bash', LAUNCH / f'{script}.sh', '--help'], bare)
  assert done.returncode == 0
  assert f'launch/{script}.sh run' in done.stdout
  assert '--dry-run' in done.stdout
  assert 'set -e' not in done.stdout


@pytest.mark.parametrize('name', ['gpu run', 'tpu run'])
def test_arguments_reach_the_other_machine_as_they_are(name, bare):
  lines = dry_run(name, bare).splitlines()
  (start,) = (line for line in lines if 'start' in line)
  (remote,) = (w for w in shlex.split(start) if 'start' in w)
  assert shlex.split(remote)[-2:] == list(ARGUMENTS)


@pytest.mark.parametrize(('nodes', 'tasks'), [(1, 1), (2, 8)])
def test_several_slurm_nodes_have_a_process_for_each_gpu(nodes, tasks, bare):
  printed = dry_run('slurm run', bare, f'--nodes={nodes}', '--gpus-per-node=8')
  assert f'--ntasks-per-node={tasks} --gpus-per-node=8' in printed
  assert ('--distributed' in printed) == (nodes > 1)


@pytest.mark.parametrize(('status', 'requeued'), [(0, 0), (1, 0), (143, 1)])
def test_a_slurm_job_that_was_stopped_goes_back_into_the_queue(
  status, requeued, stubs, tmp_path
):
  stubs.joinpath('srun').symlink_to('gcloud')
  stubs.joinpath('scontrol').symlink_to('gcloud')
  job = input_of(dry_run('slurm run', stubs))
  done = execute(
    ['bash', '-c', f'srun() {{ command srun "$@"; return {status}; }}; {job}'],
    stubs,
    RECORD=str(tmp_path / 'record'),
    SLURM_JOB_ID='42',
  )
  assert done.returncode == status, done.stderr
  srun, *rest = (
    call.split('\0')
    for call in (tmp_path / 'record').read_text().split('\0\0\0')[:-1]
  )
  assert srun == ['srun', 'launch/local.sh', *ARGUMENTS]
  assert rest == [['scontrol', 'requeue', '42']] * requeued


def test_a_jobset_runs_the_module_on_every_node(bare):
  jobset = yaml.safe_load(input_of(dry_run('kubernetes run', bare)))
  assert jobset['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  assert jobset['kind'] == 'JobSet'
  (job,) = jobset['spec']['replicatedJobs']
  nodes = job['template']['spec']
  assert nodes['completionMode'] == 'Indexed'
  assert (nodes['completions'], nodes['parallelism']) == (2, 2)
  pod = nodes['template']['spec']
  assert pod['nodeSelector'] == {'a/b': 'c', 'd': 'e'}
  (container,) = pod['containers']
  assert container['command'] == ['python', '-m', 'mmjsd_jax.main']
  # Kubernetes replaces $(NAME) and writes $ for $$.
  workdir, *arguments, coordinator, number, index = container['args']
  assert [a.replace('$$', '$') for a in arguments] == list(ARGUMENTS)
  assert '$' not in ''.join(arguments).replace('$$', '')
  assert workdir == '--workdir=/mnt/runs/first'
  # <JobSet>-<job>-<its number>-<node>.<JobSet>
  assert coordinator == '--coordinator=first-main-0-0.first:8476'
  assert number == '--num_processes=2'
  assert index == '--process_id=$(JOB_COMPLETION_INDEX)'
  assert container['resources'] == {'limits': {'nvidia.com/gpu': '1'}}
  assert {'name': 'MMJSD_DATA_DIR', 'value': '/mnt/$$data'} in container['env']
  (volume,) = pod['volumes']
  assert volume['persistentVolumeClaim'] == {'claimName': 'runs'}


def test_a_jobset_starts_again_as_often_as_its_pods_are_evicted(bare):
  spec = yaml.safe_load(input_of(dry_run('kubernetes run', bare)))['spec']
  job = spec['replicatedJobs'][0]['template']['spec']
  (rule,) = job['podFailurePolicy']['rules']
  assert rule['action'] == 'FailJob'
  assert rule['onPodConditions'] == [
    {'type': 'DisruptionTarget', 'status': 'True'}
  ]
  (rule,) = spec['failurePolicy']['rules']
  assert rule['action'] == 'RestartJobSetAndIgnoreMaxRestarts'
  assert rule['onJobFailureReasons'] == ['PodFailurePolicy']
  # Otherwise, after any failure, and so often.
  assert job['backoffLimit'] == 0
  assert spec['failurePolicy']['maxRestarts'] == 10


def test_a_jobset_of_one_node_is_one_process(bare):
  printed = dry_run('kubernetes run', bare, '--nodes=1')
  assert 'num_processes' not in printed


class Copy:
  """A copy of launch/ whose run waits until it is stopped."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder / 'launch'
    self.folder.mkdir()
    for name in ('detached.sh', 'environment.sh'):
      shutil.copy(LAUNCH / name, self.folder)
    local = self.folder / 'local.sh'
    local.write_text(
      '#!/bin/bash\n'
      "trap 'echo saved; exit 143' TERM\n"
      'echo "began $*"\n'
      'for i in {1..500}; do sleep 0.02; done\n'
    )
    local.chmod(0o755)

  def __call__(self, *words: str) -> subprocess.CompletedProcess:
    return execute([self.folder / 'detached.sh', *words], os.environ['PATH'])

  def log(self) -> str:
    path = self.folder.parent / 'runs' / '.detached' / 'log'
    return path.read_text() if path.exists() else ''


def test_a_detached_run_outlives_its_start_and_ends_by_sigterm(tmp_path):
  detached = Copy(tmp_path)
  assert 'no run was started' in detached('follow').stderr
  assert detached('start', CONFIG, NASTY).returncode == 0
  try:
    end = time.monotonic() + 10
    while 'began' not in detached.log() and time.monotonic() < end:
      time.sleep(0.01)
    assert detached.log() == f'began {CONFIG} {NASTY}\n'
    second = detached('start', CONFIG)
    assert second.returncode == 1
    assert 'a run is going on' in second.stderr
  finally:
    stopped = detached('stop')
  assert (stopped.returncode, stopped.stdout) == (0, 'saved\n')
  followed = detached('follow')
  assert followed.returncode == 143
  assert followed.stdout == detached.log()
  assert 'No run is going on' in detached('stop').stdout
  assert detached('start').returncode == 0
  assert detached('stop').returncode == 0
