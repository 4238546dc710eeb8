"""Judging a model: its codec, its priors, its songs, and how much of them it only remembers."""
