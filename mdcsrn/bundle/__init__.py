"""Bundles as goods: what there is, whether one may be trusted, one that can be carried away, and other forms of it."""
