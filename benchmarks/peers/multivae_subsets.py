"""MultiVae's MoPoE on experts that are parameters; ../subsets.py starts it.

  python multivae_subsets.py NUM_MODALITIES BATCH_SIZE LATENT_DIM

Every line on standard input asks for one loss and gradient; the answer is a
line with the CPU seconds that it took and the MiB by which the process's peak
memory has grown since the start.
"""

import resource
import sys
import time

import missing_operators  # noqa: F401
import torch
from multivae.data.datasets.base import MultimodalBaseDataset
from multivae.models import MoPoE, MoPoEConfig
from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput


class Encoder(BaseEncoder):
  """Gives the same posteriors whatever the input."""

  def __init__(self, batch_size, latent_dim):
    super().__init__()
    self.latent_dim = latent_dim
    self.mean = torch.nn.Parameter(torch.randn(batch_size, latent_dim))
    self.log_var = torch.nn.Parameter(torch.randn(batch_size, latent_dim))

  def forward(self, x):  # noqa: D102
    del x
    return ModelOutput(embedding=self.mean, log_covariance=self.log_var)


class Decoder(BaseDecoder):
  """The first latent."""

  def __init__(self, latent_dim):
    super().__init__()
    self.latent_dim = latent_dim

  def forward(self, z):  # noqa: D102
    return ModelOutput(reconstruction=z[:, :1])


def peak():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
  num_modalities, batch_size, latent_dim = map(int, sys.argv[1:])
  torch.set_num_threads(1)
  names = [f'm{index}' for index in range(num_modalities)]
  model = MoPoE(
    MoPoEConfig(
      n_modalities=num_modalities,
      latent_dim=latent_dim,
      input_dims=dict.fromkeys(names, (1,)),
    ),
    encoders={name: Encoder(batch_size, latent_dim) for name in names},
    decoders={name: Decoder(latent_dim) for name in names},
  )
  inputs = MultimodalBaseDataset(
    data={name: torch.zeros(batch_size, 1) for name in names}
  )
  before = peak()
  for _ in sys.stdin:
    model.zero_grad()
    start = time.process_time()
    model(inputs).loss.backward()
    elapsed = time.process_time() - start
    print(elapsed, peak() - before, flush=True)


if __name__ == '__main__':
  main()
