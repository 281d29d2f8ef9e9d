"""The networks of every data set, and a model that has styles and text."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax import architecture, networks, objectives
from mmjsd_jax.data import text
from mmjsd_jax.model import Model, Posteriors

NAMES = ('mnist', 'svhn', 'text')
BATCH = 4


def make_model(styles=(), preset='mopoe', names=NAMES, **settings):
  modalities = architecture.make_modalities(
    'mnist_svhn_text', names, latent_dim=6, style_dims=styles
  )
  return Model(modalities, 6, objectives.make_objective(preset), **settings)


@pytest.fixture(scope='module')
def inputs():
  rng = np.random.default_rng(0)
  return {
    'mnist': rng.integers(0, 256, (BATCH, 28, 28, 1), np.uint8),
    'svhn': rng.integers(0, 256, (BATCH, 32, 32, 3), np.uint8),
    'text': text.encode(text.WORDS, 8)[:BATCH],
  }


@functools.cache
def _encode_fn(model):
  return jit(model.encode)


def encode(model, params, inputs):
  return jax.device_get(_encode_fn(model)(params, inputs))


@pytest.fixture(scope='module')
def styled():
  model = make_model((2, 0, 3))
  return model, model.init(jax.random.key(0))


@pytest.mark.parametrize(
  ('latent_dim', 'styles'), [(20, ()), (16, (4, 4, 4))], ids=['20', '16 + 4']
)
def test_mnist_svhn_text_has_the_authors_number_of_parameters(
  latent_dim, styles
):
  modalities = architecture.make_modalities(
    'mnist_svhn_text', NAMES, latent_dim=latent_dim, style_dims=styles
  )
  model = Model(modalities, latent_dim, objectives.PRESETS['mmjsd'])
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 1_411_826


def test_celeba_has_the_authors_number_of_parameters_and_the_papers_weights():
  modalities = architecture.make_modalities(
    'celeba', ('image', 'text'), latent_dim=32, style_dims=(32, 32)
  )
  model = Model(modalities, 32, objectives.PRESETS['mmjsd'])
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  assert networks.num_parameters(shapes) == 70_326_218
  assert architecture.weights_by_size(modalities) == (1, 48)


def test_likelihood_weights_by_size_are_the_papers():
  weights = architecture.weights_by_size(make_model().modality_list)
  np.testing.assert_allclose(weights, (3.918, 1, 384), rtol=1e-3)


def test_embedded_digits_take_the_networks_of_what_they_stand_in_for():
  found = make_model(names=('digits', 'colour_digits', 'text')).modality_list
  expected = make_model().modality_list
  assert [m._replace(name='') for m in found] == [
    m._replace(name='') for m in expected
  ]


def test_unknown_data_set_is_refused():
  with pytest.raises(ValueError, match='must be one of .*; got celebb'):
    architecture.make_modalities('celebb', ('m0',), latent_dim=4)


def test_text_as_released_is_the_decoders():
  *_, words = architecture.make_modalities(
    'mnist_svhn_text', NAMES, latent_dim=4, text_as_released=True
  )
  assert words.decoder.as_released


def test_styles_stand_in_front_of_the_shared_latents(styled, inputs):
  model, params = styled
  found = encode(model, params, inputs)
  assert found.shared.mean.shape == (3, BATCH, 6)
  assert [q.mean.shape for q in found.styles] == [
    (1, BATCH, size) for size in (2, 0, 3)
  ]
  first = model.modality_list[0]
  whole = jit(first.encoder.apply)(
    {'params': params['mnist']['encoder']},
    first.to_float(jnp.asarray(inputs['mnist'])),
  )
  np.testing.assert_allclose(
    found.styles[0].mean[0], whole.mean[:, :2], rtol=1e-5
  )
  np.testing.assert_allclose(found.shared.mean[0], whole.mean[:, 2:], rtol=1e-5)


def test_a_style_changes_its_own_modality_alone(styled):
  model, params = styled
  z = jnp.ones((2, 6))
  styles = [jnp.zeros((2, size)) for size in (2, 0, 3)]
  other = [styles[0] + 1, *styles[1:]]
  decode = jit(model.decode)
  plain, changed = decode(params, z, styles), decode(params, z, other)
  assert not np.allclose(plain['mnist'], changed['mnist'])
  np.testing.assert_array_equal(plain['svhn'], changed['svhn'])
  np.testing.assert_array_equal(plain['text'], changed['text'])


def test_styles_of_another_size_are_refused(styled):
  model, params = styled
  with pytest.raises(ValueError, match=r'styles must have \(2, 0, 3\) latents'):
    model.decode(params, jnp.ones((2, 6)))


def test_styles_outside_a_subset_are_the_priors(styled, inputs):
  model, params = styled
  posteriors = encode(model, params, inputs)
  styles = model.subset_styles(posteriors, np.array([False, True, True]))
  assert all(np.all(leaf == 0) for leaf in styles[0])
  np.testing.assert_array_equal(styles[2].mean, posteriors.styles[2].mean[0])


def test_examples_are_taken_from_every_leaf(styled, inputs):
  model, params = styled
  posteriors = encode(model, params, inputs)
  some = posteriors.take(np.array([3, 1]))
  assert isinstance(some, Posteriors)
  np.testing.assert_array_equal(
    some.shared.mean, posteriors.shared.mean[:, [3, 1]]
  )
  np.testing.assert_array_equal(
    some.styles[2].log_var, posteriors.styles[2].log_var[:, [3, 1]]
  )


def test_access_moves_words_and_nothing_else(styled, inputs):
  model, _ = styled
  arrays = jax.tree.map(jnp.asarray, inputs)
  found = jit(model.access)(jax.random.key(1), arrays)
  np.testing.assert_array_equal(found['svhn'], inputs['svhn'])
  assert text.decode(np.asarray(found['text'])) == list(text.WORDS[:BATCH])


def test_decoders_of_colour_images_start_from_the_first_colour():
  colour = (0.25, 0.5, 0.75)
  _, svhn, _ = architecture.make_modalities(
    'mnist_svhn_text', NAMES, latent_dim=6, first_colours={'svhn': colour}
  )
  params = jit(svhn.decoder.init)(jax.random.key(0), jnp.zeros((1, 6)))
  np.testing.assert_allclose(
    params['params']['ConvTranspose_3']['bias'], colour
  )
