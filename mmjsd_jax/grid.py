"""A sweep as configs/sweeps/<figure>.py declares it, and the runs it asks for.

Point: one run, which is a set of values of the grid together with a seed.
"""

import copy
import difflib
import itertools
import os
import pathlib
import re
import runpy
import shlex
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from mmjsd_jax import config as configuration


class Sweep(NamedTuple):
  """One model trained in many settings.

  Attributes:
    name: of the sweep, and of its default workdir, runs/<name>.
    base: '<file>' or '<file>:<argument>' of the configuration that all points
      share. The path is relative to the file that declares the sweep.
    grid: config key to the values it takes. A tuple of keys takes tuples of
      values: keys that change together. All combinations are points.
    axis: of `measured.AXES`: along what the figures show the points.
    figures: of `sweep_curves.FIGURES`.
    seeds: values of `config.seed`; every point is run with each.
    title: of the page.
    shared: config key to a value that all points have in place of the base's;
      it does not stand in their names.
  """

  name: str
  base: str
  grid: Mapping[str | tuple[str, ...], Sequence[Any]]
  axis: str
  figures: tuple[str, ...]
  seeds: Sequence[int] = (0,)
  title: str = ''
  shared: Mapping[str, Any] = types.MappingProxyType({})


class Point(NamedTuple):
  """One run of a sweep.

  Attributes:
    name: of its folder; tells its values and nothing else, so that a sweep
      that grows keeps its points.
    settings: config key to value, the seed included.
    config: the base's with these settings.
  """

  name: str
  settings: dict[str, Any]
  config: ml_collections.ConfigDict


def load(spec: str) -> Sweep:
  """The sweep that '<file>' or '<file>:<argument>' declares.

  Raises:
    ValueError: a file that declares none, or a base that is not one.
    OSError: there is no such file.
  """
  sweep = _from_file(spec)
  if not isinstance(sweep, Sweep):
    raise ValueError(
      f'expected get_config of {spec} to return a grid.Sweep, got a '
      f'{type(sweep).__name__}'
    )
  # Beside the file, wherever the command is started.
  base = pathlib.Path(spec.partition(':')[0]).parent / sweep.base
  return sweep._replace(base=os.path.relpath(base).removesuffix(':'))


def points(
  sweep: Sweep, base: ml_collections.ConfigDict | None = None
) -> list[Point]:
  """The runs, all of one seed before those of the next.

  Args:
    sweep: of `load`.
    base: the configuration that points share; None for that of the sweep's
      file.

  Raises:
    ValueError: an empty grid, an unknown key, or a value that cannot work.
    OSError: the base's file is not there.
  """
  _check(sweep)
  base = base or _from_file(sweep.base)
  if not isinstance(base, ml_collections.ConfigDict):
    raise ValueError(
      f'expected get_config of {sweep.base} to return a ConfigDict, got a '
      f'{type(base).__name__}'
    )
  base = _changed(base, sweep.shared)
  found: dict[str, Point] = {}
  for seed in sweep.seeds:
    for values in itertools.product(*sweep.grid.values()):
      settings: dict[str, Any] = {}
      for keys, value in zip(sweep.grid, values, strict=True):
        settings |= _pairs(keys, value)
      settings['seed'] = seed
      name = '-'.join(_name(*item) for item in settings.items())
      if name in found:
        raise ValueError(
          f'expected points that differ, got {name} twice: '
          f'{found[name].settings} and {settings}'
        )
      found[name] = Point(name, settings, _changed(base, settings))
  return list(found.values())


def population(point: Point) -> str:
  """Of equal name are points that a population may be of, and no others."""
  free = configuration.POPULATION_KEYS.values()
  shared = {k: v for k, v in point.settings.items() if k not in free}
  return '-'.join(_name(*item) for item in shared.items()) or 'all'


def command(sweep: Sweep, point: Point, workdir: pathlib.Path) -> str:
  """What runs this point alone, from the same folder."""
  flags = [f'config={sweep.base}']
  settings = {**sweep.shared, **point.settings}
  flags += [f'config.{key}={value}' for key, value in settings.items()]
  flags.append(f'workdir={workdir}')
  quoted = ' '.join(shlex.quote(f'--{flag}') for flag in flags)
  return f'python -m mmjsd_jax.main {quoted}'


def _from_file(spec: str) -> Any:
  """What `get_config` in '<file>:<argument>' returns for the argument."""
  path, _, argument = spec.partition(':')
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f'config file {path} is missing')
  try:
    return runpy.run_path(path)['get_config'](argument or None)
  except ValueError:
    raise
  except Exception as error:  # whatever the file does
    raise ValueError(f'{path}: {error!r}') from error


def _check(sweep: Sweep) -> None:
  if not sweep.grid:
    raise ValueError('expected a grid of at least one config key, got none')
  for what, values in (*sweep.grid.items(), ('seeds', sweep.seeds)):
    if not isinstance(values, list | tuple) or not values:
      raise ValueError(
        f'expected a list or tuple of values for {what}, got {values!r}'
      )
  keys = [key for keys in sweep.grid for key in _as_tuple(keys)]
  keys += sweep.shared
  if 'seed' in keys or len(set(keys)) < len(keys):
    raise ValueError(f'expected every key once, and seeds apart, got {keys}')
  known = configuration.flatten(configuration.default().to_dict())
  for key in keys:
    if key not in known:
      (closest,) = difflib.get_close_matches(key, known, n=1, cutoff=0)
      raise ValueError(
        f'unknown key config.{key} in the sweep; the closest known one is '
        f'config.{closest}'
      )


def _as_tuple(keys: str | tuple[str, ...]) -> tuple[str, ...]:
  return (keys,) if isinstance(keys, str) else keys


def _pairs(keys: str | tuple[str, ...], value: Any) -> dict[str, Any]:
  if isinstance(keys, str):
    return {keys: value}
  if not isinstance(value, list | tuple) or len(value) != len(keys):
    raise ValueError(
      f'expected {len(keys)} values for the keys {keys}, got {value!r}'
    )
  return dict(zip(keys, value, strict=True))


def _name(key: str, value: Any) -> str:
  """'mopoe', 'beta_0.5', 'pi_0.2_0.8': fit for a folder on any system."""
  parts = [_text(part) for part in value] if _is_many(value) else [_text(value)]
  if not isinstance(value, str):
    parts = [key.rpartition('.')[2], *(parts or ['none'])]
  return re.sub(r'[^\w.+]', '_', '_'.join(parts))


def _is_many(value: Any) -> bool:
  return isinstance(value, list | tuple)


def _text(value: Any) -> str:
  return f'{value:g}' if isinstance(value, float) else str(value)


def _changed(
  base: ml_collections.ConfigDict, settings: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  config = copy.deepcopy(base)
  for key, value in settings.items():
    try:
      config.update_from_flattened_dict({key: value})
    except (TypeError, OverflowError):
      like = configuration.flatten(base.to_dict()).get(key)
      raise ValueError(
        f'config.{key} must be like {like!r}; got {value!r} in the sweep'
      ) from None
  configuration.validate(config)
  if configuration.is_population(config):
    raise ValueError(
      'expected an empty config.population in a sweep: its lists belong into '
      'the grid'
    )
  return config
