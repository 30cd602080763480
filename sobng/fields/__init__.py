"""Neural fields, and wrappers that make a field obey a condition exactly."""

from sobng.fields.components import Components as Components
from sobng.fields.constrained import Constrained as Constrained
from sobng.fields.features import sine_features as sine_features
from sobng.fields.field import AbstractField as AbstractField
from sobng.fields.fourier import FourierFeatures as FourierFeatures
from sobng.fields.graded import Graded as Graded
from sobng.fields.lift import BoxLift as BoxLift
from sobng.fields.mlp import MLP as MLP
from sobng.fields.partition import (
    combine as combine,
    Frozen as Frozen,
    linear_leaves as linear_leaves,
    partition as partition,
    with_bandwidth as with_bandwidth,
)
from sobng.fields.periodic import PeriodicEmbedding as PeriodicEmbedding
from sobng.fields.polynomial import PolynomialLift as PolynomialLift
from sobng.fields.residual import ResidualNetwork as ResidualNetwork
from sobng.fields.scaled import Scaled as Scaled, UnitCell as UnitCell
from sobng.fields.separable import Separable as Separable
from sobng.fields.series import FourierSeries as FourierSeries
from sobng.fields.sine import sine as sine
from sobng.fields.siren import SIREN as SIREN
from sobng.fields.stretched import Stretched as Stretched
from sobng.fields.sum import Sum as Sum
from sobng.fields.time_slabs import TimeSlabs as TimeSlabs
