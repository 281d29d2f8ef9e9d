"""What a run says of its results."""

import logging

import pytest

from mmjsd_jax import results


@pytest.mark.parametrize(
  'joint', [{}, {'joint': 0.25, 'joint_chance': 0.1}], ids=['one', 'two']
)
def test_joint_coherence_is_told_where_it_was_measured(caplog, joint):
  coherence = {'conditional': {'by_size': {'1': 0.5}}, **joint}
  with caplog.at_level(logging.INFO):
    results._tell({'metrics': {'coherence': coherence}})
  assert 'conditional coherence by number of inputs: 1: 0.500' in caplog.text
  said = 'joint coherence 0.2500 (chance 0.1000)'
  assert (said in caplog.text) == bool(joint)
