"""Checkpoints of a run: parameters, optimiser, step; the newest and the best.

Saved by Orbax in the background, read back bit by bit. The step number is the
whole state of the data, so nothing else is stored but the time spent.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers


class Checkpoints:
  """The checkpoints of one workdir."""

  def __init__(self, workdir: pathlib.Path, *, keep: int = 2):
    """Opens, and where missing makes, `workdir`/checkpoints.

    Args:
      workdir: the run's folder.
      keep: how many of the newest stay; the one with the lowest loss stays
        besides.
    """
    policies = [
      checkpoint_managers.LatestN(n=keep),
      checkpoint_managers.BestN(
        get_metric_fn=lambda metrics: -metrics['loss'],
        n=1,
        keep_checkpoints_without_metrics=False,
      ),
    ]
    self._manager = ocp.CheckpointManager(
      (workdir / 'checkpoints').absolute(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        best_fn=lambda metrics: metrics['loss'],
        best_mode='min',
      ),
    )

  def save(self, state: Any, *, seconds: float, loss: float) -> None:
    """Starts to save `state` under its step; returns before it is written."""
    # Own buffers: the caller's are donated to the next step while this writes.
    state = jax.tree.map(jnp.copy, state)
    self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        progress=ocp.args.JsonSave({'seconds': seconds}),
      ),
      metrics={'loss': loss},
    )

  def latest_step(self) -> int | None:
    """The newest step, or None if nothing is saved."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """The step of the lowest loss, or None if nothing is saved."""
    return self._manager.best_step()

  def restore(self, like: Any, step: int) -> tuple[Any, float]:
    """The state at `step`, in the shardings of `like`, and seconds spent."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract),
        progress=ocp.args.JsonRestore(),
      ),
    )
    return restored['state'], restored['progress']['seconds']

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and lets go of the folder."""
    self._manager.close()
