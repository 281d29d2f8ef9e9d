"""Populations from start to joint report; networks and judges are cheap."""

import contextlib
import json
import re

import jax
import pytest
import run_test
import train_world

from mmjsd_jax import companions, hosts, members, population, run, together
from mmjsd_jax import config as configuration
from mmjsd_jax import step as steps
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.interruption import Interruption, Stopped

pytestmark = pytest.mark.whole

NAMES = [f'beta_{beta}-seed_{seed}' for seed in (0, 1) for beta in (1, 5)]
ARGV = ['--config=configs/polymnist.py', '--config.population.seed=0:2']


def _config(**changes):
  lists = {'population.seed': '0:2', 'population.beta': '1,5'}
  return run_test._config(**lists | changes)


def _prepare(workdir, mode='train_and_evaluate', argv=ARGV, **changes):
  return population.prepare(_config(**changes), workdir, mode=mode, argv=argv)


def _run(workdir, mode='train_and_evaluate', **changes):
  return population.execute(_prepare(workdir, mode, **changes), Interruption())


def _state(workdir):
  config = run_test._config(**{'train.num_steps': 4})
  job = run_test._prepare(config, workdir.parent / 'none')
  like = steps.init_state(job.model, job.settings, run.make_mesh())
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    state, _ = checkpoints.restore_newest(like)
  return jax.device_get(state)


def _metrics(workdir):
  """metrics.jsonl without times."""
  lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
  return [
    {k: v for k, v in line.items() if 'second' not in k} for line in lines
  ]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  run_test._make_cheap(monkeypatch)
  monkeypatch.setattr(members.jax, 'device_count', lambda: 1)
  monkeypatch.setattr(members.jax, 'devices', lambda: jax.local_devices()[:1])


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """The workdir of a population in turn, and programs compiled per member."""
  workdir = tmp_path_factory.mktemp('runs') / 'population'
  compiled, names = [0], []
  execute = run.execute

  def count(event, _, **__):
    compiled[-1] += event == '/jax/core/compile/backend_compile_duration'

  def note(job, *others):
    names.append(job.workdir.name)
    compiled.append(0)
    execute(job, *others)

  with pytest.MonkeyPatch.context() as patch:
    patch.delenv('MMJSD_DATA_DIR', raising=False)
    run_test._make_cheap(patch)
    patch.setattr(members.jax, 'device_count', lambda: 1)
    patch.setattr(run, 'execute', note)
    jax.monitoring.register_event_duration_secs_listener(count)
    assert _run(workdir) == {}
    jax.monitoring.unregister_event_duration_listener(count)
  assert names == NAMES
  return workdir, compiled[1:]


def test_every_member_leaves_what_a_run_leaves(finished):
  workdir, _ = finished
  for name in NAMES:
    left = {path.name for path in (workdir / name).iterdir()}
    assert left >= {'run.json', 'metrics.jsonl', 'checkpoints', 'report.html'}
    results = json.loads((workdir / name / 'results.json').read_text())
    assert results['command'] == (
      'python -m mmjsd_jax.main --config=configs/polymnist.py --config.'
      f'objective.beta={results["config"]["objective"]["beta"]} '
      f'--config.seed={results["config"]["seed"]} --workdir={workdir / name}'
    )


def test_a_member_in_turn_is_its_solo_run_bit_for_bit(finished, tmp_path):
  workdir, _ = finished
  config = run_test._config(**{'objective.beta': 5.0, 'seed': 1})
  run.execute(run_test._prepare(config, tmp_path / 'solo'))
  member = workdir / NAMES[3]
  train_world.assert_bit_equal(_state(tmp_path / 'solo'), _state(member))
  assert _metrics(tmp_path / 'solo') == _metrics(member)
  left, right = (
    json.loads((folder / 'results.json').read_text())
    for folder in (tmp_path / 'solo', member)
  )
  assert left['metrics'] == right['metrics']
  assert left['config'] == right['config']


def test_only_the_first_member_compiles(finished):
  _, (first, *others) = finished
  assert max(others) < 10 < first


def test_the_joint_report_has_mean_deviation_and_front(finished):
  workdir, _ = finished
  page = (workdir / 'sweep.html').read_text()
  assert 'alt="Joint coherence against log-likelihood"' in page
  (row,) = re.findall('<tr>.*<td>5</td><td>2</td>(.*)</tr>', page)
  assert '±' in row
  points = json.loads((workdir / 'sweep.json').read_text())['points']
  assert [point['status'] for point in points] == ['computed'] * 4


def test_what_is_finished_is_kept(finished, monkeypatch):
  workdir, _ = finished
  monkeypatch.setattr(run, 'execute', lambda *_: pytest.fail('was run'))
  assert _run(workdir) == {}


