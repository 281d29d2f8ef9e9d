"""Sweeps: which runs a declaration asks for, and what it may not say."""

import pathlib
import shlex

import pytest
import sweep_world

from mmjsd_jax import config as configuration
from mmjsd_jax import grid

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_BASE = """
from mmjsd_jax import config as defaults

def get_config(arg=None):
  defaults.parse_arg(arg, ('paper',))
  config = defaults.default()
  config.name = 'base'
  config.train.num_steps = 4
  return config
"""
_SWEEP = """
from mmjsd_jax import grid

def get_config(arg=None):
  return grid.Sweep('s', 'base.py', {'objective.beta': (1.0,)}, 'beta', ())
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
  """The base stands where a test is."""
  monkeypatch.chdir(tmp_path)
  pathlib.Path('base.py').write_text(_BASE)


def test_every_combination_is_a_point_one_seed_after_the_other():
  points = grid.points(sweep_world.make_sweep())
  assert [point.settings['seed'] for point in points] == [0] * 6 + [1] * 6
  assert points[0].name == 'mopoe-beta_0.5-seed_0'
  assert points[-1].name == 'mmvae-beta_20-seed_1'
  for point in points:
    flat = configuration.flatten(point.config.to_dict())
    assert point.settings.items() <= flat.items()
    assert point.config.name == 'base'


def test_keys_that_change_together_are_not_combined():
  sweep = sweep_world.make_sweep(
    grid={('model.style_dim', 'model.latent_dim'): [((), 20), ((2,) * 5, 18)]},
    seeds=(3,),
  )
  first, second = grid.points(sweep)
  assert first.name == 'style_dim_none-latent_dim_20-seed_3'
  assert second.name == 'style_dim_2_2_2_2_2-latent_dim_18-seed_3'
  assert second.config.model.style_dim == (2,) * 5
  assert second.config.model.latent_dim == 18


def test_all_points_have_what_is_shared_and_no_name_tells_it():
  sweep = sweep_world.make_sweep(
    grid={'objective.beta': (1.0,)}, seeds=(3,), shared={'model.latent_dim': 7}
  )
  (point,) = grid.points(sweep)
  assert point.name == 'beta_1-seed_3'
  assert point.config.model.latent_dim == 7
  command = grid.command(sweep, point, pathlib.Path('runs/a'))
  assert '--config.model.latent_dim=7' in command


def test_points_do_not_share_a_config():
  first, *others = grid.points(sweep_world.make_sweep())
  first.config.model.latent_dim = 7
  assert {point.config.model.latent_dim for point in others} == {512}


def test_names_are_fit_for_folders():
  sweep = sweep_world.make_sweep(grid={'data.dir': ('/a b/..', 'c')}, seeds=[0])
  first, _ = grid.points(sweep)
  assert first.name == '_a_b_..-seed_0'


def test_the_base_is_found_beside_the_sweep(tmp_path, monkeypatch):
  (tmp_path / 'elsewhere').mkdir()
  (tmp_path / 'sweep.py').write_text(_SWEEP)
  monkeypatch.chdir(tmp_path / 'elsewhere')
  sweep = grid.load(str(tmp_path / 'sweep.py'))
  assert sweep.base == '../base.py'
  assert len(grid.points(sweep)) == 1


def test_the_command_of_a_point_can_be_typed():
  sweep = sweep_world.make_sweep(
    grid={'objective.likelihood_weights': [(0.5,) * 5]}
  )
  point, _ = grid.points(sweep)
  words = shlex.split(grid.command(sweep, point, pathlib.Path('runs/a')))
  assert words == [
    'python',
    '-m',
    'mmjsd_jax.main',
    '--config=base.py',
    '--config.objective.likelihood_weights=(0.5, 0.5, 0.5, 0.5, 0.5)',
    '--config.seed=0',
    '--workdir=runs/a',
  ]


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'grid': {}}, 'at least one config key, got none'),
    ({'grid': {'objective.beta': ()}}, r'values for objective.beta, got \(\)'),
    ({'grid': {'objective.preset': 'mopoe'}}, "tuple .* got 'mopoe'"),
    ({'grid': {'objective.betta': (1,)}}, 'known one is config.objective.beta'),
    ({'grid': {'seed': (1,)}}, "seeds apart, got .'seed'"),
    ({'grid': {'objective.beta': (1.0, 1.0)}}, 'beta_1-seed_0 twice'),
    ({'grid': {'objective.beta': ('x',)}}, "be like 2.5; got 'x' in the sweep"),
    (
      {'grid': {'objective.beta': (-1.0,)}},
      'config.objective.beta must .* got -1.0',
    ),
    ({'grid': {'objective.preset': ('vae',)}}, "got 'vae'"),
    ({'grid': {('seed',): (1,)}}, 'seeds apart'),
    (
      {'grid': {('data.seed', 'model.latent_dim'): [(1,)]}},
      '2 values for the keys',
    ),
    ({'seeds': ()}, 'values for seeds'),
    ({'shared': {'objective.beta': 1.0}}, 'expected every key once'),
    ({'shared': {'seed': 1}}, 'seeds apart'),
    ({'shared': {'model.latent': 1}}, 'known one is config.model.latent_dim'),
    ({'shared': {'model.latent_dim': -1}}, 'config.model.latent_dim must'),
    ({'base': 'base.py:papr'}, "got 'papr'"),
    ({'grid': {'population.seed': ('0:2',)}}, 'empty config.population'),
    ({'base': 'sweep.py'}, 'return a ConfigDict, got a Sweep'),
    ({'base': 'broken.py'}, 'broken.py: NameError'),
  ],
)
def test_what_cannot_work_is_refused(changes, message):
  pathlib.Path('sweep.py').write_text(_SWEEP)
  pathlib.Path('broken.py').write_text('nothing')
  with pytest.raises(ValueError, match=message):
    grid.points(sweep_world.make_sweep(**changes))


def test_missing_files_are_named():
  with pytest.raises(FileNotFoundError, match='file a/sweep.py is missing'):
    grid.load('a/sweep.py:smoke')
  with pytest.raises(FileNotFoundError, match='file b.py is missing'):
    grid.points(sweep_world.make_sweep(base='b.py:paper'))


def test_a_config_of_a_run_is_no_sweep():
  with pytest.raises(ValueError, match='grid.Sweep, got a ConfigDict'):
    grid.load('base.py')


@pytest.mark.parametrize(
  ('name', 'arg', 'count'),
  [
    ('mst_beta', '', 18),
    ('mst_beta', ':paper', 90),
    ('mst_beta', ':smoke,ms,objective=mmjsd', 2),
    ('mst_style_dim', '', 6),
    ('mst_style_dim', ':paper,seeds=3,objective=mmjsd+mopoe', 36),
    ('mst_style_dim', ':smoke', 2),
    ('mst_prior_weight', ':seeds=2', 16),
    ('mst_prior_weight', ':smoke,ms', 2),
    ('missing', ':seeds=2', 66),
    ('missing', ':smoke,objective=mopoe', 5),
    ('missing', ':views', 99),
  ],
)
def test_the_sweeps_of_the_papers_are_whole(name, arg, count):
  sweep = grid.load(f'{_ROOT}/configs/sweeps/{name}.py{arg}')
  points = grid.points(sweep)
  assert len(points) == count
  for point in points:
    assert sweep_world.place(sweep, point, None).x >= 0


def test_papers_settings_are_kept_along_the_axis():
  def load(name):
    path = f'{_ROOT}/configs/sweeps/{name}.py'
    return grid.points(grid.load(f'{path}:paper'))

  for point in load('mst_beta'):
    assert point.config.train.num_epochs == 150  # MoPoE, App. C
    assert point.config.model.latent_dim == 20
  for point in load('mst_style_dim'):
    model = point.config.model
    assert model.latent_dim + model.style_dim[0] == 20  # supplement C.3.5
    assert point.config.train.num_epochs == 100
    assert point.config.objective.preset == 'mmjsd'
  for point in load('mst_prior_weight'):
    assert sum(point.config.objective.pi) == pytest.approx(1, abs=1e-12)
    assert point.config.train.num_epochs == 50


def test_more_seeds_are_the_same_sweep_and_keep_its_points():
  path = f'{_ROOT}/configs/sweeps/mst_beta.py'
  one, three = grid.load(path), grid.load(f'{path}:seeds=3')
  assert one.name == three.name
  old, new = grid.points(one), grid.points(three)
  assert new[: len(old)] == old


@pytest.mark.parametrize('number', ['two', '0', '-1', '1.5', ''])
@pytest.mark.parametrize(
  'name', ['mst_beta', 'mst_style_dim', 'mst_prior_weight', 'missing']
)
def test_numbers_of_seeds_that_are_none_are_refused_by_name(name, number):
  path = f'{_ROOT}/configs/sweeps/{name}.py'
  with pytest.raises(ValueError, match=f"seeds must be .* 1; got '{number}'"):
    grid.load(f'{path}:seeds={number}')
