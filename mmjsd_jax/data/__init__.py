"""Data sets: where their files are found and how tuples are made of them.

NumPy only. Nothing here imports JAX; Pillow, scikit-learn and TensorFlow
Datasets are imported inside the functions that need them, and TensorFlow never.
"""
