"""Layers that codec and priors share."""
