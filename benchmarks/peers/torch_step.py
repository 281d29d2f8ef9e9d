"""Training steps in PyTorch, for benchmarks/train_step.py to compare with.

Needs an environment of its own with torch, and multivae for that rival. The
papers' networks (MoPoE, mmJSD: as their code has them), random pixels that lie
in memory as bytes, Adam. The objectives are written as a PyTorch user would for
speed: all subsets in one product, one cut of the batch per component.

Legend: M modalities, B batch, D latents, S mixture components, K draws.
"""

import argparse
import functools
import itertools
import math
import os

import torch
from child import serve
from torch import nn
from torch.nn import functional as F

SCALE = 0.75
BETA = 2.5
NUM_EXAMPLES = 2560


class Encoder(nn.Module):
  """A body, and heads for mean and log-variance."""

  def __init__(self, body, num_features, latent_dim):
    super().__init__()
    self.body = body
    self.mean = nn.Linear(num_features, latent_dim)
    self.log_var = nn.Linear(num_features, latent_dim)

  def forward(self, x):
    """Of the images or texts x."""
    h = self.body(x)
    return self.mean(h), self.log_var(h)


def layers_of(layers, make, last_relu=True):
  """nn.Sequential of `make(*layer)`, with ReLUs between."""
  modules = []
  for layer in layers:
    modules += [make(*layer), nn.ReLU()]
  return modules if last_relu else modules[:-1]


def colour_images(latent_dim, num_features, down, dense, up, smallest):
  """Convolutions down, dense layers, and convolutions up from `smallest`."""
  encoder = nn.Sequential(
    *layers_of(down, nn.Conv2d),
    nn.Flatten(),
    *layers_of(dense, nn.Linear),
  )
  decoder = nn.Sequential(
    nn.Linear(latent_dim, math.prod(smallest)),
    nn.ReLU(),
    nn.Unflatten(1, smallest),
    *layers_of(up, nn.ConvTranspose2d, last_relu=False),
  )
  return Encoder(encoder, num_features, latent_dim), decoder


def polymnist(latent_dim):
  down = [(3, 32, 3, 2, 1), (32, 64, 3, 2, 1), (64, 128, 3, 2, 1)]
  up = [(128, 64, 3, 2, 1, 0), (64, 32, 3, 2, 1, 1), (32, 3, 3, 2, 1, 1)]
  return colour_images(latent_dim, 512, down, [(2048, 512)], up, (128, 4, 4))


def mnist(latent_dim):
  encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
  decoder = nn.Sequential(
    nn.Linear(latent_dim, 400),
    nn.ReLU(),
    nn.Linear(400, 784),
    nn.Sigmoid(),
    nn.Unflatten(1, (1, 28, 28)),
  )
  return Encoder(encoder, 400, latent_dim), decoder


def svhn(latent_dim):
  down = [(3, 32, 4, 2, 1), (32, 64, 4, 2, 1), (64, 64, 4, 2, 1)]
  down += [(64, 128, 4, 2, 0)]
  up = [(128, 64, 4, 1, 0), (64, 64, 4, 2, 1), (64, 32, 4, 2, 1)]
  up += [(32, 3, 4, 2, 1)]
  return colour_images(latent_dim, 128, down, [], up, (128, 1, 1))


def text(latent_dim):
  down = [(71, 128, 1, 1, 0), (128, 128, 4, 2, 1), (128, 128, 4, 2, 0)]
  up = [(128, 128, 4, 1, 0), (128, 128, 4, 2, 1)]
  encoder = nn.Sequential(*layers_of(down, nn.Conv1d), nn.Flatten())
  decoder = nn.Sequential(
    nn.Linear(latent_dim, 128),
    nn.Unflatten(1, (128, 1)),
    *layers_of(up, nn.ConvTranspose1d),
    nn.Conv1d(128, 71, 1),
  )
  return Encoder(encoder, 128, latent_dim), decoder


