"""Multimodal variational autoencoders in JAX: mmJSD, MoPoE and their kin.

`load` is there; all else is imported from its module by name, so that `import
mmjsd_jax.objectives` loads JAX and none of the training machinery.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mmjsd_jax.trained import load as load

__version__ = '0.1.0'


def __getattr__(name: str) -> object:
  if name == 'load':
    from mmjsd_jax import trained

    return trained.load
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
