"""A model card: what an exported model is, how good, and how to call it."""

import json
import pathlib
from typing import Any

from mmjsd_jax import __version__, factor_tables
from mmjsd_jax import config as configuration
from mmjsd_jax.data.declaration import to_tree
from mmjsd_jax.files import read_json
from mmjsd_jax.tables import probe_size
from mmjsd_jax.trained import Trained

# Where the data of this package's sets come from, and on what terms.
_LICENCES = {
  'polymnist': (
    'PolyMNIST is MNIST (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0) over'
    ' background pictures, whose terms are those of the pictures.'
  ),
  'mnist_svhn_text': (
    'MNIST (Y. LeCun, C. Cortes, C. Burges) is CC BY-SA 3.0; SVHN (Y. Netzer'
    ' and others) is for non-commercial use only.'
  ),
  'celeba': (
    'CelebA (Z. Liu and others) shows real persons. It is for non-commercial'
    ' research only, and its terms forbid passing the pictures on.'
  ),
  'dsprites_text': (
    'dSprites (L. Matthey and others, DeepMind) is Apache 2.0; its texts follow'
    ' from its factors.'
  ),
}
_OWN_LICENCE = (
  "The data are a user's own: ask whoever trained this model on what terms."
)


def describe(model: Trained, workdir: pathlib.Path) -> dict[str, Any]:
  """What there is to tell of a model, in plain JSON types.

  Args:
    model: what is described.
    workdir: its run's folder; of its results.json, if there is one that
      measured the same checkpoint, the metrics are told.

  Raises:
    ValueError: results.json is damaged.
  """
  results, path = {}, workdir / 'results.json'
  if path.exists():
    results = read_json(path)
    try:
      if results['training']['checkpoint_step'] != model.step:
        results = {}
    except (KeyError, TypeError) as error:
      raise ValueError(f'{path}: expected results; it lacks {error}') from None
  said = (model.data['substituted'], *results.get('substitutions', ()))
  return {
    'name': model.config.name,
    'version': __version__,
    'step': model.step,
    'modalities': {spec.name: to_tree(spec) for spec in model.specs},
    'latent_dim': model.model.latent_dim,
    'style_dims': model.style_dims,
    'objective': {
      'preset': model.config.objective.preset,
      **model.model.objective._asdict(),
    },
    'data': {
      'name': model.config.data.name,
      'source': model.data['source'],
      'substitutions': list(dict.fromkeys(filter(None, said))),
      'licence': _LICENCES.get(model.config.data.name, _OWN_LICENCE),
    },
    'config': configuration.to_dict(model.config),
    'metrics': _metrics(results.get('metrics', {})),
  }


def render(description: dict[str, Any]) -> str:
  """The card, in Markdown.

  Args:
    description: of `describe`, with 'functions' and 'jax', the version that
      the programs were written by.
  """
  data, modalities = description['data'], description['modalities']
  latents = f'{description["latent_dim"]} shared latents'
  if description['style_dims']:
    latents += f' and of each modality alone {description["style_dims"]}'
  lines = [
    f'# {description["name"]}',
    '',
    f'A multimodal VAE ({description["objective"]["preset"]}) with {latents},'
    f' by mmjsd_jax {description["version"]}, after {description["step"]}'
    ' steps.',
    '',
    '| Modality | Kind | Shape |',
    '|---|---|---|',
    *(
      f'| {name} | {spec["kind"]} | {spec["shape"]} |'
      for name, spec in modalities.items()
    ),
    '',
    '## Data',
    '',
    data['source'] + '.',
    *(f'\n**Substituted:** {said}' for said in data['substitutions']),
    '',
    f'{data["licence"]} Check the terms of the data before you pass on the'
    ' model or what it generates.',
    '',
    '## Metrics',
    '',
    *_table(description['metrics']),
    '',
    '## How to call it',
    '',
    *_calls(description),
    '',
    '## Configuration',
    '',
    '```json',
    json.dumps(description['config'], indent=2),
    '```',
  ]
  return '\n'.join(lines) + '\n'