class Residual(nn.Module):
  """2 times a shortcut plus 0.3 times a branch, of images or sequences."""

  def __init__(self, dims, num_in, num_out, stride, padding, *, up=False):
    super().__init__()
    conv = getattr(nn, f'Conv{"Transpose" * up}{dims}d')
    norm = getattr(nn, f'BatchNorm{dims}d')
    drop = {1: nn.Dropout, 2: nn.Dropout2d}[dims]
    has_bias = dims == 1
    self.branch = nn.Sequential(
      norm(num_in),
      nn.ReLU(),
      conv(num_in, num_in, 1, bias=has_bias),
      drop(0.5),
      norm(num_in),
      nn.ReLU(),
      conv(num_in, num_out, 4, stride, padding, bias=has_bias),
      drop(0.5),
    )
    self.shortcut = nn.Sequential(
      conv(num_in, num_out, 4, stride, padding), norm(num_out)
    )

  def forward(self, x):
    """Of x [B, C, ...]."""
    return 2 * self.shortcut(x) + 0.3 * self.branch(x)


def residual(latent_dim, dims, first, channels, last):
  """CelebA's networks: blocks from `first` down to one position, and back."""
  pairs = list(itertools.pairwise(channels))
  paddings = [1] * (len(pairs) - 1) + [0]
  down = [
    Residual(dims, *pair, 2, padding)
    for pair, padding in zip(pairs, paddings, strict=True)
  ]
  up = [
    Residual(dims, num_out, num_in, 1 if padding == 0 else 2, padding, up=True)
    for (num_in, num_out), padding in zip(pairs, paddings, strict=True)
  ]
  decoder = nn.Sequential(
    nn.Linear(latent_dim, channels[-1]),
    nn.Unflatten(1, (channels[-1], *[1] * dims)),
    *reversed(up),
    last,
  )
  body = nn.Sequential(first, *down, nn.Flatten())
  return Encoder(body, channels[-1], latent_dim), decoder


def celeba_image(latent_dim):
  first = nn.Conv2d(3, 128, 3, 2, 1, bias=False)
  last = nn.ConvTranspose2d(128, 3, 3, 2, 1, 1)
  return residual(latent_dim, 2, first, (128, 256, 384, 512, 640), last)


def celeba_text(latent_dim):
  first = nn.Conv1d(71, 128, 4, 2, 1)
  last = nn.ConvTranspose1d(128, 71, 4, 2, 1)
  channels = (128, 256, 384, 512, 640, 640, 640)
  return residual(latent_dim, 1, first, channels, last)


# Data set -> latents, and of every modality: networks, shape, weight.
DATASETS = {
  'polymnist': (512, [(polymnist, (3, 28, 28), 1.0)] * 5),
  'mnist_svhn_text': (
    20,
    [
      (mnist, (1, 28, 28), 3072 / 784),
      (svhn, (3, 32, 32), 1.0),
      (text, (8,), 3072 / 8),
    ],
  ),
  # The latents of a modality alone, 32, are among those that are shared here.
  'celeba': (
    64,
    [(celeba_image, (3, 64, 64), 1.0), (celeba_text, (256,), 48.0)],
  ),
}


def to_float(x):
  if x.ndim == 2:
    return F.one_hot(x.long(), 71).movedim(-1, 1).float()
  return x.float() / 255


def log_likelihood(x, decoded):
  """x [B, ...] and decoded [N B, ...] to [N, B], without constants."""
  decoded = decoded.float().unflatten(0, (-1, len(x)))
  if x.ndim == 3:  # text: symbols along axis 2 of [N, B, 71, 8]
    return (x * F.log_softmax(decoded, 2)).flatten(2).sum(2)
  return -(x - decoded).abs().flatten(2).sum(2) / SCALE


def kl(mean, log_var):
  return 0.5 * (log_var.exp() - 1 - log_var + mean.square()).sum(-1)


def draw(mean, log_var):
  return mean + (0.5 * log_var).exp() * torch.randn_like(mean)


def product(table, prior, mean, log_var):
  """Products of experts [S, B, D]: table [S, M], prior experts [S]."""
  shape = (len(table), *mean.shape[1:])
  precision = (-log_var).exp()
  shift = (table @ (precision * mean).flatten(1)).view(shape)
  total = (table @ precision.flatten(1)).view(shape) + prior[:, None, None]
  return shift / total, -total.log()


def cut(mean, log_var):
  """Of every example the component that its place in the batch gives."""
  num_components, batch = mean.shape[:2]
  index = torch.arange(batch) * num_components // batch
  return mean[index, torch.arange(batch)], log_var[index, torch.arange(batch)]


