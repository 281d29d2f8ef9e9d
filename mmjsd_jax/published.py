"""Published PolyMNIST numbers, and whether a run followed their protocol.

Two kinds of value are kept: those the papers print, and those that independent
libraries measured again. All are shares in [0, 1]. Left out are numbers read
off plots by eye, and log-likelihoods: no paper prints them for PolyMNIST.

    MoPoE      Sutter et al. 2021, Generalized Multimodal ELBO.
    MVTCAE     Hwang et al. 2021, Multi-View Representation Learning via Total
               Correlation Objective.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mmjsd_jax import objectives

# What `protocol` says when nothing else is in the way. Such a value may be
# drawn into a figure, marked as what it is.
BACKGROUND_DIFFERENCE = "differs: one background image is not the paper's"
MATCHES = 'matches'

# Sutter et al. 2021 (MoPoE), App. D.2. The batch size is that of their code.
_PROTOCOL = {
  'model.latent_dim': 512,
  'objective.beta': 2.5,
  'train.batch_size': 256,
  'train.learning_rate': 1e-3,
  'evaluation.checkpoint': 'final',
}
_NUM_EPOCHS = 300
_NUM_MNIST = (60_000, 10_000)
_NUM_MODALITIES = 5


class Published(NamedTuple):
  """One published row: a metric of one objective.

  Attributes:
    metric: 'probe by_size', 'coherence by_size' or 'joint coherence'.
    objective: the preset's name.
    values: one per number of input modalities, from one on; a single value
      for 'joint coherence'.
    std: standard deviation over five runs, where printed.
    kind: 'paper' or 'reproduction'.
    source: where it is printed.
    note: what the source did that a run here does not, whatever its config.
  """

  metric: str
  objective: str
  values: tuple[float, ...]
  std: float | None
  kind: str
  source: str
  note: str


def matching(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  """The published values of a run's objective, one row per number.

  Args:
    results: the contents of results.json; `published` itself is not read.

  Returns:
    Rows `{'metric', 'objective', 'value', 'std', 'reproduced',
    'reproduced_as_released', 'kind', 'source', 'note', 'protocol'}`, ready for
    JSON. `metric` ends in the number of input modalities where there is one
    ('coherence by_size 1'). `reproduced` is this run's number, and
    `reproduced_as_released` that of the authors' estimators; None where it was
    not measured.
    `protocol` is 'matches' or 'differs: ' and what differs. Empty for other
    data than PolyMNIST and for objectives nobody published.
  """
  if results['data']['name'] != 'polymnist':
    return []
  preset = results['objective']['preset']
  return [
    {
      'metric': _name(published, size),
      'objective': published.objective,
      'value': value,
      'std': published.std,
      'reproduced': _reproduced(results['metrics'], published, size),
      'reproduced_as_released': _reproduced(
        results['metrics'].get('as_released') or {}, published, size
      ),
      'kind': published.kind,
      'source': published.source,
      'note': published.note,
      'protocol': _protocol(results, published.metric),
    }
    for published in VALUES
    if published.objective == preset
    for size, value in enumerate(published.values, start=1)
  ]


def _protocol(results: Mapping[str, Any], metric: str) -> str:
  differences = [
    *_objective_differences(results['objective']),
    *_config_differences(results['config']),
    *_training_differences(results['training']),
    *_data_differences(results),
  ]
  probe = results['metrics'].get('probe') or {}
  if metric.startswith('probe') and probe.get('standardised'):
    differences.append('probed latents are standardised (published: not)')
  return 'differs: ' + '; '.join(differences) if differences else MATCHES


def _objective_differences(objective: Mapping[str, Any]) -> list[str]:
  preset = objectives.PRESETS[objective['preset']]._asdict()
  return [
    f'{field} {objective[field]} (published: {expected})'
    for field, expected in preset.items()
    if objective.get(field, expected) != expected
  ]


def _config_differences(config: Mapping[str, Any]) -> list[str]:
  differences = []
  for key, expected in _PROTOCOL.items():
    section, name = key.split('.')
    got = config.get(section, {}).get(name)
    if got is None:
      differences.append(f'{name} not recorded (published: {expected})')
    elif got != expected:
      differences.append(f'{name} {got} (published: {expected})')
  # Empty is the default: uniform weights, all subsets.
  for section, name in (
    ('objective', 'pi'),
    ('objective', 'beta_warmup_steps'),
    ('train', 'learning_rate_warmup_steps'),
    ('objective', 'likelihood_weights'),
    ('model', 'style_dim'),
    ('evaluation', 'subsets'),
    ('data', 'missing'),
  ):
    if got := config.get(section, {}).get(name):
      differences.append(f'{name} {got}')
  return differences


def _training_differences(training: Mapping[str, Any]) -> list[str]:
  epochs = training.get('epochs')
  # Incomplete last batches are dropped, so a full run may fall just short.
  if epochs is not None and abs(epochs / _NUM_EPOCHS - 1) < 0.01:
    return []
  return [f'{epochs} epochs (published: {_NUM_EPOCHS})']


def _data_differences(results: Mapping[str, Any]) -> list[str]:
  data, differences = results['data'], []
  texts = [*results['substitutions'], data.get('substituted') or '']
  # As a word: 'PolyMNIST' does not say that the digits are MNIST's.
  is_mnist = re.search(r'\bMNIST\b', data['source'])
  if not is_mnist or _any_about(r'not MNIST|scikit-learn', texts):
    differences.append('the digits are not MNIST')
  elif 'checksum differs' in data['source']:
    differences.append('the digits differ from the official MNIST')
  num_examples = data['num_train'], data['num_test']
  if num_examples != _NUM_MNIST:
    differences.append(
      '{:,} training and {:,} test examples'.format(*num_examples)
      + ' (published: {:,} and {:,})'.format(*_NUM_MNIST)
    )
  num_modalities = len(data['modalities'])
  if num_modalities != _NUM_MODALITIES:
    differences.append(
      f'{num_modalities} modalities (published: {_NUM_MODALITIES})'
    )
  if _any_about(r'\bbackgrounds\b', texts):
    differences.append("the background images are not the paper's")
  elif _any_about(r'\bbackground\b', texts):
    differences.append(BACKGROUND_DIFFERENCE.removeprefix('differs: '))
  known = r'\bbackgrounds?\b|not MNIST|scikit-learn'
  differences += [
    text.rstrip('.')
    for text in results['substitutions']
    if not _any_about(known, [text])
  ]
  return differences


def _any_about(pattern: str, texts: Iterable[str]) -> bool:
  return any(re.search(pattern, text, re.IGNORECASE) for text in texts)


def _name(published: Published, size: int) -> str:
  is_by_size = published.metric.endswith('by_size')
  return f'{published.metric} {size}' if is_by_size else published.metric


def _reproduced(
  metrics: Mapping[str, Any], published: Published, size: int
) -> float | None:
  if published.metric == 'joint coherence':
    return (metrics.get('coherence') or {}).get('joint')
  if published.metric == 'coherence by_size':
    measured = (metrics.get('coherence') or {}).get('conditional') or {}
  else:
    measured = (metrics.get('probe') or {}).get('500') or {}
  return (measured.get('by_size') or {}).get(str(size))


_MOPOE_CAPTION = 'Sutter et al. 2021 (MoPoE), caption of Figure 3'
_MOPOE_QUOTED = (
  'Sutter et al. 2021 (MoPoE), Figure 3, as quoted in the README of MultiVae'
  ' (AgatheSenellart/MultiVae@2822b3b)'
)
_MULTIVAE = 'MultiVae README (AgatheSenellart/MultiVae@2822b3b)'
_MULTI_VIEW_AE = 'multi-view-AE README (alawryaguila/multi-view-AE@4a8ea95)'
_MVTCAE = (
  'Hwang et al. 2021 (MVTCAE), supplement, Table 1, as reprinted in'
  ' alawryaguila/multi-view-AE@4a8ea95'
)
_NOTES = {
  _MOPOE_CAPTION: (
    'The released code leaves its classifiers in training mode (dropout on),'
    ' which lowers coherence, and trains at 5e-4 where the paper says 1e-3.'
  ),
  _MULTIVAE: ('Coherence averaged over classes, with a different classifier.'),
  _MULTI_VIEW_AE: 'Its README does not print the settings.',
  _MVTCAE: (
    'Classifiers in training mode; probes trained once, on the posterior of'
    ' all modalities; mmJSD evaluated with its dynamic prior. Standard'
    ' deviations below 0.01 in most cases.'
  ),
}
_NOTES[_MOPOE_QUOTED] = _NOTES[_MOPOE_CAPTION]


def _row(
  metric: str,
  objective: str,
  values: tuple[float, ...],
  source: str,
  std: float | None = None,
) -> Published:
  is_paper = source in (_MOPOE_CAPTION, _MOPOE_QUOTED, _MVTCAE)
  kind = 'paper' if is_paper else 'reproduction'
  note = _NOTES[source]
  return Published(metric, objective, values, std, kind, source, note)


_COHERENCE = 'coherence by_size'
_PROBE = 'probe by_size'
_JOINT = 'joint coherence'

VALUES: tuple[Published, ...] = (
  _row(_JOINT, 'mvae', (0.036,), _MOPOE_CAPTION, std=0.015),
  _row(_JOINT, 'mmvae', (0.200,), _MOPOE_CAPTION, std=0.019),
  _row(_JOINT, 'mopoe', (0.121,), _MOPOE_CAPTION, std=0.016),
  _row(_COHERENCE, 'mopoe', (0.66, 0.77, 0.81, 0.83), _MOPOE_QUOTED),
  _row(_COHERENCE, 'mopoe', (0.67, 0.79, 0.84, 0.85), _MULTIVAE),
  _row(_COHERENCE, 'mopoe', (0.68, 0.79, 0.83, 0.84), _MULTI_VIEW_AE),
  _row(_COHERENCE, 'mmjsd', (0.75, 0.74, 0.78, 0.80), _MULTI_VIEW_AE),
  _row(_COHERENCE, 'mmvae', (0.71, 0.71, 0.71, 0.71), _MULTI_VIEW_AE),
  _row(_COHERENCE, 'mvae', (0.29, 0.42, 0.48, 0.52), _MVTCAE),
  _row(_COHERENCE, 'mmvae', (0.71, 0.71, 0.71, 0.71), _MVTCAE),
  _row(_COHERENCE, 'mmjsd', (0.69, 0.57, 0.64, 0.67), _MVTCAE),
  _row(_COHERENCE, 'mopoe', (0.63, 0.75, 0.79, 0.81), _MVTCAE),
  _row(_PROBE, 'mvae', (0.70, 0.84, 0.91, 0.93, 0.95), _MVTCAE),
  _row(_PROBE, 'mmvae', (0.82, 0.82, 0.82, 0.82, 0.82), _MVTCAE),
  _row(_PROBE, 'mmjsd', (0.89, 0.98, 0.99, 1.00, 1.00), _MVTCAE),
  _row(_PROBE, 'mopoe', (0.82, 0.90, 0.93, 0.94, 0.95), _MVTCAE),
)
