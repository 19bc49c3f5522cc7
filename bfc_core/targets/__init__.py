"""Targets: teachers with known features. Importing this room registers their deeds."""

from bfc_core.targets import hierarchical, monomials, multi_index, random_hierarchy

__all__ = ["hierarchical", "monomials", "multi_index", "random_hierarchy"]
