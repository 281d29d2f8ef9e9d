"""What a run says of its results."""

import logging

import pytest

from mmjsd_jax import results


@pytest.mark.parametrize('num_judged', [1, 2])
def test_one_modality_agrees_with_itself_and_that_is_not_told(
  caplog, num_judged
):
  coherence = {
    'conditional': {'by_size': {'1': 0.5}},
    'joint': 1.0,
    'joint_chance': 10.0 ** (1 - num_judged),
  }
  with caplog.at_level(logging.INFO):
    results._tell({'metrics': {'coherence': coherence}})
  assert 'conditional coherence by number of inputs: 1: 0.500' in caplog.text
  assert ('joint coherence' in caplog.text) == (num_judged > 1)
