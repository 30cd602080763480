"""Searches: from the factorised model and the loss to an accepted step."""
