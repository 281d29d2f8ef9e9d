"""A trained model in use: what is computed, how often compiled, and refused."""

import functools
import shutil

import jax
import linear_world
import numpy as np
import pytest
import trained_world
from trained_world import (
  LATENT_DIM,
  NAMES,
  make_inputs,
  model,
  small_networks,
  workdir,
  write_run,
)

import mmjsd_jax
from mmjsd_jax import inference, trained
from mmjsd_jax.data import text
from mmjsd_jax.data.declaration import ModalitySpec
from mmjsd_jax.evaluation import samplers
from mmjsd_jax.evaluation.samplers import Sampler
from mmjsd_jax.examples import as_given, make_examples, make_specs
from mmjsd_jax.files import read_json, write_json
from mmjsd_jax.snapshot import DamagedCheckpoint
from mmjsd_jax.subsets import parse_subset
from mmjsd_jax.trained import Trained

_FIXTURES = (model, small_networks, workdir)


def _assert_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


# --- what is loaded -----------------------------------------------------------


def test_the_final_and_the_best_checkpoint_are_loaded(workdir, small_networks):
  final, best = trained.load(workdir), trained.load(str(workdir), 'best')
  assert (final.step, best.step) == (4, 2)
  assert final.modalities == NAMES
  leaves = jax.tree.leaves(best.params)
  rng = np.random.default_rng(2)
  expected = (0.3 * rng.normal(size=leaves[0].shape)).astype(np.float32)
  np.testing.assert_array_equal(leaves[0], expected)


def test_load_is_in_the_package():
  assert mmjsd_jax.load is trained.load
  with pytest.raises(AttributeError, match="no attribute 'lod'"):
    mmjsd_jax.lod  # noqa: B018


def test_what_cannot_be_loaded_is_refused_in_one_line(
  workdir, small_networks, tmp_path
):
  with pytest.raises(FileNotFoundError, match='holds no run: run.json is'):
    trained.load(tmp_path)
  with pytest.raises(ValueError, match="must be one of .* got 'last'"):
    trained.load(workdir, 'last')
  copy = tmp_path / 'copy'
  shutil.copytree(workdir, copy)
  (copy / 'checkpoints' / '4' / 'manifest').write_text('nothing')
  with pytest.raises(DamagedCheckpoint, match='checkpoint 4 in .* is damaged'):
    trained.load(copy)
  shutil.rmtree(copy / 'checkpoints')
  with pytest.raises(FileNotFoundError, match='copy holds no checkpoint'):
    trained.load(copy)
  run = read_json(copy / 'run.json')
  del run['data']['modalities']
  write_json(copy / 'run.json', run)
  with pytest.raises(ValueError, match='run.json must name the modalities'):
    trained.load(copy)


# --- what is computed ---------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def _expected(model, params, inputs, row):
  posteriors = model.encode(params, inputs)
  q = model.subset_posterior(posteriors, row)
  return q, model.subset_styles(posteriors, row)


@pytest.mark.parametrize('preset', ['mopoe', 'mmvae'])
@pytest.mark.parametrize('subset', ['word', 'picture+gene', None])
def test_posteriors_are_those_of_the_objective(
  preset, subset, tmp_path, small_networks
):
  model = trained.load(trained_world.write_run(tmp_path / 'run', preset))
  inputs = make_inputs(3)
  examples = make_examples(model.specs, inputs)
  row = parse_subset(subset or '+'.join(NAMES), NAMES)
  q, styles = _expected(model.model, model.params, examples.inputs, row)
  found = model.encode(inputs, subset)
  weights = found.weights.T  # [S, B]
  np.testing.assert_allclose(weights, q.weights, rtol=1e-6)
  for ours, theirs in zip(found.components, q.components, strict=True):
    ours = np.where(weights[..., None] > 0, np.swapaxes(ours, 0, 1), 0)
    theirs = np.where(weights[..., None] > 0, theirs, 0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    found.mean, np.einsum('sb,sbd->bd', weights, q.components.mean), rtol=1e-4
  )
  assert set(found.styles) == {'picture', 'gene'}
  for index, name in ((0, 'picture'), (2, 'gene')):
    ours, theirs = found.styles[name].mean, styles[index].mean
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_absence_is_said_in_four_ways(model):
  inputs = make_inputs(4)
  words = {'word': inputs['word']}
  gone = np.zeros(4, bool)
  ways = [
    model.encode(words),
    model.encode(inputs, 'word'),
    model.encode(inputs, present={'picture': gone, 'gene': gone}),
    model.encode(
      words
      | {
        'picture': np.full((4, 2, 3, 1), np.nan),
        'gene': np.full((4, 5), np.nan),
      }
    ),
  ]
  for other in ways[1:]:
    _assert_equal(ways[0], other)


