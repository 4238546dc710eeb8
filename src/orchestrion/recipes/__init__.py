"""Data sets that can be had for nothing, each ready to train on."""