def geometric_js(mean, log_var):
  """Of the experts and N(0, I), with equal weights. [B]."""
  mean = torch.cat([mean, torch.zeros_like(mean[:1])])
  log_var = torch.cat([log_var, torch.zeros_like(log_var[:1])])
  precision = (-log_var).exp()
  total = precision.mean(0)
  centre = (precision * mean).mean(0) / total
  terms = log_var.exp() * total - 1 - log_var - total.log()
  return 0.5 * (terms + (mean - centre).square() * total).sum(-1).mean(0)


class Step:
  """The loss of one preset, of a batch of stored examples."""

  def __init__(self, preset, networks, weights):
    self.preset = preset
    self.encoders = [encoder for encoder, _ in networks]
    self.decoders = [decoder for _, decoder in networks]
    self.weights = torch.tensor(weights)
    rows = list(itertools.product((0.0, 1.0), repeat=len(networks)))[1:]
    self.table = torch.tensor(rows)
    self.full = self.table.min(1).values

  def loss(self, batch):
    """The mean negative objective."""
    xs = [to_float(x) for x in batch]
    pairs = [net(x) for net, x in zip(self.encoders, xs, strict=True)]
    mean = torch.stack([m for m, _ in pairs]).float()
    log_var = torch.stack([v for _, v in pairs]).float()
    if self.preset == 'mmvae_dreg':
      return self._dreg(xs, mean, log_var)
    if self.preset in ('mvae', 'mmpoe'):
      return self._product(xs, mean, log_var)
    components = mean, log_var
    if self.preset.startswith('mopoe'):
      components = product(self.table, self.full, mean, log_var)
    if self.preset == 'mopoe_eq5':
      z = draw(*components)  # [S, B, D]
    else:
      z = draw(*cut(*components))[None]
    if self.preset == 'mmjsd':
      regulariser = geometric_js(mean, log_var)
    else:
      regulariser = kl(*components).mean(0)
    decoded = self._log_likelihoods(xs, [z] * len(xs)).mean(1)
    return (BETA * regulariser - self.weights @ decoded).mean()

  def _product(self, xs, mean, log_var):
    """The joint ELBO and every unimodal one; 'mmpoe' decodes only those."""
    ones = torch.ones(1, len(xs))
    prior = torch.full((1,), float(self.preset == 'mvae'))
    joint = product(ones, prior, mean, log_var)
    own = mean, log_var
    if self.preset == 'mvae':
      own = product(torch.eye(len(xs)), torch.ones(len(xs)), mean, log_var)
    own_z = draw(*own)[:, None]  # [M, 1, B, D]
    zs = own_z
    if self.preset == 'mvae':
      z = draw(*joint)[None].expand(len(xs), -1, -1, -1)
      zs = torch.cat([z, own_z], 1)
    decoded = self._log_likelihoods(xs, zs).sum(1)
    regulariser = kl(*joint)[0] + kl(*own).sum(0)
    return (BETA * regulariser - self.weights @ decoded).mean()

  def _dreg(self, xs, mean, log_var, num_draws=30):
    q = mean[:, None].expand(-1, num_draws, -1, -1), log_var[:, None]
    z = draw(*q)  # [M, K, B, D]
    m, v = mean.detach(), log_var.detach()
    densities = torch.stack(
      [
        -0.5 * (v[i] + (z - m[i]).square() / v[i].exp()).sum(-1)
        for i in range(len(xs))
      ]
    )
    ratio = densities.logsumexp(0) - math.log(len(xs))
    ratio = ratio + 0.5 * z.square().sum(-1)  # the normalisers cancel
    decoded = self._log_likelihoods(xs, [z.flatten(0, 1)] * len(xs))
    value = torch.tensordot(self.weights, decoded, 1)
    value = value.view(ratio.shape) - BETA * ratio  # [M, K, B]
    share = value.detach().softmax(1)
    z.register_hook(lambda grad: grad * share[..., None])
    return -(share * value).sum(1).mean()

  def _log_likelihoods(self, xs, zs):
    """zs: latents [N, B, D] of every modality. Shape [M, N, B]."""
    return torch.stack(
      [
        log_likelihood(x, decoder(z.flatten(0, 1)))
        for x, decoder, z in zip(xs, self.decoders, zs, strict=True)
      ]
    )


