"""Sweeps: which points are run, what is left behind, what fails.

Nothing is trained: the run of a point is replaced by one that writes results.
"""

import base64
import contextlib
import html
import json
import pathlib
from typing import Any, NamedTuple

import pytest
import sweep_world
from html_world import Page
from PIL import Image

from mmjsd_jax import config as configuration
from mmjsd_jax import grid, sweep_files, sweep_run
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.grid import Point
from mmjsd_jax.interruption import Stopped
from mmjsd_jax.train import NonFiniteLoss

_BASE = """
from mmjsd_jax import config as defaults

def get_config(arg=None):
  config = defaults.default()
  config.train.num_steps = {steps}
  return config
"""
_SWEEP = """
from mmjsd_jax import grid

def get_config(arg=None):
  return grid.Sweep(
    name='tiny',
    base='base.py',
    grid={{'objective.preset': {presets}, 'objective.beta': {betas}}},
    axis='{axis}',
    figures={figures},
    seeds={seeds},
    title='A tiny sweep',
  )
"""
NAMES = [f'mopoe-beta_{beta}-seed_0' for beta in (1, 5, 20)]


class _Job(NamedTuple):
  config: Any
  workdir: pathlib.Path
  training: None = None  # not in memory: in turn


class _World:
  """Stands in for preparing and executing a run."""

  def __init__(self):
    self.begun = []
    self.errors = {}  # name of a point to what its run raises

  def prepare(self, config, workdir, *, mode, command):
    assert mode == 'train_and_evaluate'
    assert f'--workdir={workdir}' in command
    return _Job(config, workdir)

  def with_numbers(self, job, config, workdir, command):
    assert isinstance(job, _Job)
    return self.prepare(
      config, workdir, mode='train_and_evaluate', command=command
    )

  def execute(self, job, interruption, tell_fn):
    del interruption, tell_fn
    config, workdir = job.config, job.workdir
    self.begun.append(workdir.name)
    workdir.mkdir(parents=True, exist_ok=True)
    if workdir.name in self.errors:
      raise self.errors[workdir.name]
    point = Point(workdir.name, {}, config)
    results = sweep_world.make_results(point)
    (workdir / 'results.json').write_text(json.dumps(results))


@pytest.fixture
def world(tmp_path, monkeypatch):
  """A folder with a sweep and its base, and nothing that takes time."""
  monkeypatch.chdir(tmp_path)
  made = _World()
  monkeypatch.setattr(sweep_run.jobs, 'prepare', made.prepare)
  monkeypatch.setattr(sweep_run.jobs, 'with_numbers', made.with_numbers)
  monkeypatch.setattr(sweep_run.run, 'execute', made.execute)
  # Other tests' programs would have to be compiled again.
  monkeypatch.setattr(sweep_run.jax, 'clear_caches', lambda: None)
  return made


def _prepare(
  *,
  betas=(1.0, 5.0, 20.0),
  presets=('mopoe',),
  seeds=(0,),
  axis='beta',
  figures=('ablation',),
  steps=4,
  workdir='runs/s',
):
  pathlib.Path('base.py').write_text(_BASE.format(steps=steps))
  pathlib.Path('sweep.py').write_text(
    _SWEEP.format(
      betas=betas, presets=presets, seeds=seeds, axis=axis, figures=figures
    )
  )
  return sweep_run.prepare('sweep.py', workdir, command='the command')


def _statuses(outcomes):
  return [outcome.status for outcome in outcomes.values()]


def _stored():
  return json.loads(pathlib.Path('runs/s/sweep.json').read_text())


