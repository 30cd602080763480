"""Damped least squares by orthogonal factorisations."""
