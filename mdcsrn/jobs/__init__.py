"""Restore one scan from its file to its result files: check outputs, predict, write, report."""