def test_a_sweep_leaves_numbers_page_and_figures(world):
  outcomes = sweep_run.execute(_prepare(figures=('trade_off', 'ablation')))
  assert world.begun == NAMES == list(outcomes)
  stored = _stored()
  assert [point['name'] for point in stored['points']] == NAMES
  first = stored['points'][0]
  assert first['status'] == 'computed'
  assert first['settings']['objective.beta'] == 1.0
  assert first['metrics']['coherence']['0'] == 0.01
  assert pathlib.Path('runs/s', first['results']).is_file()
  page = pathlib.Path('runs/s/sweep.html').read_text('utf-8')
  assert '<h1>A tiny sweep</h1>' in page
  pictures = sorted(pathlib.Path('runs/s/figures').iterdir())
  assert [picture.stem for picture in pictures] == [
    'ablation_beta',
    'trade_off_from_1',
    'trade_off_from_2',
    'trade_off_joint',
  ]
  for picture in pictures:
    with Image.open(picture) as opened:
      assert opened.format == 'PNG'
    data = base64.b64encode(picture.read_bytes()).decode()
    assert f'src="data:image/png;base64,{data}"' in page
  assert not [p for p in pathlib.Path().rglob('*') if 'partial' in p.name]


def test_computed_points_are_kept(world):
  sweep_run.execute(_prepare(betas=(1.0, 20.0)))
  outcomes = sweep_run.execute(_prepare())
  assert _statuses(outcomes) == ['kept', 'computed', 'kept']
  assert world.begun == [NAMES[0], NAMES[2], NAMES[1]]


def test_an_interrupted_sweep_goes_on(world):
  world.errors = {NAMES[1]: KeyboardInterrupt()}
  with pytest.raises(KeyboardInterrupt):
    sweep_run.execute(_prepare())
  statuses = [point['status'] for point in _stored()['points']]
  assert statuses == ['computed', 'pending', 'pending']
  world.errors, world.begun = {}, []
  outcomes = sweep_run.execute(_prepare())
  assert _statuses(outcomes) == ['kept', 'computed', 'computed']
  assert world.begun == NAMES[1:]


def test_a_longer_run_is_computed_again(world):
  sweep_run.execute(_prepare(betas=(1.0,)))
  outcomes = sweep_run.execute(_prepare(betas=(1.0,), steps=8))
  assert _statuses(outcomes) == ['computed']
  assert len(world.begun) == 2


def test_damaged_results_are_computed_again(world):
  sweep_run.execute(_prepare(betas=(1.0,)))
  path = pathlib.Path('runs/s', NAMES[0], 'results.json')
  for content in ('{"config": ', '[]', '{}'):
    path.write_text(content)
    assert _statuses(sweep_run.execute(_prepare(betas=(1.0,)))) == ['computed']


@pytest.mark.parametrize(
  'error',
  [
    NonFiniteLoss('loss is nan\nat step 3'),
    OSError('disk full'),
    ValueError('holds a run of another configuration'),
    ZeroDivisionError('unforeseen'),
  ],
  ids=lambda error: type(error).__name__,
)
def test_a_point_that_fails_stops_no_other(world, error):
  world.errors = {NAMES[1]: error}
  outcomes = sweep_run.execute(_prepare())
  assert world.begun == NAMES
  assert _statuses(outcomes) == ['computed', 'failed', 'computed']
  told = ' '.join(str(error).split())
  failed = _stored()['points'][1]
  assert told in failed['error'] and failed['metrics'] is None
  page = pathlib.Path('runs/s/sweep.html').read_text('utf-8')
  assert '1 of 3 runs failed' in page
  assert f'{failed["error"]}\n({NAMES[1]})' in html.unescape(page)
  # It is tried again.
  world.errors = {}
  outcomes = sweep_run.execute(_prepare())
  assert _statuses(outcomes) == ['kept', 'computed', 'kept']


def test_stale_results_of_a_failed_point_are_in_no_number(world):
  sweep_run.execute(_prepare(betas=(1.0,)))
  world.errors = {NAMES[0]: OSError('disk full')}
  outcomes = sweep_run.execute(_prepare(betas=(1.0,), steps=8))
  assert outcomes[NAMES[0]].results is None
  assert _stored()['points'][0]['metrics'] is None


def test_a_sweep_in_use_is_refused(world):
  plan = _prepare()
  plan.workdir.mkdir(parents=True)
  with workdirs.locked(plan.workdir):
    with pytest.raises(OSError, match='in use by process'):
      sweep_run.execute(plan)
  assert world.begun == []


def test_a_sweep_that_is_stopped_ends_at_once(world):
  world.errors['mopoe-beta_5-seed_0'] = Stopped('saved at step 1 of 4')
  with pytest.raises(Stopped, match='saved at step 1 of 4'):
    sweep_run.execute(_prepare())
  assert world.begun == ['mopoe-beta_1-seed_0', 'mopoe-beta_5-seed_0']


