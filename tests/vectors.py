"""Golden cases of the maths, each at its own tolerances in both precisions.

The original set of cases is used where it is present, beside the data folder;
else golden/vectors.json, a copy of the cases that concern this package.
"""

import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

_TESTS = pathlib.Path(__file__).resolve().parent
COPY = _TESTS / 'golden' / 'vectors.json'
_DATA = os.environ.get('MMJSD_DATA_DIR', _TESTS.parent.parent / 'shared/data')
ORIGINAL = pathlib.Path(_DATA).parent / 'reference' / 'vectors.json'

# For small programs that run once: compiling is all the time that they take.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)


class Case(NamedTuple):
  name: str
  precision: str  # 'f32' or 'f64'
  inputs: dict[str, Any]
  expected: dict[str, Any]
  tolerance: dict[str, Any]

  def array(self, name: str) -> jax.Array:
    """An input in the case's precision; call it inside `run` alone."""
    value = np.asarray(self.inputs[name])
    if value.dtype == float:
      value = value.astype(self.dtype)
    return jnp.asarray(value)

  @property
  def dtype(self) -> np.dtype:
    return np.dtype({'f32': 'float32', 'f64': 'float64'}[self.precision])

  def run(self, fn: Callable, *names: str) -> Any:
    """`fn` of the named inputs, compiled, in the case's precision."""
    with jax.enable_x64(self.precision == 'f64'):
      result = jit(fn)(*(self.array(name) for name in names))
      return jax.tree.map(np.asarray, result)

  def check(self, actual, expected, tier: str | None = None) -> None:
    """Equal within the tolerance of the precision, or of another tier."""
    if isinstance(expected, str):
      expected = self.expected[expected]
    actual = np.asarray(actual)
    assert actual.dtype == self.dtype, 'computed in another precision'
    tolerance = self.tolerance[tier or self.precision]
    np.testing.assert_allclose(actual, expected, **tolerance)


def load() -> dict[str, list[dict[str, Any]]]:
  path = ORIGINAL if ORIGINAL.exists() else COPY
  return json.loads(path.read_text())


def cases(kind: str, precisions: tuple[str, ...] | None = None):
  """Parametrises a test over the `case`s of a kind, in each precision.

  Args:
    kind: key in the file.
    precisions: None means those that a case has a tolerance for.
  """
  found = [
    Case(
      case['name'],
      precision,
      case['inputs'],
      case['expected'],
      case['tolerance'],
    )
    for case in load()[kind]
    for precision in precisions or ('f32', 'f64')
    if precisions or precision in case['tolerance']
  ]
  ids = [f'{case.name}-{case.precision}' for case in found]
  return pytest.mark.parametrize('case', found, ids=ids)
