"""How coherent text is when the digit is known and the word's place is not.

  python docs/text_ceiling.py

Without modality-specific latents an image says nothing of where the word
starts: the best p(text | z) of factorised characters is the mean of the word at
all its starts. The text classifier judges that mean's likeliest characters,
with ties broken at random, and draws of it (README, Deviations).
"""

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax.data import mnist_svhn_text
from mmjsd_jax.data.text import WORDS, encode
from mmjsd_jax.evaluation.classifiers import train_classifiers
from mmjsd_jax.evaluation.judges import predict
from mmjsd_jax.modalities import text

_NUM_DRAWS = 2000


def mean_texts() -> np.ndarray:
  """Every word, averaged over its starts. Shape [10, 8, 71]."""
  codes = jnp.asarray(np.repeat(encode(WORDS, text.LENGTH), _NUM_DRAWS, axis=0))
  placed = text.to_float(text.place(jax.random.key(0), codes))
  return np.asarray(
    placed.reshape(len(WORDS), _NUM_DRAWS, *placed.shape[1:])
  ).mean(axis=1)


def main() -> None:
  """Prints both coherences."""
  dataset = mnist_svhn_text.load(digits='embedded')
  words = dataset._replace(
    modalities=('text',),
    train=dataset.train.only(('text',)),
    test=dataset.test.only(('text',)),
  )
  params = train_classifiers(jax.random.key(0), words).params['text']
  # One symbol's share differs from another's by the draws alone where they tie.
  means = mean_texts()
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(len(WORDS)), _NUM_DRAWS)
  many = np.repeat(means, _NUM_DRAWS, axis=0)
  noise = 0.03 * rng.random(many.shape, np.float32) * (many > 0)
  likeliest = np.argmax(many + noise, axis=-1)
  drawn = jax.random.categorical(jax.random.key(1), jnp.log(many))
  for name, codes in (('likeliest characters', likeliest), ('draws', drawn)):
    seen = np.asarray(
      jnp.argmax(predict(params, text.to_float(jnp.asarray(codes))), axis=-1)
    )
    print(f'{name}: {np.mean(seen == labels):.3f}')


if __name__ == '__main__':
  main()
