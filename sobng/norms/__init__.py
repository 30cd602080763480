"""Norms of any real order, of functions that are known at points."""

from sobng.norms.sobolev import SobolevNorm as SobolevNorm
