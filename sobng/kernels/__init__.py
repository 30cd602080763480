"""Kernels: symmetric functions of two points that reproduce a space of functions."""

from sobng.kernels.function import FunctionKernel as FunctionKernel
from sobng.kernels.gaussian import GaussianKernel as GaussianKernel
from sobng.kernels.kernel import AbstractKernel as AbstractKernel
from sobng.kernels.sobolev import SobolevKernel as SobolevKernel
