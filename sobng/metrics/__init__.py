"""Metrics: inner products of functions, pulled back to the parameters."""
