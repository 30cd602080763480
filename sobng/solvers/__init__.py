"""Solvers for Optimistix, and what `solve` needs of them."""
