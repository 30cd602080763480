"""Solves partial differential equations with neural fields and natural gradients."""

from importlib.metadata import version as _version

from sobng.calculus import (
    biharmonic as biharmonic,
    curl as curl,
    directional as directional,
    divergence as divergence,
    gradient as gradient,
    hessian as hessian,
    jacobian as jacobian,
    laplacian as laplacian,
    normal_derivative as normal_derivative,
    partial as partial,
)
from sobng.collocation import Collocation as Collocation, discretise as discretise
from sobng.error import Estimate as Estimate, estimate_error as estimate_error
from sobng.evaluation import observed as observed, relative_errors as relative_errors
from sobng.evolve.evolve import evolve as evolve
from sobng.evolve.exponential import ExponentialGauss as ExponentialGauss
from sobng.evolve.fitted import FittedRungeKutta as FittedRungeKutta
from sobng.evolve.motion import Motion as Motion, motion as motion
from sobng.evolve.solution import Evolved as Evolved
from sobng.exact import impose as impose
from sobng.fields import (
    AbstractField as AbstractField,
    BoxLift as BoxLift,
    combine as combine,
    Components as Components,
    Constrained as Constrained,
    FourierFeatures as FourierFeatures,
    FourierSeries as FourierSeries,
    Frozen as Frozen,
    Graded as Graded,
    linear_leaves as linear_leaves,
    MLP as MLP,
    partition as partition,
    PeriodicEmbedding as PeriodicEmbedding,
    PolynomialLift as PolynomialLift,
    ResidualNetwork as ResidualNetwork,
    Scaled as Scaled,
    Separable as Separable,
    sine as sine,
    sine_features as sine_features,
    SIREN as SIREN,
    Stretched as Stretched,
    Sum as Sum,
    TimeSlabs as TimeSlabs,
    UnitCell as UnitCell,
    with_bandwidth as with_bandwidth,
)
from sobng.geometry import (
    AbstractDomain as AbstractDomain,
    AbstractSampler as AbstractSampler,
    Adaptive as Adaptive,
    Ball as Ball,
    Box as Box,
    Difference as Difference,
    Disk as Disk,
    Gauss as Gauss,
    GradedRule as GradedRule,
    GradedSample as GradedSample,
    Grading as Grading,
    Intersection as Intersection,
    Interval as Interval,
    Polygon as Polygon,
    Region as Region,
    Sobol as Sobol,
    SpaceTime as SpaceTime,
    Stretching as Stretching,
    Uniform as Uniform,
    Union as Union,
)
from sobng.io.checkpoint import Checkpoint as Checkpoint
from sobng.kernels import (
    AbstractKernel as AbstractKernel,
    FunctionKernel as FunctionKernel,
    GaussianKernel as GaussianKernel,
    SobolevKernel as SobolevKernel,
)
from sobng.linalg.dense import Dense as Dense
from sobng.linalg.dual import Dual as Dual
from sobng.linalg.factorisation import AbstractFactorisation as AbstractFactorisation
from sobng.linalg.krylov import Krylov as Krylov
from sobng.linalg.nystrom import Nystrom as Nystrom
from sobng.linalg.triangle import Triangle as Triangle
from sobng.metrics.energy import EnergyMetric as EnergyMetric
from sobng.metrics.euclidean import EuclideanMetric as EuclideanMetric
from sobng.metrics.fisher_rao import FisherRaoMetric as FisherRaoMetric
from sobng.metrics.gram import AbstractGram as AbstractGram
from sobng.metrics.kernel import KernelMetric as KernelMetric
from sobng.metrics.kronecker import (
    categorical as categorical,
    KroneckerMetric as KroneckerMetric,
)
from sobng.metrics.local import LocalMetric as LocalMetric
from sobng.metrics.metric import AbstractMetric as AbstractMetric
from sobng.metrics.pde_kernel import PDEKernelMetric as PDEKernelMetric
from sobng.metrics.product import ProductMetric as ProductMetric
from sobng.metrics.sobolev import SobolevMetric as SobolevMetric
from sobng.metrics.wasserstein import WassersteinMetric as WassersteinMetric
from sobng.norms import SobolevNorm as SobolevNorm
from sobng.plotting import (
    plot_comparison as plot_comparison,
    plot_convergence as plot_convergence,
    plot_solution as plot_solution,
    plot_tangent_kernel as plot_tangent_kernel,
)
from sobng.precision import enable_x64 as enable_x64
from sobng.problem import (
    AbstractCondition as AbstractCondition,
    Case as Case,
    Condition as Condition,
    Dirichlet as Dirichlet,
    Energy as Energy,
    Evolution as Evolution,
    Neumann as Neumann,
    Periodic as Periodic,
    Problem as Problem,
    Robin as Robin,
    second_order as second_order,
)
from sobng.records import Record as Record, TextProgress as TextProgress
from sobng.results import RESULTS as RESULTS
from sobng.search.line import ArmijoSearch as ArmijoSearch, GridSearch as GridSearch
from sobng.search.radius import RadiusSearch as RadiusSearch
from sobng.search.search import AbstractSearch as AbstractSearch
from sobng.solution import load as load, Solution as Solution
from sobng.solve import solve as solve
from sobng.solvers.adjoint import MinimumNormAdjoint as MinimumNormAdjoint
from sobng.solvers.gauss_newton import GaussNewton as GaussNewton
from sobng.solvers.kronecker import kronecker as kronecker
from sobng.solvers.marching import Marching as Marching
from sobng.solvers.natural_gradient import NaturalGradient as NaturalGradient
from sobng.stages.all_parameters import AllParameters as AllParameters
from sobng.stages.attempt import Attempt as Attempt
from sobng.stages.correction import Correction as Correction
from sobng.stages.fronts import Fronts as Fronts
from sobng.stages.last_layer import LastLayer as LastLayer
from sobng.stages.layers import Layers as Layers
from sobng.stages.more_features import MoreFeatures as MoreFeatures
from sobng.stages.network import Network as Network
from sobng.stages.slabs import Slabs as Slabs
from sobng.stages.stage import AbstractStage as AbstractStage, Context as Context
from sobng.stages.strategy import strategy as strategy
from sobng.stages.waves import Waves as Waves
from sobng.stages.wider import Wider as Wider
from sobng.system import System as System
from sobng.tangent.gradient import (
    functional_gradient as functional_gradient,
    FunctionalGradient as FunctionalGradient,
)
from sobng.tangent.kernel import (
    tangent_kernel as tangent_kernel,
    TangentKernel as TangentKernel,
)
from sobng.tangent.missed import (
    projection_error as projection_error,
    ProjectionError as ProjectionError,
)


__version__ = _version("sobng")
