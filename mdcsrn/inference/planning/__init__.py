"""Decide what to restore: task, plan, model, trained range, slice axis, head region."""
