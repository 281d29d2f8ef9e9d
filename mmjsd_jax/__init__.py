"""Multimodal variational autoencoders in JAX: mmJSD, MoPoE and their kin.

Nothing is imported here, so that `import mmjsd_jax.objectives` loads JAX and
none of the training machinery. Import the modules by name.
"""

__version__ = '0.1.0'