def test_a_member_can_be_measured_by_itself(finished):
  workdir, _ = finished
  config = run_test.workdirs.stored_config(workdir / NAMES[0])
  assert not configuration.is_population(config)
  assert config.objective.beta == 1.0


# --- together -----------------------------------------------------------------


def test_together_they_go_on_and_who_fails_is_tried_again_alone(
  tmp_path, caplog, monkeypatch
):
  caplog.set_level('INFO', 'mmjsd_jax')
  options = {
    'population.together': 4,
    'population.learning_rate': '1e-3,1',
    'population.beta': '',
  }
  asked = Interruption()
  monkeypatch.setattr(asked, 'requested', lambda: True)
  with pytest.raises(Stopped):
    population.execute(_prepare(tmp_path / 'p', 'train', **options), asked)
  assert '4 members together need' in caplog.text
  failed = _run(tmp_path / 'p', mode='train', **options)
  assert '4 members go on from step 1' in caplog.text
  whole, broken = (
    [f'beta_2.5-learning_rate_{rate}-seed_{seed}' for seed in (0, 1)]
    for rate in ('0.001', '1')
  )
  assert list(failed) == broken
  for name in whole:
    assert [line['step'] for line in _metrics(tmp_path / 'p' / name)] == [2, 4]
  monkeypatch.setattr(run, 'train_members', lambda *_: pytest.fail('together'))
  skipping = options | {'train.non_finite': 'skip'}
  assert _run(tmp_path / 'p', mode='train', **skipping) == {}
  assert _state(tmp_path / 'p' / broken[0]).num_skipped == 3


def test_members_of_different_steps_are_trained_apart(monkeypatch):
  steps = {'a': (2, 4), 'b': (), 'c': (4, 6), 'd': (), 'e': (8,), 'f': (4,)}
  monkeypatch.setattr(companions, '_steps', steps.__getitem__)
  groups = companions._groups({name: name for name in steps}, 2)
  assert groups == [['a', 'c'], ['b', 'd'], ['e'], ['f']]


def test_members_that_do_not_fit_are_refused_before_training(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(
    companions,
    'foretell',
    lambda *_: together.Forecast(10, 100, 50, 50, 0, num_members=4),
  )
  for limit, expected in ((160, 'at most 3'), (20, 'not even one fits')):
    monkeypatch.setattr(companions, 'device_limit', lambda n=limit: n)
    with pytest.raises(
      MemoryError, match=f'4 members together need .*{expected}'
    ):
      _run(tmp_path / 'p', mode='train', **{'population.together': 4})
  assert not list(tmp_path.rglob('metrics.jsonl'))


@pytest.mark.parametrize(
  ('num_members', 'num_devices', 'backend', 'expected'),
  [
    (4, 1, 'cpu', 1),
    (4, 4, 'cpu', 4),
    (9, 4, 'gpu', 4),
    (3, 4, 'gpu', 1),
    (2, 1, 'gpu', 2),  # faster
    (5, 1, 'gpu', 1),  # slower
    (9, 1, 'gpu', 7),  # of which 7 fit
  ],
)
def test_members_together_are_chosen_by_devices_and_time(
  monkeypatch, num_members, num_devices, backend, expected
):
  monkeypatch.setattr(members.jax, 'device_count', lambda: num_devices)
  monkeypatch.setattr(members.jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(together, 'device_limit', lambda: 70)
  monkeypatch.setattr(
    together,
    'foretell',
    lambda _, s, __: together.Forecast(0, 10 * len(s), 0, 0, 0, len(s)),
  )
  rates = {1: 100.0, 2: 150.0, 5: 90.0, 7: 150.0}
  monkeypatch.setattr(
    together, 'examples_per_second', lambda _, s, __: rates[len(s)]
  )
  settings = [train_world.SETTINGS] * num_members
  assert together.choose_together(None, settings, None) == expected


def test_examples_per_second_are_those_of_all_members(tmp_path):
  job, *others = _prepare(tmp_path / 'p').jobs.values()
  settings = [job.settings, others[0].settings]
  assert together.examples_per_second(job.model, settings, job.training) > 0


def test_a_population_is_not_evaluated_without_training(tmp_path):
  with pytest.raises(ValueError, match='--workdir=<folder of the member>'):
    _prepare(tmp_path / 'p', mode='evaluate')


def test_processes_train_no_members_together(tmp_path, monkeypatch):
  monkeypatch.setattr(hosts, 'is_alone', lambda: False)
  with pytest.raises(ValueError, match='together must be 0 or 1 .* got 2'):
    _prepare(tmp_path / 'p', **{'population.together': 2})
