"""Domains, named boundary parts, quadrature rules and samplers. Knows no fields."""

from sobng.geometry.ball import Ball as Ball, Disk as Disk
from sobng.geometry.box import Box as Box, Interval as Interval
from sobng.geometry.csg import (
    Difference as Difference,
    Intersection as Intersection,
    Union as Union,
)
from sobng.geometry.domain import AbstractDomain as AbstractDomain
from sobng.geometry.grading import (
    GradedRule as GradedRule,
    GradedSample as GradedSample,
    Grading as Grading,
)
from sobng.geometry.polygon import Polygon as Polygon
from sobng.geometry.region import Region as Region
from sobng.geometry.samplers import (
    AbstractSampler as AbstractSampler,
    Adaptive as Adaptive,
    Gauss as Gauss,
    Sobol as Sobol,
    Uniform as Uniform,
)
from sobng.geometry.spacetime import SpaceTime as SpaceTime
from sobng.geometry.stretching import Stretching as Stretching
