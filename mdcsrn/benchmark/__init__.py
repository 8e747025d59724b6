"""Measure backends and the whole network on this machine."""
