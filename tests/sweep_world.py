"""Points and pages of made-up sweeps over MNIST-SVHN-Text."""

from collections.abc import Sequence
from typing import Any

import paper_world

from mmjsd_jax import config as configuration
from mmjsd_jax import grid, measured, sweep_page
from mmjsd_jax.grid import Point, Sweep
from mmjsd_jax.measured import Measured
from mmjsd_jax.paper_columns import FEATURES

NAMES = ('mnist', 'svhn', 'text')


def make_sweep(**changes: Any) -> Sweep:
  """Two objectives, three values of beta and two seeds, but for `changes`."""
  sweep = Sweep(
    name='made_up',
    base='base.py',
    grid={
      'objective.preset': ('mopoe', 'mmvae'),
      'objective.beta': (0.5, 5.0, 20.0),
    },
    axis='beta',
    figures=('trade_off', 'ablation'),
    seeds=(0, 1),
  )
  return sweep._replace(**changes)


def make_results(point: Point) -> dict[str, Any]:
  """Results whose joint coherence is beta / 100 + seed / 1000."""
  config = configuration.to_dict(point.config)
  beta = config['objective']['beta']
  results = paper_world.make_run(
    config['objective']['preset'], seed=config['seed'], beta=beta
  )
  results['config'] = config
  metrics = results['metrics']
  metrics['coherence']['joint'] = beta / 100 + config['seed'] / 1000
  metrics['log_likelihood']['joint']['value'] = -1800 - beta
  found = {'prd': {'normalised': 0.5}, 'prd_floor': {'normalised': 0.9}}
  sample = {FEATURES: found}
  metrics['quality'] = {
    'random': dict.fromkeys(NAMES[:2], sample),
    'conditional': {
      'pairs': {
        pair: sample
        for size in (1, 2)
        for pair in measured.generations(NAMES, size)
        if not pair.endswith('text')
      }
    },
  }
  return results


def make_points(
  presets: Sequence[str] = ('mopoe',),
  betas: Sequence[float] = (0.5, 5.0),
  num_seeds: int = 2,
  missing: Sequence[str] = (),
  **others: Sequence[Any],
) -> list[Measured]:
  """Points such as 'mopoe-beta_5-seed_0'; those in `missing` have no results.

  Args:
    presets: the objectives.
    betas: of each of them.
    num_seeds: of each of these.
    missing: names of points.
    **others: field of config.model to the values that it has as well.
  """
  sweep = make_sweep(
    grid={
      'objective.preset': presets,
      **{f'model.{name}': values for name, values in others.items()},
      'objective.beta': betas,
    },
    seeds=tuple(range(num_seeds)),
  )
  base = configuration.default()
  base.train.num_steps = 4
  return [
    place(sweep, point, None if point.name in missing else make_results(point))
    for point in grid.points(sweep, base)
  ]


def make_page(points: Sequence[Measured], **changes: Any) -> str:
  """Their page, without figures but for those in `changes`."""
  arguments = {
    'title': 'A made-up sweep',
    'points': points,
    'axis': 'beta',
    'charts': {},
    'errors': {},
    'command': 'the command',
    'states': {},
  }
  return sweep_page.page(**arguments | changes)


def place(sweep: Sweep, point: Point, results: Any) -> Measured:
  """The point on the sweep's axis."""
  config = configuration.to_dict(point.config)
  return measured.place(point.name, point.settings, config, sweep.axis, results)
