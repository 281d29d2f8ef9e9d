"""Metrics on a trained model, one file each."""
