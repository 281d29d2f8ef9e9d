"""What networks in bfloat16 do to the ELBO of trained models.

  python benchmarks/bfloat16.py runs/celeba runs/celeba-bfloat16

The ELBO of test examples, likelihoods unweighted and beta 1, with the same
draws in float32 and in bfloat16: its mean, and mean and standard deviation of
the change, in nats per example. Models that were trained in one precision or
the other stand beside each other.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import mmjsd_jax
from mmjsd_jax import job as jobs


def elbos(model, params, split, batch_size):
  """Of complete examples, in nats. Shape [N]."""

  @jax.jit
  def of_batch(key, inputs):
    return model.elbo(key, params, model.access(key, inputs)).objective

  return np.concatenate(
    [
      of_batch(
        jax.random.fold_in(jax.random.key(0), start),
        jax.tree.map(
          jnp.asarray,
          split.take(np.arange(start, start + batch_size)).inputs,
        ),
      )
      for start in range(0, len(split.labels) - batch_size + 1, batch_size)
    ]
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdirs', nargs='+', type=pathlib.Path)
  parser.add_argument('--examples', type=int, default=512)
  parser.add_argument('--batch-size', type=int, default=64)
  options = parser.parse_args()
  for workdir in options.workdirs:
    trained = mmjsd_jax.load(workdir)
    job = jobs.prepare(trained.config, workdir, mode='evaluate', command='')
    test = job.dataset.test
    split = test.keep(np.arange(min(options.examples, test.num_examples)))
    exact, rounded = (
      elbos(
        trained.model._replace(compute_dtype=dtype),
        trained.params,
        split,
        options.batch_size,
      )
      for dtype in ('float32', 'bfloat16')
    )
    change = rounded - exact
    print(
      f'{workdir}: trained in {trained.config.train.compute_dtype}, step '
      f'{trained.step}: {exact.mean():.1f} nats in float32; bfloat16 adds '
      f'{change.mean():.2f}, s.d. {change.std():.2f}, over '
      f'{len(exact)} examples'
    )


if __name__ == '__main__':
  main()
