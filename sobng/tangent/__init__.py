"""The tangent space of a field: its kernel, gradients in it, and what it lacks."""