def multivae_loss(preset, networks, weights, shapes, latent_dim):
  """batch -> loss of MultiVae's model with the same networks."""
  import missing_operators  # noqa: F401
  from multivae import models
  from multivae.data.datasets.base import MultimodalBaseDataset
  from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput

  class TheirEncoder(BaseEncoder):
    def __init__(self, net):
      BaseEncoder.__init__(self)
      self.net, self.latent_dim = net, latent_dim

    def forward(self, x):
      mean, log_var = self.net(x.mT if x.ndim == 3 else x)
      return ModelOutput(embedding=mean, log_covariance=log_var)

  class TheirDecoder(BaseDecoder):
    def __init__(self, net):
      BaseDecoder.__init__(self)
      self.net, self.latent_dim = net, latent_dim

    def forward(self, z):
      decoded = self.net(z.reshape(-1, latent_dim))
      decoded = decoded.mT if decoded.ndim == 3 else decoded
      return ModelOutput(
        reconstruction=decoded.reshape(*z.shape[:-1], *decoded.shape[1:])
      )

  names = [f'm{index}' for index in range(len(networks))]
  is_text = [len(shape) == 1 for shape in shapes]
  kind, changes = {
    'mopoe': ('MoPoE', {'beta': BETA}),
    'mvae': ('MVAE', {'beta': BETA, 'warmup': 0}),
    'mmvae': ('MMVAE', {'K': 1}),
    'mmvae_dreg': ('MMVAE', {'K': 30}),
  }[preset]
  if kind == 'MMVAE':
    changes |= {'prior_and_posterior_dist': 'normal', 'learn_prior': False}
  config = getattr(models, f'{kind}Config')(
    n_modalities=len(names),
    latent_dim=latent_dim,
    input_dims={
      name: (*shape, 71) if text else shape
      for name, shape, text in zip(names, shapes, is_text, strict=True)
    },
    decoders_dist={
      name: 'categorical' if text else 'laplace'
      for name, text in zip(names, is_text, strict=True)
    },
    decoder_dist_params={
      name: {'scale': SCALE}
      for name, text in zip(names, is_text, strict=True)
      if not text
    },
    uses_likelihood_rescaling=True,
    rescale_factors=dict(zip(names, weights, strict=True)),
    **changes,
  )
  model = getattr(models, kind)(
    config,
    {n: TheirEncoder(e) for n, (e, _) in zip(names, networks, strict=True)},
    {n: TheirDecoder(d) for n, (_, d) in zip(names, networks, strict=True)},
  )
  model.train()

  def loss(batch):
    xs = [to_float(x) for x in batch]
    data = {  # their categorical wants the symbols last
      name: x.mT if text else x
      for name, x, text in zip(names, xs, is_text, strict=True)
    }
    return model(MultimodalBaseDataset(data), epoch=1, batch_ratio=1.0).loss

  return loss


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--dataset', choices=DATASETS, required=True)
  parser.add_argument('--preset', required=True)
  parser.add_argument('--batch-size', type=int, required=True)
  parser.add_argument(
    '--rival', choices=('eager', 'compiled', 'multivae'), required=True
  )
  parser.add_argument('--bfloat16', action='store_true')
  options = parser.parse_args()
  torch.manual_seed(0)
  torch.set_num_threads(len(os.sched_getaffinity(0)))

  latent_dim, modalities = DATASETS[options.dataset]
  networks = [make(latent_dim) for make, *_ in modalities]
  shapes = [shape for _, shape, _ in modalities]
  weights = [weight for *_, weight in modalities]
  inputs = [
    torch.randint(256 if len(shape) > 1 else 71, (NUM_EXAMPLES, *shape)).byte()
    for shape in shapes
  ]
  if options.rival == 'multivae':
    loss_fn = multivae_loss(
      options.preset, networks, weights, shapes, latent_dim
    )
  else:
    loss_fn = Step(options.preset, networks, weights).loss
    if options.rival == 'compiled':
      loss_fn = torch.compile(loss_fn)
  params = nn.ModuleList(itertools.chain(*networks)).parameters()
  optimizer = torch.optim.Adam(params, lr=1e-3)
  autocast = functools.partial(
    torch.autocast, 'cpu', torch.bfloat16, enabled=options.bfloat16
  )

  def run_steps(num_steps):
    for _ in range(num_steps):
      rows = torch.randint(NUM_EXAMPLES, (options.batch_size,))
      optimizer.zero_grad()
      with autocast():
        loss = loss_fn([x[rows] for x in inputs])
      loss.backward()
      optimizer.step()
    loss.item()

  serve(run_steps)


if __name__ == '__main__':
  main()
