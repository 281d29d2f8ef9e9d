"""Subsets of the modalities and their posteriors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vectors
from vectors import jit

from mmjsd_jax import gaussian, mixture, subsets
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture

NAMES = ('m0', 'm1', 'm2')


def experts_of(*, num_modalities=3, batch=4, num_latents=2) -> Gaussian:
  rng = np.random.default_rng(0)
  mean, log_var = rng.normal(size=(2, num_modalities, batch, num_latents))
  return Gaussian(jnp.float32(mean), jnp.float32(log_var))


# Golden values.


@vectors.cases('subset_enumeration', ('f64',))
def test_enumeration_equals_golden(case):
  table = subsets.membership(case.inputs['n_modalities'])
  if 'mask' not in case.inputs:
    np.testing.assert_array_equal(table, case.expected['membership'])
    assert len(table) == case.expected['n_subsets']
    members = [list(np.flatnonzero(row)) for row in table]
    assert members == case.expected['subsets']
    return

  def both(mask):
    present = (mask > 0)[:, None]
    weights = subsets.uniform_weights(table, present, dtype=case.dtype)
    return subsets.available(table, present)[:, 0], weights[:, 0]

  available, weights = case.run(both, 'mask')
  np.testing.assert_array_equal(available, case.expected['subset_available'])
  assert available.sum() == case.expected['n_available_subsets']
  assert weights.dtype == case.dtype
  np.testing.assert_array_equal(weights, case.expected['subset_weights'])


CONVENTIONS = {
  'never': 'no_prior_expert',
  'full_set': 'released_code_prior_only_in_full_set',
  'always': 'all_subsets_with_prior',
}


@vectors.cases('mopoe_kl_bound')
def test_posteriors_and_their_kl_bound_equal_golden(case):
  if 'kl_mixture_exact' in case.expected:
    conventions = {'never': case.expected}
  else:
    conventions = {
      ours: case.expected[golden]
      for ours, golden in CONVENTIONS.items()
      if golden in case.expected
    }
  table = subsets.membership(len(case.inputs['mu']))
  mask = case.inputs.get('mask')

  def everything(mu, logvar):
    results = {}
    present = None
    if mask is not None:
      present = jnp.broadcast_to(jnp.array(mask, bool)[:, None], mu.shape[:2])
    for convention in conventions:
      q = subsets.posteriors(
        Gaussian(mu, logvar), table, present=present, prior_expert=convention
      )
      weights = subsets.uniform_weights(
        table,
        jnp.ones(mu.shape[:2], bool) if present is None else present,
        dtype=mu.dtype,
      )
      kls = gaussian.kl_to_standard_normal(q)
      results[convention] = (q, kls, mixture.kl_bound(Mixture(q, weights)))
    return results

  results = case.run(everything, 'mu', 'logvar')
  for convention, expected in conventions.items():
    q, kls, bound = results[convention]
    case.check(bound, expected['kl_bound'])
    if 'subset_mu' in expected:
      case.check(q.mean, expected['subset_mu'])
      case.check(q.log_var, expected['subset_logvar'])
    if 'kl_per_subset' in expected:
      case.check(kls, expected['kl_per_subset'])
    if 'kl_per_available_subset' in expected:
      available = ~(table & ~np.array(mask, bool)).any(1)
      case.check(kls[available], expected['kl_per_available_subset'])


def test_mixture_kl_of_subsets_equals_golden_by_monte_carlo():
  [case] = [
    case
    for case in vectors.load()['mopoe_kl_bound']
    if 'kl_mixture_exact' in case['expected']
  ]
  table = subsets.membership(2)
  shape = (2, 4000, 1)

  @jit
  def estimates(key):
    experts = Gaussian(
      *(
        jnp.broadcast_to(jnp.float32(case['inputs'][name]), shape)
        for name in ('mu', 'logvar')
      )
    )
    q = subsets.posteriors(experts, table, prior_expert='never')
    weights = subsets.uniform_weights(table, jnp.ones(shape[:2], bool))
    return mixture.kl_monte_carlo(key, Mixture(q, weights), num_samples=8)

  values = np.asarray(estimates(jax.random.key(0)), np.float64)
  error = values.std() / np.sqrt(len(values))
  exact = case['expected']['kl_mixture_exact']
  assert abs(values.mean() - exact) < 5 * error


# Names.


def test_names_follow_the_order_of_membership():
  assert subsets.subset_names(NAMES) == (
    'm0', 'm1', 'm2', 'm0+m1', 'm0+m2', 'm1+m2', 'm0+m1+m2'
  )  # fmt: skip


def test_every_name_is_parsed_back_in_any_order():
  table = subsets.membership(3)
  for name, row in zip(subsets.subset_names(NAMES), table, strict=True):
    for parts in itertools.permutations(name.split('+')):
      parsed = subsets.parse_subset('+'.join(parts), NAMES)
      np.testing.assert_array_equal(parsed, row)


@pytest.mark.parametrize('name', ['', 'm3', 'm0+', 'm0+m0', 'm0,m1', 'm0 + m1'])
def test_what_is_no_subset_is_refused_with_the_known_names(name):
  with pytest.raises(ValueError, match='distinct modalities of .*m0.*m2'):
    subsets.parse_subset(name, NAMES)


def test_no_modalities_have_no_subsets():
  with pytest.raises(ValueError, match='at least one modality; got 0'):
    subsets.membership(0)


# Posteriors.


@functools.partial(jax.jit, static_argnames='prior_expert')
def posteriors(experts, present, *, prior_expert):
  table = subsets.membership(experts.mean.shape[0])
  return subsets.posteriors(
    experts, table, present=present, prior_expert=prior_expert
  )


@pytest.mark.parametrize('prior_expert', subsets.PRIOR_EXPERTS)
def test_posteriors_equal_a_plain_loop_over_subsets(prior_expert):
  experts = experts_of()
  present = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]], bool)
  actual = posteriors(experts, present, prior_expert=prior_expert)
  mean, log_var = (np.float64(leaf) for leaf in experts)
  row = 0
  for size in (1, 2, 3):
    for members in itertools.combinations(range(3), size):
      with_prior = {
        'never': False, 'full_set': size == 3, 'always': True
      }[prior_expert]  # fmt: skip
      for example in range(4):
        precision = np.full(2, float(with_prior))
        shift = np.zeros(2)
        for m in members:
          if present[m, example]:
            precision += np.exp(-log_var[m, example])
            shift += np.exp(-log_var[m, example]) * mean[m, example]
        if (precision == 0).all():
          precision = np.ones(2)  # the empty product is N(0, I)
        np.testing.assert_allclose(
          actual.mean[row, example], shift / precision, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
          actual.log_var[row, example], -np.log(precision), rtol=1e-5, atol=1e-6
        )
      row += 1


def test_absent_modality_has_no_influence_and_zero_gradient():
  experts = experts_of()
  present = jnp.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]], bool)
  garbage = Gaussian(
    jnp.where(present[..., None], experts.mean, jnp.nan),
    jnp.where(present[..., None], experts.log_var, -jnp.inf),
  )

  @jit
  def values_and_gradient(experts):
    def total(experts):
      q = posteriors(experts, present, prior_expert='full_set')
      return jnp.sum(jnp.sin(q.mean) + q.log_var), q

    return jax.grad(total, has_aux=True)(experts)

  _, clean = values_and_gradient(experts)
  gradient, dirty = values_and_gradient(garbage)
  np.testing.assert_array_equal(jnp.stack(dirty), jnp.stack(clean))
  for leaf in gradient:
    assert np.isfinite(leaf).all()
    assert (np.asarray(leaf)[~present] == 0).all()
    assert (np.asarray(leaf)[present] != 0).all()


def test_subsets_made_equal_by_the_mask_have_weight_once():
  # Every mask of three modalities: A present ones have 2^A - 1 subsets, all
  # of different members, with equal weights.
  table = subsets.membership(3)
  masks = np.array(list(itertools.product([False, True], repeat=3))).T
  weights = np.asarray(
    jit(lambda present: subsets.uniform_weights(table, present))(masks)
  )
  for mask, column in zip(masks.T, weights.T, strict=True):
    num_subsets = 2 ** mask.sum() - 1
    assert (column > 0).sum() == num_subsets
    np.testing.assert_allclose(
      column[column > 0], 1 / max(num_subsets, 1), rtol=1e-6
    )
    kept = table[column > 0] & mask
    assert len(np.unique(kept, axis=0)) == num_subsets


def test_product_is_at_least_as_sharp_as_any_member_at_extremes():
  # Every pair and triple of these log-variances.
  grid = np.array([-20, -7, 0, 7, 20], np.float32)
  log_var = np.stack(np.meshgrid(grid, grid, grid)).reshape(3, -1, 1)
  mean = np.broadcast_to(np.float32([-3, 0.5, 8])[:, None, None], log_var.shape)
  q = posteriors(Gaussian(mean, log_var), None, prior_expert='never')
  for row, members in enumerate(subsets.membership(3)):
    assert np.isfinite(q.mean[row]).all()
    assert (q.log_var[row] <= log_var[members].min(0) + 1e-5).all()
    assert (q.mean[row] >= mean[members].min(0) - 1e-5).all()
    assert (q.mean[row] <= mean[members].max(0) + 1e-5).all()


def test_unknown_prior_expert_names_the_known_ones():
  with pytest.raises(ValueError, match="one of .*'full_set'.*got 'sometimes'"):
    subsets.posteriors(
      experts_of(), subsets.membership(3), prior_expert='sometimes'
    )


def test_table_of_other_modalities_is_refused():
  with pytest.raises(ValueError, match='must have 3 columns.*got 2'):
    subsets.posteriors(experts_of(), subsets.membership(2))


def test_compiled_equals_eager():
  experts = experts_of()
  eager = subsets.posteriors(experts, subsets.membership(3))
  compiled = posteriors(experts, None, prior_expert='full_set')
  np.testing.assert_allclose(
    jnp.stack(compiled), jnp.stack(eager), rtol=1e-5, atol=1e-6
  )
