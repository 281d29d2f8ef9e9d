"""What is exported runs without this package, and gives the same numbers."""

import os
import re
import subprocess
import sys

import factor_world
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from trained_world import (
  NAMES,
  Encoder,
  make_inputs,
  model,
  small_networks,
  workdir,
)

from mmjsd_jax import export
from mmjsd_jax.examples import make_examples
from mmjsd_jax.files import write_json

pytestmark = pytest.mark.whole

_FIXTURES = (model, small_networks, workdir)


def test_the_card_s_program_runs_without_this_package(model, workdir, tmp_path):
  folder = tmp_path / 'exported'
  export.export(model, workdir, folder)
  params = export.flatten(model.params)
  found = load_file(folder / 'params.safetensors')
  assert found.keys() == params.keys()
  for name, array in found.items():
    np.testing.assert_array_equal(array, params[name])

  there = {'gene': np.array([True, False, True])}
  inputs = make_inputs(3)
  q = model.encode(inputs, present=there)
  generated = model.generate(inputs, present=there, key=0)
  examples = make_examples(model.specs, inputs, there)
  # Draws of the first sample have the first of the keys.
  (key,) = jax.random.split(jax.random.key(0), 1)
  np.savez(
    tmp_path / 'given.npz',
    key=jax.random.key_data(key),
    **examples.inputs,
    **{f'present.{n}': examples.present[m] for m, n in enumerate(NAMES)},
  )
  card = (folder / 'README.md').read_text(encoding='utf-8')
  (example,) = re.findall(r'```python\n(.*?)```', card, flags=re.DOTALL)
  program = f"""
import sys
for name in ('mmjsd_jax', 'flax', 'orbax'):
  sys.modules[name] = None  # importing them fails
{example}
assert draws['word'].shape == (4, 4, 71)
given = dict(np.load({str(tmp_path / 'given.npz')!r}, allow_pickle=False))
key = given.pop('key')
inputs = {{n: x for n, x in given.items() if not n.startswith('present.')}}
present = {{n: given['present.' + n] for n in inputs}}
posterior = encode.call(params, inputs, present)
draws = generate.call(params, inputs, present, key)
np.savez({str(tmp_path / 'found.npz')!r}, mean=posterior['mean'],
  std=posterior['std'], **draws)
"""
  environment = {k: x for k, x in os.environ.items() if k != 'PYTHONPATH'}
  subprocess.run(
    [sys.executable, '-c', program],
    cwd=folder,
    env=environment | {'JAX_PLATFORMS': 'cpu'},
    check=True,
  )
  close = dict(rtol=1e-4, atol=1e-5)
  with np.load(tmp_path / 'found.npz', allow_pickle=False) as found:
    np.testing.assert_allclose(found['mean'], q.mean, **close)
    np.testing.assert_allclose(found['std'], q.std, **close)
    for name in NAMES:
      np.testing.assert_allclose(found[name], generated[name][:, 0], **close)


class _Counting(Encoder):
  """Asks how many examples there are."""

  def __call__(self, x):
    return super().__call__(x.reshape(len(x), *x.shape[1:]))


def test_networks_that_count_examples_are_refused(model, workdir, tmp_path):
  first, *others = model.model.modality_list
  counting = first._replace(encoder=_Counting(first.encoder.latent_dim))
  changed = model.model._replace(modality_list=(counting, *others))
  with pytest.raises(ValueError, match='encode cannot be exported: networks'):
    export.export(model._replace(model=changed), workdir, tmp_path / 'new')
  assert list(tmp_path.iterdir()) == []


def test_the_card_tells_what_the_model_is(model, tmp_path):
  run = tmp_path / 'run'
  run.mkdir()
  untold = _card(model, run)
  assert 'This checkpoint has not been evaluated.' in untold
  assert '| picture | image | [2, 3, 1] |' in untold
  assert 'numbers from a seed.' in untold
  assert '**Substituted:** Numbers stand in for digits.' in untold
  assert 'SVHN (Y. Netzer and others) is for non-commercial use' in untold
  results = {
    'training': {'checkpoint_step': 4},
    'substitutions': ['Textures stand in for photographs.'],
    'metrics': {
      'log_likelihood': {
        'joint': {'value': -12.5, 'num_importance_samples': 512}
      },
      'coherence': {
        'conditional': {'by_size': {'1': 0.75}},
        'chance': 0.1,
        'joint': 0.5,
        'joint_chance': 0.01,
      },
      'probe': {'500': {'by_size': {'2': 0.25}}, 'chance': 0.1},
      'factors': factor_world.make_run()['metrics']['factors'],
    },
  }
  write_json(run / 'results.json', results)
  told = _card(model, run)
  for line in (
    '| log p(X) | -12.5 | nats for a test example',
    '| coherence given 1 | 0.75 | share',
    '| joint coherence | 0.5 | share',
    '| probe given 2 | 0.25 | test accuracy of logistic regression on 500',
    '| factors, image->text | 0.41 | mean average precision',
    '**Substituted:** Textures stand in for photographs.',
  ):
    assert line in told
  write_json(
    run / 'results.json', results | {'training': {'checkpoint_step': 2}}
  )
  assert _card(model, run) == untold


def _card(model, run):
  functions = {'encode': {'takes': [{'gene': 'float32[b, 5]'}]}}
  described = export.model_card.describe(model, run)
  return export.model_card.render(
    described | {'functions': functions, 'jax': '0'}
  )