def _metrics(metrics: dict[str, Any]) -> list[dict[str, Any]]:
  """The headline numbers, each with what it means."""
  found: list[tuple[str, Any, str]] = []
  if joint := metrics.get('log_likelihood', {}).get('joint'):
    found.append(
      (
        'log p(X)',
        joint['value'],
        'nats for a test example with all modalities, by importance sampling'
        f' with {joint["num_importance_samples"]} samples; low on average',
      )
    )
  if coherence := metrics.get('coherence'):
    found += [
      (
        f'coherence given {size}',
        value,
        'share of the generated modalities in which a classifier sees the class'
        f' of the test example; chance {coherence["chance"]}',
      )
      for size, value in coherence['conditional']['by_size'].items()
    ]
    if 'joint' in coherence:
      found.append(
        (
          'joint coherence',
          coherence['joint'],
          'share of prior samples in whose modalities classifiers see one'
          f' class; chance {coherence["joint_chance"]}',
        )
      )
  found += _factors(metrics)
  for number, block in metrics.get('probe', {}).items():
    if number.isdigit():
      found += [
        (
          f'probe given {size}',
          value,
          'test accuracy of logistic regression on'
          f' {probe_size({"metrics": metrics}, number)} posterior means',
        )
        for size, value in block['by_size'].items()
      ]
  return [
    {'name': name, 'value': value, 'meaning': meaning}
    for name, value, meaning in found
  ]


def _factors(metrics: dict[str, Any]) -> list[tuple[str, Any, str]]:
  """Macro means over factors."""
  results = {'metrics': metrics}
  measure, chance = (
    factor_tables.measure(results),
    factor_tables.chance(results),
  )
  return [
    (
      f'factors, {name}',
      value,
      f'mean {measure} over factors, told by {how}; chance {chance}',
    )
    for how, means in (
      (
        'logistic regression on posterior means',
        factor_tables.probe_means(results),
      ),
      (
        'a classifier from what is generated',
        factor_tables.generated_means(results),
      ),
    )
    for name, value in means.items()
  ]


def _table(metrics: list[dict[str, Any]]) -> list[str]:
  if not metrics:
    return ['This checkpoint has not been evaluated.']
  return [
    '| Metric | Value | What it is |',
    '|---|---|---|',
    *(f'| {m["name"]} | {m["value"]} | {m["meaning"]} |' for m in metrics),
    '',
    '"Given n" is the mean over all subsets of n modalities.',
  ]


def _calls(description: dict[str, Any]) -> list[str]:
  functions = description['functions']
  shapes = ',\n'.join(
    f"  '{name}': np.zeros({_shape(text)}, '{text.partition('[')[0]}')"
    for name, text in functions['encode']['takes'][0].items()
  )
  return [
    'With JAX, `flatbuffers` and `safetensors`; nothing of mmjsd_jax. `b`'
    ' examples at a time, any number. Images are uint8, texts places in the'
    ' alphabet and vectors, where model.json has their mean and std,'
    ' standardised. What is absent may hold anything.',
    '',
    '```python',
    'import numpy as np',
    'import jax',
    'from jax import export',
    'from safetensors.numpy import load_file',
    '',
    "params = load_file('params.safetensors')",
    'encode, decode, generate = (',
    "  export.deserialize(bytearray(open(f'{name}.jax', 'rb').read()))",
    "  for name in ('encode', 'decode', 'generate')",
    ')',
    'inputs = {',
    shapes + ',',
    '}  # four examples',
    'present = {name: np.ones(4, bool) for name in inputs}',
    'posterior = encode.call(params, inputs, present)',
    "styles = {name: s['mean'] for name, s in posterior['styles'].items()}",
    "decoded = decode.call(params, posterior['mean'], styles)",
    'key = jax.random.key_data(jax.random.key(0))',
    'draws = generate.call(params, inputs, present, key)',
    '```',
    '',
    f'The programs were written by JAX {description["jax"]}; JAX reads such'
    ' files for six months of later releases at least. The parameters do not'
    ' age: `mmjsd_jax.load` is there for the run itself.',
    '',
    '```json',
    json.dumps(functions, indent=2),
    '```',
  ]


def _shape(text: str) -> str:
  """'uint8[b, 28, 28, 1]' as '(4, 28, 28, 1)'."""
  sizes = text.partition('[')[2].removesuffix(']').split(', ')
  return f'({", ".join(["4", *sizes[1:]])})'