def test_words_that_are_none_are_absent(model):
  alone = make_examples(model.specs, {'word': ['one']})
  for gap in ('', None, np.nan):
    found = make_examples(model.specs, {'word': ['one', gap]})
    np.testing.assert_array_equal(found.present[1], [True, False])
    np.testing.assert_array_equal(
      found.inputs['word'][0], alone.inputs['word'][0]
    )


def test_every_example_has_its_own_gaps(model):
  inputs = make_inputs(4)
  inputs['gene'][1] = np.nan
  present = {'word': np.array([True, True, False, False])}
  present['picture'] = np.array([True, False, True, False])
  inputs['gene'][3] = np.nan
  mixed = model.encode(inputs, present=present)
  for row, subset in enumerate(['picture+word+gene', 'word', 'picture+gene']):
    alone = model.encode({n: x[[row]] for n, x in inputs.items()}, subset)
    np.testing.assert_allclose(mixed.mean[row], alone.mean[0], rtol=1e-6)
    np.testing.assert_allclose(mixed.std[row], alone.std[0], rtol=1e-6)


@pytest.mark.parametrize('preset', ['mopoe', 'mmvae', 'mmjsd'])
def test_nothing_gives_the_prior(preset, tmp_path, small_networks):
  model = trained.load(trained_world.write_run(tmp_path / 'run', preset))
  found = model.encode({'gene': np.full((4, 5), np.nan)})
  prior = model.prior(4)
  np.testing.assert_array_equal(found.weights[:, 0], prior.weights[:, 0])
  np.testing.assert_array_equal(found.weights.sum(1), np.ones(4))
  _assert_equal(
    (found.mean, found.std, found.styles), (prior.mean, prior.std, prior.styles)
  )


def test_draws_are_of_the_posterior(model):
  inputs = {n: x for n, x in make_inputs(4).items() if n != 'gene'}
  q = model.encode(inputs)
  z, styles = q.sample(0, 200)
  assert z.shape == (4, 200, 3)
  np.testing.assert_allclose(z.mean(1), q.mean, atol=0.3)
  np.testing.assert_allclose(z.std(1), q.std, rtol=0.25)
  given, free = styles['picture'], styles['gene']  # q(s | x) and N(0, I)
  np.testing.assert_allclose(given.mean(1), q.styles['picture'].mean, atol=0.3)
  np.testing.assert_allclose(free.std(), 1, rtol=0.15)


def test_draws_do_not_depend_on_the_batch(model, monkeypatch):
  inputs = make_inputs(7)
  whole = model.generate(inputs, num_samples=2, key=3)
  assert whole['word'].shape == (7, 2, 4, 71)
  monkeypatch.setattr(inference, 'MAX_BATCH', 4)
  close = dict(rtol=1e-4, atol=1e-5)
  for first, last in ((0, 7), (0, 3), (3, 7)):
    part = {name: x[first:last] for name, x in inputs.items()}
    found = model.generate(part, num_samples=2, key=3, first=first)
    for name in NAMES:
      np.testing.assert_allclose(found[name], whole[name][first:last], **close)
  other = model.generate(inputs, num_samples=2, key=4)
  assert np.abs(other['gene'] - whole['gene']).min() > 0
  assert np.abs(whole['gene'][:, 0] - whole['gene'][:, 1]).min() > 0


def test_generation_decodes_its_draws(model):
  inputs = {'word': make_inputs(4)['word']}
  z, styles = model.encode(inputs).sample(5, 3)
  decoded = model.decode(z, styles)
  found = model.generate(inputs, ['gene', 'picture'], 3, key=jax.random.key(5))
  assert list(found) == ['gene', 'picture']
  close = dict(rtol=1e-4, atol=1e-5)
  for name in found:
    np.testing.assert_allclose(found[name], decoded[name], **close)
  without = model.decode(z)
  np.testing.assert_allclose(without['word'], decoded['word'], **close)
  zeros = {name: np.zeros_like(style) for name, style in styles.items()}
  _assert_equal(without, model.decode(z, zeros))


def test_the_prior_is_decoded_with_styles(model):
  found = model.sample(1, 5)
  z, styles = model.prior(5).sample(1)
  close = dict(rtol=1e-4, atol=1e-5)
  decoded = model.decode(z, styles)
  for name in NAMES:
    np.testing.assert_allclose(found[name], decoded[name][:, 0], **close)
  later = model.sample(1, 2, targets=['gene'], first=3)
  np.testing.assert_allclose(later['gene'], found['gene'][3:], **close)


def _sampler():
  rng = np.random.default_rng(0)
  return Sampler(
    np.array([0.25, 0.75], np.float32),
    rng.normal(size=(2, LATENT_DIM)).astype(np.float32),
    rng.normal(size=(2, LATENT_DIM, LATENT_DIM)).astype(np.float32),
  )