def test_a_run_without_results_has_failed(world, monkeypatch):
  monkeypatch.setattr(sweep_run.run, 'execute', lambda *_: None)
  (outcome,) = sweep_run.execute(_prepare(betas=(1.0,))).values()
  assert outcome.status == 'failed'
  assert outcome.error.startswith('the run left no results in runs/s')


def test_all_points_failing_still_leaves_a_page(world):
  world.errors = dict.fromkeys(NAMES, OSError('disk full'))
  sweep_run.execute(_prepare())
  page = pathlib.Path('runs/s/sweep.html').read_text('utf-8')
  assert '3 of 3 runs failed' in page
  assert '<figure' not in page


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'betas': ()}, 'values for objective.beta'),
    ({'axis': 'gamma'}, "axis of .* got 'gamma'"),
    ({'axis': 'prior_weight'}, 'expected config.objective.pi in the grid'),
    ({'figures': ('pie',)}, "figures of .*trade_off.* got 'pie'"),
    ({'workdir': 'base.py'}, 'base.py is a file'),
    ({'workdir': '.'}, r"empty or hold a sweep; . holds \['base.py'"),
  ],
)
def test_what_cannot_work_leaves_nothing_behind(world, changes, message):
  with pytest.raises(ValueError, match=message):
    _prepare(**changes)
  assert world.begun == []
  assert not pathlib.Path('runs').exists()


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"name": "other"}', 'holds the sweep other, not tiny'),
    ('{"nam', 'it is damaged'),
    ('[]', 'it is damaged'),
  ],
)
def test_the_folder_of_another_sweep_is_refused(world, content, message):
  pathlib.Path('runs/s').mkdir(parents=True)
  pathlib.Path('runs/s/sweep.json').write_text(content)
  with pytest.raises(ValueError, match=message):
    _prepare()


def test_the_workdir_defaults_to_the_name_of_the_sweep(world):
  assert _prepare(workdir=None).workdir == pathlib.Path('runs/tiny')


def test_a_point_is_told_as_it_ends(world, caplog):
  world.errors = {NAMES[1]: OSError('disk full')}
  with caplog.at_level('INFO', 'mmjsd_jax'):
    sweep_run.execute(_prepare())
  told = [line for line in caplog.messages if line.startswith('point ')]
  assert len(told) == 3
  assert told[0].startswith(f'point 1 of 3, {NAMES[0]}: computed in ')
  assert told[0].endswith('; joint coherence 0.010, log p(X) -1,801.0')
  assert told[1].endswith(': disk full')


def test_a_point_is_told_by_its_probe_where_nothing_judges_coherence():
  results = sweep_world.make_points()[0].results
  del results['metrics']['coherence']
  outcome = sweep_files.Outcome('computed', results)
  assert sweep_files.state(outcome) == 'done; probe 0.839, log p(X) -1,800.5'


def test_a_point_is_what_main_would_run(world):
  plan = _prepare()
  point = plan.points[1]
  config = configuration.default()
  config.train.num_steps = 4
  config.objective.beta = 5.0
  assert point.config == config
  assert '--config.objective.beta=5.0' in grid.command(
    plan.sweep, point, plan.workdir / point.name
  )


# --- populations --------------------------------------------------------------


@pytest.fixture
def together(world, monkeypatch):
  """Who was given to be trained together; what that raises or returns."""
  given, answers = [], []

  def train(pending, path, interruption, *, tell_fn):
    del interruption, tell_fn
    given.append((list(pending), path.name))
    answer = answers.pop(0) if answers else {}
    if isinstance(answer, Exception):
      raise answer
    return answer

  monkeypatch.setattr(sweep_run, 'Split', type(None))  # as of a `_Job`
  monkeypatch.setattr(sweep_run.companions, 'train', train)
  return given, answers


