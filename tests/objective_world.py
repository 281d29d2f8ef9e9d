"""Experts, data and decoders that the tests of objectives share.

z ~ N(0, I), x_m = W_m z + b_m + noise. The columns of every W_m are
orthogonal, so that posteriors are diagonal Gaussians and log p(X) is known.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from mmjsd_jax import gaussian, objectives
from mmjsd_jax.gaussian import Gaussian

M, B, D, P = 3, 4, 2, 3
SCALE = 0.8
# All modalities, two, one, none.
PRESENT = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], bool)


class World(NamedTuple):
  """Data [M, B, P] and the decoders [M, P, D], [M, P] that made it."""

  x: np.ndarray
  w: np.ndarray
  b: np.ndarray

  def log_likelihood_fn(self, z):
    loc = jnp.einsum('mpd,mnbd->mnbp', self.w, z) + self.b[:, None, None]
    squares = jnp.square((self.x[:, None] - loc) / SCALE)
    constant = gaussian.LOG_2PI + 2 * math.log(SCALE)
    return -0.5 * jnp.sum(squares + constant, axis=-1)

  def log_evidence(self):
    """log p(X) of every example, all modalities present."""
    w, b = np.concatenate(self.w), np.concatenate(self.b)
    covariance = w @ w.T + SCALE**2 * np.eye(len(w))
    x = np.concatenate(self.x, axis=-1)
    return scipy.stats.multivariate_normal(b, covariance).logpdf(x)

  def likelihoods_in_z(self) -> Gaussian:
    """p(x_m | z) as a Gaussian of z, of which products are exact."""
    squares = np.square(self.w).sum(1)[:, None]  # [M, 1, D]
    mean = np.einsum('mbp,mpd->mbd', self.x - self.b[:, None], self.w) / squares
    log_var = np.broadcast_to(np.log(SCALE**2 / squares), mean.shape)
    return Gaussian(mean.astype(np.float32), log_var.astype(np.float32))


def make_world(num_modalities=M, seed=0) -> World:
  rng = np.random.default_rng(seed)
  z = rng.normal(size=(B, D))
  w, x = [], []
  b = rng.normal(size=(num_modalities, P))
  for m in range(num_modalities):
    orthogonal, _ = np.linalg.qr(rng.normal(size=(P, P)))
    w.append(orthogonal[:, :D] * rng.uniform(0.7, 1.5, D))
    x.append(z @ w[m].T + b[m] + SCALE * rng.normal(size=(B, P)))
  return World(np.float32(x), np.float32(w), np.float32(b))


def make_experts(num_modalities=M, seed=1) -> Gaussian:
  rng = np.random.default_rng(seed)
  mean, log_var = rng.normal(size=(2, num_modalities, B, D)).astype(np.float32)
  return Gaussian(mean, 0.7 * log_var)


WORLD, EXPERTS = make_world(), make_experts()
NOISE = np.random.default_rng(2).normal(size=(B, D)).astype(np.float32)


def fix_noise(monkeypatch, noise):
  def sample(key, q):
    del key
    eps = jnp.broadcast_to(jnp.asarray(noise, q.mean.dtype), q.mean.shape)
    return q.mean + jnp.exp(0.5 * q.log_var) * eps

  monkeypatch.setattr(gaussian, 'sample', sample)


def doubled(tree):
  return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def with_garbage(experts, present=PRESENT):
  """NaN and infinity in the slots of absent modalities."""
  mask = present[..., None]
  return Gaussian(
    np.where(mask, experts.mean, np.nan).astype(np.float32),
    np.where(mask, experts.log_var, -np.inf).astype(np.float32),
  )


def elbo_fn(objective, **settings):
  """(key, experts, world, present) -> ElboTerms."""

  def terms(key, experts, world, present):
    return objectives.elbo(
      key,
      experts,
      world.log_likelihood_fn,
      objective=objective,
      present=present,
      **settings,
    )

  return terms


def assert_means(samples, expected):
  """Means over the first axis within five standard errors of `expected`."""
  samples = np.asarray(samples, np.float64)
  errors = samples.std(0) / math.sqrt(len(samples))
  excess = np.abs(samples.mean(0) - expected) - 5 * errors
  assert (excess <= 1e-5 * (1 + np.abs(expected))).all()


# Divergences in plain numpy.


def kl_between(mean_q, log_var_q, mean_p, log_var_p):
  terms = np.exp(log_var_q - log_var_p) - 1 - log_var_q + log_var_p
  terms += (mean_q - mean_p) ** 2 * np.exp(-log_var_p)
  return 0.5 * terms.sum(-1)


def kl_to_standard_normal(mean, log_var):
  return kl_between(mean, log_var, 0, 0 * log_var)
