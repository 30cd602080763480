"""Pictures of solutions and of runs, over plain data."""

from sobng.plotting.figures import (
    plot_comparison as plot_comparison,
    plot_convergence as plot_convergence,
    plot_solution as plot_solution,
)
from sobng.plotting.tangent import plot_tangent_kernel as plot_tangent_kernel
