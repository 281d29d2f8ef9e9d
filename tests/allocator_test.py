"""Tests of the allocator settings."""

import os
import platform
import subprocess
import sys

import pytest

from mmjsd_jax.allocator import configure_allocator

PROGRAM = (
  'from mmjsd_jax.allocator import configure_allocator\n'
  'print(configure_allocator())\n'
)


def run(**environment):
  """Result of configure_allocator in a process of its own."""
  result = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return result.stdout.strip()


@pytest.mark.skipif(
  platform.libc_ver()[0] != 'glibc', reason="The settings are glibc's."
)
def test_glibc_takes_the_settings():
  assert run(MMJSD_JAX_MALLOC='1') == 'True'


def test_the_environment_can_say_no():
  assert run(MMJSD_JAX_MALLOC='0') == 'False'


def test_other_systems_are_left_alone(monkeypatch):
  monkeypatch.setattr(sys, 'platform', 'darwin')
  assert configure_allocator() is False
