"""Which runs are draws of one experiment: the same in all but the seed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmjsd_jax import objectives, tables
from mmjsd_jax.tables import Results, get

# In the order of tables. `{}` is the number of importance samples.
TITLES = {
  'mvae': 'MVAE',
  'mmvae': 'MMVAE',
  'mmvae_dreg': 'MMVAE (I={})',
  'mmjsd': 'mmJSD',
  'mopoe_eq5': 'MoPoE, Eq. (5)',
  'mopoe': 'MoPoE',
  'mmpoe': 'mmPoE',
}

# Settings in which draws of one experiment may differ.
_FREE = (
  'name',
  'seed',
  'data.allow_download',
  'data.dir',
  'data.seed',
  'evaluation.condition_on',
  'evaluation.inception_weights',
  'evaluation.seed',
  'train.checkpoint_every',
  'train.keep_checkpoints',
  'train.log_every',
  'train.non_finite',
  'train.shard_params',
)


class Experiment(NamedTuple):
  """Runs that differ in the seed alone.

  Attributes:
    model: as the papers call it, such as 'MMVAE (I=30) (MS)'.
    details: settings that tell it from other experiments with this model, and
      in which its objective is not the preset; such as 'objective.beta 5.0'.
    runs: contents of results.json.
  """

  model: str
  details: tuple[str, ...]
  runs: tuple[Results, ...]


def group(runs: Sequence[Results]) -> list[Experiment]:
  """The experiments that the runs are draws of, as first met.

  Raises:
    ValueError: two runs of an experiment have the same `config.seed`.
  """
  found: dict[tuple[str, tuple[tuple[str, str], ...]], list[Results]] = {}
  for results in runs:
    key = model_name(results), tuple(_settings(results).items())
    found.setdefault(key, []).append(results)
  experiments = []
  for (model, settings), members in found.items():
    drawn = seeds(members)
    if len(set(drawn)) < len(drawn):
      raise ValueError(
        f'expected runs of {model} that differ in config.seed, got the seeds '
        f'{", ".join(drawn)}'
      )
    others = [dict(items) for name, items in found if name == model]
    details = [
      f'{key} {value}'
      for key, value in settings
      if any(other.get(key) != value for other in others)
    ]
    details += [text for text in _changes(members[0]) if text not in details]
    experiments.append(Experiment(model, tuple(details), tuple(members)))
  return experiments


def model_name(results: Results) -> str:
  """The model as the papers call it; with '(MS)' where it has styles."""
  objective = results['objective']
  preset = objective['preset']
  title = TITLES.get(preset, preset).format(objective.get('num_samples', 30))
  return f'{title} (MS)' if any(style_dims(results)) else title


def style_dims(results: Results) -> list[int]:
  """Sizes of the modality-specific latents; empty where there are none."""
  return list(get(results, 'config', 'model', 'style_dim') or [])


def seeds(runs: Sequence[Results]) -> list[str]:
  """`config.seed` of every run."""
  return [str(get(results, 'config', 'seed')) for results in runs]


def place(model: str) -> tuple[bool, int, str]:
  """Sorts models as the papers do: those without styles first."""
  starts = [title.partition('{')[0] for title in TITLES.values()]
  # 'MMVAE (I=' fits better than 'MMVAE'.
  best = max(filter(model.startswith, starts), key=len, default=None)
  index = len(starts) if best is None else starts.index(best)
  return model.endswith('(MS)'), index, model


def _settings(results: Results) -> dict[str, str]:
  config, data = results['config'], results['data']
  # `objective` of the results has what `change` of the config led to.
  chosen = {
    key: value
    for key, value in (config.get('objective') or {}).items()
    if key != 'change'
  }
  tree: Mapping = {
    **config,
    'objective': {**chosen, **results['objective']},
    'examples': f'{data["num_train"]:,} + {data["num_test"]:,}',
    'substituted': bool(results['substitutions']),
  }
  flat = tables.key_values(tree, '').rows
  return {key: value for key, value in sorted(flat) if key not in _FREE}


def _changes(results: Results) -> list[str]:
  objective = results['objective']
  preset = objectives.PRESETS.get(objective['preset'])
  return [
    f'objective.{field} {objective[field]}'
    for field, value in (preset._asdict() if preset else {}).items()
    # The model's name tells the number of samples.
    if field != 'num_samples' and objective.get(field, value) != value
  ]
