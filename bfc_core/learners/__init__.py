"""Learners: networks with named, ordered layers, trained as stacks. Importing this room registers their deeds."""

from bfc_core.learners import mlp, quadratic_densenet, tree_convnet

__all__ = ["mlp", "quadratic_densenet", "tree_convnet"]