def test_a_fitted_sampler_is_drawn_from(model):
  with pytest.raises(ValueError, match='a sampler fitted to step 4'):
    model.sample(1, 5, source='sampler')
  with pytest.raises(ValueError, match=r"one of \('prior', .*; got 'flow'"):
    model.sample(1, 5, source='flow')
  model = model._replace(sampler=_sampler())
  found = model.sample(1, 5, source='sampler')
  key = inference.as_key(1)
  z = samplers.sample_numbered(key, model.sampler, np.arange(5, dtype='u4'))
  _, styles = model.prior(5).sample(1)
  expected = model.decode(z, {name: x[:, 0] for name, x in styles.items()})
  close = dict(rtol=1e-4, atol=1e-5)
  for name in NAMES:
    np.testing.assert_allclose(found[name], expected[name], **close)
  later = model.sample(1, 2, targets=['gene'], first=3, source='sampler')
  np.testing.assert_allclose(later['gene'], found['gene'][3:], **close)


def test_numbered_draws_are_of_the_sampler():
  sampler = _sampler()
  z = samplers.sample_numbered(
    jax.random.key(0), sampler, np.arange(4000, dtype='u4')
  )
  mean = sampler.weights @ sampler.means
  covariances = np.einsum('kde,kfe->kdf', sampler.factors, sampler.factors)
  second = covariances + np.einsum('kd,ke->kde', sampler.means, sampler.means)
  error = 5 * np.sqrt(np.einsum('k,kdd->d', sampler.weights, second) / 4000)
  np.testing.assert_array_less(np.abs(z.mean(axis=0) - mean), error)


def test_a_sampler_is_of_the_step_that_was_evaluated(tmp_path, small_networks):
  folder = write_run(tmp_path / 'run')
  samplers.save(folder / samplers.FILE, _sampler())
  assert trained.load(folder).sampler is None  # nothing tells of what step
  results = {
    'training': {'checkpoint_step': 4},
    'config': {'evaluation': {'sampler_components': 2}},
    'metrics': {},  # of data without labels
  }
  write_json(folder / 'results.json', results)
  found = trained.load(folder).sampler
  np.testing.assert_array_equal(found.means, _sampler().means)
  assert trained.load(folder, 'best').sampler is None
  write_json(folder / 'results.json', {'training': [4]})
  with pytest.raises(ValueError, match='as an evaluation writes it'):
    trained.load(folder)


def test_targets_may_be_one_string(model):
  given = {'gene': make_inputs(2)['gene']}
  found = model.generate(given, 'picture+word', key=0)
  assert set(found) == {'picture', 'word'}
  _assert_equal(found, model.generate(given, ['picture', 'word'], key=0))


def test_a_model_is_told_in_one_line(model):
  assert repr(model) == (
    f'Trained(step {model.step}; picture: image [2, 3, 1], word: text [4],'
    ' gene: vector [5])'
  )


def test_what_is_generated_can_be_given_again(model):
  stored = model.as_given(model.sample(0, 3))
  assert stored['picture'].dtype == np.uint8
  assert stored['word'].dtype.kind == 'U'
  again = make_examples(model.specs, stored).inputs
  codes = model.sample(0, 3, targets=['word'])['word'].argmax(-1)
  assert stored['word'].tolist() == text.decode(codes)
  assert text.decode(again['word']) == text.decode(codes)
  np.testing.assert_array_equal(again['gene'], stored['gene'])


def test_log_likelihoods_are_of_what_there_is():
  def load(world):
    specs = make_specs(world.model.modality_list)
    return Trained(world.model, world.params, specs, None, {}, 0)

  # The product with the prior is the exact posterior: no draw has an error.
  three = linear_world.make_world('mvae', num_modalities=3)
  two = linear_world.make_world('mvae', num_modalities=2)
  there = np.arange(10) % 2 > 0
  inputs = three.inputs | {
    'm2': np.where(there[:, None], three.inputs['m2'], 0)
  }
  found = load(three).log_likelihood(
    inputs, num_importance_samples=64, present={'m2': there}
  )
  expected = np.where(there, three.exact, two.exact)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  # From fewer, the estimate is of the same.
  some = {name: x[:8] for name, x in three.inputs.items()}
  from_one = load(three).log_likelihood(some, 'm0', num_importance_samples=64)
  np.testing.assert_allclose(from_one, three.exact[:8], atol=2)
  assert np.abs(from_one - three.exact[:8]).max() > 0.01


# --- how often it is compiled -------------------------------------------------


