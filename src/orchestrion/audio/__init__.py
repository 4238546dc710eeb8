"""Waveforms: reading and writing audio files, and changing channels and rates."""
