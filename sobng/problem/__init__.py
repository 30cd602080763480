"""What is to be solved: conditions at points of regions, gathered in a problem."""

from sobng.problem.boundary import (
    Dirichlet as Dirichlet,
    Neumann as Neumann,
    Periodic as Periodic,
    Robin as Robin,
)
from sobng.problem.case import Case as Case
from sobng.problem.condition import (
    AbstractCondition as AbstractCondition,
    Condition as Condition,
    evaluate as evaluate,
    takes_args as takes_args,
)
from sobng.problem.energy import Energy as Energy
from sobng.problem.evolution import Evolution as Evolution, second_order as second_order
from sobng.problem.problem import Problem as Problem