def test_each_function_is_compiled_once_for_a_bucket(model):
  programs = (inference.encode, inference.draw, inference.decode)

  def compiled(num_examples, **inputs):
    before = [program._cache_size() for program in programs]
    model.generate(inputs or make_inputs(num_examples), num_samples=3, key=0)
    after = [program._cache_size() for program in programs]
    return tuple(np.subtract(after, before))

  # 9 examples are encoded in 16 and, 3 draws of each, decoded in 32.
  assert compiled(9) == (1, 1, 1)
  for num_examples in (10, 9):
    assert compiled(num_examples) == (0, 0, 0)
  assert compiled(0, word=make_inputs(10)['word']) == (0, 0, 0)


# --- users' own data ----------------------------------------------------------


def test_vectors_and_texts_are_in_the_users_terms():
  specs = (
    ModalitySpec('gene', 'vector', shape=(2,), mean=(1.0, 2.0), std=(2.0, 4.0)),
    ModalitySpec('word', 'text', alphabet=' ab', length=3, shape=(3,)),
  )
  inputs = {'gene': [[3, 2], [np.nan, np.nan]], 'word': ['b', ' ab']}
  examples = make_examples(specs, inputs, {'word': np.array([True, False])})
  np.testing.assert_array_equal(examples.inputs['gene'], [[1, 0], [0, 0]])
  np.testing.assert_array_equal(examples.inputs['word'][0], [2, 0, 0])
  np.testing.assert_array_equal(examples.present, [[1, 0], [1, 0]])
  vectors = as_given(specs[0], np.array([[[1.0, 0.0]]]))
  np.testing.assert_array_equal(vectors, [[[3, 2]]])
  with pytest.raises(ValueError, match=r'shape \[N, 2\]; got \[2, 1\]'):
    make_examples(specs, {'gene': [[3], [1]]})  # not one for both columns
  words = as_given(specs[1], np.eye(3)[[[0, 2, 1], [1, 1, 1]]])
  assert words.tolist() == ['ba', 'aaa']
  assert words.dtype == '<U3'


# --- what is refused ----------------------------------------------------------


@pytest.mark.parametrize(
  ('inputs', 'message'),
  [
    ({}, 'at least one of .*; got none'),
    ({'m0': np.zeros(1)}, "some of .*'gene'.*; got 'm0'"),
    ({'gene': np.zeros((0, 5))}, r'at least 1; got .*\(0, 5\)'),
    ({'gene': np.zeros((2, 5)), 'word': ['a']}, 'the same number of examples'),
    ({'gene': np.zeros((2, 4))}, r'gene must have shape \[N, 5\]; got \[2, 4'),
    ({'gene': np.array([['a'] * 5])}, r'gene must be numbers .* got <U1'),
    (
      {'gene': [[np.nan] * 5, [0, 1, np.nan, 0, 0]]},
      'gene must be NaN in a whole row .* got 1 of 2 .* row 1, at place 2',
    ),
    ({'gene': [[0, 1, np.inf, 0, 0]]}, 'gene must be within the range'),
    ({'picture': np.full((1, 2, 3, 1), 255.0)}, r'in \[0, 1\] .*got 255.0 to'),
    ({'picture': np.zeros((1, 2, 3, 1), int)}, 'uint8 or floats .*; got int64'),
    ({'word': ['five!']}, "word: .* at most 4 characters; got 'five!'"),
    ({'word': ['é']}, 'word: expected characters of the alphabet'),
    ({'word': [[0, 1, 2, 71]]}, 'codes from 0 to 70; got 0 to 71'),
    ({'word': np.zeros((1, 4))}, 'word must be strings .*; got float64'),
  ],
)
def test_bad_inputs_are_named(model, inputs, message):
  with pytest.raises(ValueError, match=message):
    model.encode(inputs)


def test_bad_requests_are_named(model):
  inputs = make_inputs(2)
  with pytest.raises(ValueError, match='distinct modalities of .* got .*m0'):
    model.encode(inputs, 'm0')
  with pytest.raises(
    ValueError, match="'word' must be of the inputs; got gene"
  ):
    model.encode({'gene': inputs['gene']}, 'word')
  with pytest.raises(ValueError, match=r'present of gene must be bool \[2\]'):
    model.encode(inputs, present={'gene': np.ones(2)})
  with pytest.raises(ValueError, match="targets must be of .* got .'m0',."):
    model.generate(inputs, ['m0'], key=0)
  with pytest.raises(
    ValueError, match=r'z must have shape \(2, 3\), .*\(2, 4\)'
  ):
    model.decode(np.zeros((2, 4)))
  with pytest.raises(ValueError, match='style of gene must have shape'):
    model.decode(np.zeros((2, 3)), {'gene': np.zeros((1, 1))})
  with pytest.raises(ValueError, match="styles must be of .* got 'word'"):
    model.decode(np.zeros((2, 3)), {'word': np.zeros((2, 1))})
  gone = {name: np.array([True, False]) for name in NAMES}
  with pytest.raises(ValueError, match='got none in example 1'):
    model.log_likelihood(inputs, present=gone)
