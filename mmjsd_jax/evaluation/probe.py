"""Linear probe: how well a linear classifier reads the class off the latent.

The protocol of MoPoE (ICLR 2021), Sec. 4: scikit-learn's logistic regression
(L2 penalty with C = 1, lbfgs, at most 1,000 iterations) on the posterior means
of 500 training examples, for every subset of the modalities. mmJSD, supplement
C.2.1, speaks of "no regularization"; the released code has the same C = 1.

Legend: N examples, S subsets, M modalities, D shared latent.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np
import threadpoolctl
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mmjsd_jax import hosts, mixture
from mmjsd_jax.evaluation import chunks
from mmjsd_jax.model import Model, Posteriors

# Scores of the test examples are averaged over batches of this size in the
# released code.
RELEASED_BATCH_SIZE = 256
_T = TypeVar('_T')


class Probe(NamedTuple):
  """A fitted probe's result.

  Attributes:
    accuracy: on the test examples, in [0, 1]; None where there are none, or
      not two classes to learn.
    converged: False where lbfgs stopped at the limit of iterations.
    num_train: training examples.
    num_test: test examples.
  """

  accuracy: float | None
  converged: bool
  num_train: int
  num_test: int


class FactorProbes(NamedTuple):
  """Fitted probes of F factors, all of the same features.

  Attributes:
    values: by the metric of the factors, NaN where there is none. Shape [F].
    num_not_converged: fits that stopped at the limit of iterations.
    num_train: training examples.
    num_test: test examples.
  """

  values: np.ndarray
  num_not_converged: int
  num_train: int
  num_test: int


class Fit(NamedTuple):
  """What a logistic regression says of N' test examples.

  Attributes:
    predicted: their classes. Shape [N'].
    scores: log-odds of the second of two classes, [N'], or one score for each
      of more, [N', C].
    converged: False where lbfgs stopped at the limit of iterations.
  """

  predicted: np.ndarray
  scores: np.ndarray
  converged: bool


def probe_accuracy(
  train_features: np.ndarray,
  train_labels: np.ndarray,
  test_features: np.ndarray,
  test_labels: np.ndarray,
  *,
  inverse_penalty: float = 1.0,
  max_iterations: int = 1000,
  as_released: bool = False,
) -> Probe:
  """Test accuracy of a logistic regression on the training features.

  Differs from the released code in that features are standardised (with the
  training rows' mean and standard deviation), so that the penalty means the
  same for every model whatever the scale of its latents.

  Args:
    train_features: Shape [N, D].
    train_labels: Shape [N].
    test_features: Shape [N', D].
    test_labels: Shape [N'].
    inverse_penalty: scikit-learn's C.
    max_iterations: limit of lbfgs.
    as_released: features as they are, and the accuracy averaged over full
      test batches of 256 (or of N', where that is less); the rest is unused.

  Raises:
    ValueError: features and labels that do not fit together.
  """
  for name, features, labels in (
    ('train', train_features, train_labels),
    ('test', test_features, test_labels),
  ):
    if features.ndim != 2 or labels.shape != features.shape[:1]:
      raise ValueError(
        f'{name} features must have shape [N, D] and labels [N]; got '
        f'{features.shape} and {labels.shape}'
      )
  counts = len(train_labels), len(test_labels)
  if not test_labels.size or len(np.unique(train_labels)) < 2:
    return Probe(None, True, *counts)
  found = fit(
    train_features,
    train_labels,
    test_features,
    inverse_penalty=inverse_penalty,
    max_iterations=max_iterations,
    standardise=not as_released,
  )
  correct = found.predicted == test_labels
  if as_released:
    correct = correct[np.concatenate(released_batches(len(correct)))]
  return Probe(float(np.mean(correct)), found.converged, *counts)


def fit(
  train_features: np.ndarray,
  train_labels: np.ndarray,
  test_features: np.ndarray,
  *,
  inverse_penalty: float = 1.0,
  max_iterations: int = 1000,
  standardise: bool = True,
) -> Fit:
  """What a logistic regression learns from the training features.

  Args:
    train_features: Shape [N, D].
    train_labels: of two classes at least. Shape [N].
    test_features: Shape [N', D], N' at least 1.
    inverse_penalty: scikit-learn's C.
    max_iterations: limit of lbfgs.
    standardise: features, with the training rows' mean and deviation.
  """
  if standardise:
    scaler = StandardScaler().fit(train_features)
    train_features = scaler.transform(train_features)
    test_features = scaler.transform(test_features)
  classifier = LogisticRegression(C=inverse_penalty, max_iter=max_iterations)
  converged = True
  # One BLAS thread: on these small matrices more only wait for one another
  # (100 times slower where other work shares the cores).
  with (
    threadpoolctl.threadpool_limits(1),
    warnings.catch_warnings(record=True) as caught,
  ):
    warnings.simplefilter('always')
    classifier.fit(train_features, train_labels)
    predicted = classifier.predict(test_features)
    scores = classifier.decision_function(test_features)
  for warning in caught:
    if issubclass(warning.category, ConvergenceWarning):
      converged = False
    else:
      warnings.warn_explicit(
        warning.message, warning.category, warning.filename, warning.lineno
      )
  return Fit(predicted, scores, converged)


def released_batches(num_test: int) -> list[np.ndarray]:
  """Test rows by full batches of 256, or of all where there are fewer.

  The rest is left out, as in the released code.
  """
  size = max(min(RELEASED_BATCH_SIZE, num_test), 1)
  return [np.arange(n, n + size) for n in range(0, num_test - size + 1, size)]


def probe_subsets(
  key: jax.Array,
  model: Model,
  posteriors: Posteriors,
  labels: np.ndarray,
  test_posteriors: Posteriors,
  test_labels: np.ndarray,
  subsets: np.ndarray,
  *,
  sizes: Sequence[int],
  counted: tuple[np.ndarray, np.ndarray] | None = None,
  probe_fn: Callable[..., _T] = probe_accuracy,  # type: ignore[assignment]
  sampling: str = 'stratified',
  as_released: bool = False,
  progress: Callable[[int, int], None] | None = None,
) -> dict[int, list[_T]]:
  """A probe for every subset and size of training set.

  Args:
    key: PRNG key, consumed.
    model: whose rule makes the subsets' posteriors.
    posteriors: unimodal ones of N training examples.
    labels: as `probe_fn` takes them. Shape [N, ...].
    test_posteriors: of N' test examples.
    test_labels: Shape [N', ...].
    subsets: membership rows. Bool, shape [S, M].
    sizes: how many of the first training examples a probe learns from.
    counted: which training and which test examples count for every subset,
      bool [S, N] and [S, N']; None is all.
    probe_fn: learns and tests, with the arguments of `probe_accuracy`.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    as_released: for `probe_fn`.
    progress: called with (subsets done, subsets in all).

  Returns:
    Size -> one result per subset.
  """
  found: dict[int, list[_T]] = {size: [] for size in sizes}
  for number, row in enumerate(subsets):
    key_train, key_test = jax.random.split(jax.random.fold_in(key, number))
    features = subset_means(key_train, model, posteriors, row, method=sampling)
    test_features = subset_means(
      key_test, model, test_posteriors, row, method=sampling
    )
    learned, tested = (
      (slice(None), slice(None))
      if counted is None
      else (counted[0][number], counted[1][number])
    )
    for size in sizes:
      found[size].append(
        probe_fn(
          features[learned][:size],
          labels[learned][:size],
          test_features[tested],
          test_labels[tested],
          as_released=as_released,
        )
      )
    if progress is not None:
      progress(number + 1, len(subsets))
  return found


def subset_means(
  key: jax.Array,
  model: Model,
  posteriors: Posteriors,
  row: np.ndarray,
  *,
  method: str = 'stratified',
  chunk_size: int = 256,
) -> np.ndarray:
  """Means of q(z | x_subset), the probe's features. Shape [N, D].

  Where the posterior is a mixture, every example has the mean of one component
  drawn for it, stratified over a chunk, as the authors' code does; not the
  mean of the mixture.

  Args:
    key: PRNG key, consumed.
    model: whose rule makes the subset's posterior.
    posteriors: unimodal ones of N examples.
    row: which modalities are in the subset. Bool, shape [M].
    method: how components are drawn, one of `mixture.SAMPLING_METHODS`.
    chunk_size: examples per call.
  """
  num_examples = posteriors.shared.mean.shape[1]
  parts = []
  for number, chunk in enumerate(
    chunks.padded_chunks(num_examples, min(chunk_size, num_examples))
  ):
    batch = chunks.put(posteriors.take(chunk.rows), axis=1)
    key_chunk = jax.random.fold_in(key, number)
    means = _selected_mean(key_chunk, model, batch, row, method=method)
    parts.append(hosts.fetch(means)[: chunk.num_valid])
  return np.concatenate(parts)


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def _selected_mean(
  key: jax.Array,
  model: Model,
  posteriors: Posteriors,
  row: jax.Array,
  *,
  method: str,
) -> jax.Array:
  """Mean [B, D] of the component drawn for each example."""
  posterior = model.subset_posterior(posteriors, row)
  return mixture.select(key, posterior, method=method).mean