def test_points_that_may_be_a_population_are_trained_as_one(world, together):
  plan = _prepare(betas=(1.0, 5.0), presets=('mopoe', 'mmvae'), seeds=(0, 1))
  outcomes = sweep_run.execute(plan)
  given, _ = together
  of_mopoe, of_mmvae = (
    [f'{preset}-beta_{b}-seed_{seed}' for seed in (0, 1) for b in (1, 5)]
    for preset in ('mopoe', 'mmvae')
  )
  assert given == [
    (of_mopoe, 'mopoe.population.json'),
    (of_mmvae, 'mmvae.population.json'),
  ]
  assert world.begun == of_mopoe + of_mmvae
  assert list(outcomes) == [point.name for point in plan.points]


def test_what_is_finished_is_not_trained_with_the_others(world, together):
  sweep_run.execute(_prepare(betas=(1.0,)))
  sweep_run.execute(_prepare())
  assert together[0] == [(NAMES[1:], 'mopoe.population.json')]


def test_a_member_that_is_taken_out_has_failed(world, together):
  together[1].append({NAMES[1]: NonFiniteLoss('loss is nan')})
  outcomes = sweep_run.execute(_prepare())
  assert _statuses(outcomes) == ['computed', 'failed', 'computed']
  assert outcomes[NAMES[1]].error == 'loss is nan'
  assert NAMES[1] not in world.begun


def test_what_cannot_be_trained_together_is_in_turn(world, together, caplog):
  together[1].append(MemoryError('3 members together need 9 GB'))
  with caplog.at_level('WARNING', 'mmjsd_jax'):
    outcomes = sweep_run.execute(_prepare())
  assert _statuses(outcomes) == ['computed'] * 3
  assert 'not trained together but in turn: MemoryError' in caplog.text


def test_being_stopped_while_together_stops_the_sweep(world, together):
  together[1].append(Stopped('saved at step 1 of 4'))
  with pytest.raises(Stopped):
    sweep_run.execute(_prepare())
  assert world.begun == []


def test_a_point_that_cannot_be_prepared_stops_no_other(world, monkeypatch):
  def with_numbers(job, config, workdir, command):
    if workdir.name == NAMES[1]:
      raise ValueError('holds a run of another configuration')
    return world.with_numbers(job, config, workdir, command)

  monkeypatch.setattr(sweep_run.jobs, 'with_numbers', with_numbers)
  outcomes = sweep_run.execute(_prepare())
  assert _statuses(outcomes) == ['computed', 'failed', 'computed']


# --- while it goes on ---------------------------------------------------------


def test_the_page_tells_how_far_the_sweep_is(world):
  world.errors = {NAMES[1]: OSError('disk full'), NAMES[2]: Stopped('saved')}
  with pytest.raises(Stopped):
    sweep_run.execute(_prepare())
  page = pathlib.Path('runs/s/sweep.html').read_text('utf-8')
  cells = Page(page).cells
  for name, state in zip(
    NAMES, ('done; joint', 'failed: ', 'waiting'), strict=True
  ):
    assert cells[cells.index(name) + 1].startswith(state)
  world.errors = {}
  sweep_run.execute(_prepare())
  page = pathlib.Path('runs/s/sweep.html').read_text('utf-8')
  assert 'Under way' not in page and '<figure' in page


def test_a_live_table_is_told_of_every_point(world, monkeypatch):
  told = []
  world.errors = {NAMES[1]: OSError('disk full')}
  monkeypatch.setattr(
    sweep_run.live_table,
    'shown',
    lambda: contextlib.nullcontext(lambda *words: told.append(words)),
  )
  sweep_run.execute(_prepare())
  assert told[:3] == [(name, 'waiting') for name in NAMES]
  assert [name for name, _ in told[3:]] == NAMES
  assert told[3][1] == 'done; joint coherence 0.010, log p(X) -1,801.0'
  assert told[4][1] == 'failed: disk full'


def test_three_seeds_leave_comparisons_in_numbers_and_page(world):
  sweep_run.execute(
    _prepare(betas=(5.0,), presets=('mopoe', 'mmvae'), seeds=(0, 1, 2))
  )
  compared = {c['measure']: c for c in _stored()['comparisons']}
  assert compared['joint coherence']['interval'] == [0, 0]
  page = pathlib.Path('runs/s/sweep.html').read_text('utf-8')
  assert 'id="compared"' in page
  assert 'Exploratory' in page
