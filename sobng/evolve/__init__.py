"""The second driver: an evolution, stepped in the parameters of a field by Diffrax."""
