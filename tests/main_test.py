"""The command: what it is told, and errors of one line."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags

from mmjsd_jax import config as configuration
from mmjsd_jax import main
from mmjsd_jax.files import write_json

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = '--config=configs/polymnist.py'

# ml_collections 1.1 loads config files by a method that Python deprecates.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
)


@pytest.fixture
def parse(monkeypatch):
  """Parses a command line as `console` does, and forgets it afterwards."""

  def parse(*arguments):
    monkeypatch.chdir(ROOT)
    # Where ml_collections looks for the keys that are overridden.
    monkeypatch.setattr(sys, 'argv', ['main.py', *arguments])
    return main._parse_flags(sys.argv)

  yield parse
  for name in list(flags.FLAGS):
    if name.startswith('config.'):
      delattr(flags.FLAGS, name)
  options = [option.name for option in main._OPTIONS]
  for name in ('config', 'workdir', 'mode', *options):
    flags.FLAGS[name].unparse()
  flags.FLAGS.unparse_flags()


def _error(capsys, parse, *arguments):
  with pytest.raises(SystemExit) as stop:
    parse(*arguments)
  assert stop.value.code == 2
  captured = capsys.readouterr()
  assert captured.out == ''
  (line,) = captured.err.splitlines()
  assert line.startswith('error: ')
  return line


@pytest.mark.parametrize(
  ('key', 'closest'),
  [
    ('betta', 'objective.beta'),
    ('objective.betta', 'objective.beta'),
    ('objektive.beta', 'objective.beta'),
    ('steps', 'train.num_steps'),
    ('trian.num_steps', 'train.num_steps'),
    ('evaluation.sed', 'evaluation.seed'),
    ('objective.change.posteriors', 'objective.change.posterior'),
  ],
)
def test_unknown_key_gets_the_closest_known_one(capsys, parse, key, closest):
  line = _error(capsys, parse, CONFIG, f'--config.{key}=1')
  assert f'unknown key config.{key};' in line
  assert line.endswith(f'the closest known one is config.{closest}')


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--config.objective.beta=x', "could not convert string to float: 'x'"),
    ('--config.train.num_steps=1.5', "invalid literal for int.*: '1.5'"),
    ('--config.data.allow_download=maybe', "Non-boolean .* 'maybe'"),
    ('--config.objective=1', 'is not a dict'),
    ('--config.train', 'Missing value for flag --config.train'),
    ('--mode=test', 'one of <train_and_evaluate.train.evaluate.generate'),
    ('--workdri=a', "Unknown .*'workdri'. Did you mean: workdir"),
  ],
)
def test_wrong_values_and_flags_are_named(capsys, parse, argument, message):
  line = _error(capsys, parse, CONFIG, argument)
  assert re.search(message, line)
  assert argument.partition('=')[0].lstrip('-') in line


def test_errors_of_the_config_file_lose_their_traceback(capsys, parse):
  line = _error(capsys, parse, f'{CONFIG}:papr')
  assert line.startswith('error: config argument must be of (')
  assert line.endswith("got 'papr'")


def test_overrides_need_a_config_before_them(capsys, parse):
  line = _error(capsys, parse, '--config.seed=1')
  assert '--config=<file> must stand before it' in line


def test_a_missing_config_file_is_named(parse):
  parse('--config=configs/polymnits.py')
  with pytest.raises(OSError, match='configs/polymnits.py'):
    main._config_and_workdir()


def test_workdir_defaults_to_the_name_of_the_config(parse):
  parse(f'{CONFIG}:smoke,objective=mmjsd', '--config.seed=3')
  config, workdir = main._config_and_workdir()
  assert workdir == pathlib.Path('runs/polymnist-smoke-mmjsd')
  assert config.seed == 3
  assert main._MODE.value == 'train_and_evaluate'


def test_a_name_that_leads_elsewhere_names_no_workdir(parse):
  parse(CONFIG, '--config.name=../a')
  with pytest.raises(ValueError, match=r"config.name must be .* got '../a'"):
    main._config_and_workdir()


def test_a_sweep_is_no_config(parse):
  parse('--config=configs/sweeps/mst_beta.py')
  with pytest.raises(ValueError, match='must be a ConfigDict .* got a Sweep'):
    main._config_and_workdir()


def test_workdir_is_the_one_given(parse):
  parse(CONFIG, '--workdir=/a/b', '--mode=train')
  _, workdir = main._config_and_workdir()
  assert workdir == pathlib.Path('/a/b')
  assert main._MODE.value == 'train'


def test_tuples_are_overridden_as_python_writes_them(parse):
  parse(
    CONFIG,
    "--config.data.modalities=('m0', 'm3')",
    '--config.objective.preset=mmjsd',
    '--config.objective.pi=(0.5, 0.25, 0.25)',
    '--config.objective.change.num_samples=3',
  )
  config, _ = main._config_and_workdir()
  assert config.data.modalities == ('m0', 'm3')
  assert config.objective.pi == (0.5, 0.25, 0.25)
  assert configuration.make_objective(config).num_samples == 3


def test_evaluation_finds_the_config_in_the_workdir(parse, tmp_path):
  config = configuration.default()
  config.seed = 7
  config.train.num_steps = 10
  write_json(
    tmp_path / 'run.json',
    {
      'config': configuration.to_dict(config),
      'data': {'source': '', 'fingerprint': ''},
    },
  )
  parse('--mode=evaluate', f'--workdir={tmp_path}')
  found, workdir = main._config_and_workdir()
  assert found == config
  assert workdir == tmp_path


@pytest.mark.parametrize(
  'arguments', [(), ('--mode=evaluate',), ('--workdir=a',)]
)
def test_without_a_config_the_command_says_what_it_needs(parse, arguments):
  parse(*arguments)
  with pytest.raises(ValueError, match='need --config=<file>, or --mode='):
    main._config_and_workdir()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('--mode=embed', '--output=a.csv'), '--mode=embed needs --inputs'),
    (('--mode=export', '--output=a'), '--mode=export needs --workdir='),
    (('--workdir=a', '--seed=1'), 'train_and_evaluate takes none of these;'),
  ],
)
def test_use_of_a_model_says_what_it_needs(parse, arguments, message):
  parse(*arguments)
  with pytest.raises(ValueError, match=message):
    main._prepared()


def test_a_trained_model_is_used_by_its_folder(parse, tmp_path, monkeypatch):
  told = {}

  def prepare(mode, workdir, options, *, trusted):
    told.update(mode=mode, workdir=workdir, options=options, trusted=trusted)
    return lambda _: (_ for _ in ()).throw(ValueError('row 7\nis bad'))

  monkeypatch.setattr(main.usage, 'prepare', prepare)
  parse(
    *('--mode=generate', f'--workdir={tmp_path}', '--given=m0+m2=a=b.npz'),
    *('--output=c.npz', '--targets=m1,m3', '--num_samples=4'),
  )
  work = main._prepared()
  assert told == {
    'mode': 'generate',
    'workdir': tmp_path,
    'trusted': (),
    'options': {
      'given': 'm0+m2=a=b.npz',
      'output': 'c.npz',
      'targets': ['m1', 'm3'],
      'num_samples': 4,
      'source': 'prior',
      'seed': 0,
      'checkpoint': 'final',
    },
  }
  with pytest.raises(SystemExit):
    work(None)


# Three real starts, of a few seconds each.
@pytest.mark.whole
@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((CONFIG, '--config.betta=1'), 'unknown key config.betta; '),
    (
      (CONFIG, '--config.objective.beta=-1'),
      'config.objective.beta must be a finite number of at least 0 and',
    ),
    ((f'{CONFIG}:paper',), 'MNIST not found; looked for '),
  ],
  ids=['key', 'value', 'paper without MNIST'],
)
def test_bad_input_ends_in_one_line(tmp_path, arguments, message):
  environment = {
    name: value
    for name, value in os.environ.items()
    if name != 'MMJSD_DATA_DIR'
  } | {'TFDS_DATA_DIR': str(tmp_path / 'none')}
  workdir = tmp_path / 'run'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'mmjsd_jax.main'),
      *(*arguments, f'--workdir={workdir}'),
    ],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stdout == ''
  (line,) = done.stderr.splitlines()
  assert line.startswith(f'error: {message}')
  assert not workdir.exists()
