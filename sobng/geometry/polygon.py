"""Polygons, convex or not, with holes."""

import functools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.checks import as_point, Coordinates
from sobng.geometry.curves import Curve, Curves, segment_gaps
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.edges import in_parallel, Line, plan, Segment, Vanishing
from sobng.geometry.implicit import conjunction
from sobng.geometry.namespace import constant, Coords, Module, Values
from sobng.geometry.quadrature import accepted, fixed, Points, Rule, Uniforms
from sobng.geometry.rings import check_rings, Ring, ring_area
from sobng.geometry.slabs import enclosed_area, slab_rule


class Polygon(AbstractDomain):
    """A polygon, convex or not, perhaps with polygonal holes.

    Its boundary parts are `edge_0` (from the first vertex to the second), `edge_1` and
    so on, and `hole_0_edge_0` and so on. The rule of the interior is exact for
    polynomials.

    !!! example

        ```python
        corner = sobng.Polygon(
            [(-1.0, -1.0), (0.0, -1.0), (0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (-1.0, 1.0)]
        )
        points, weights = corner.interior.quadrature(300)  # the weights sum to 3
        walls = corner.part("edge_1", "edge_2")  # the two that meet at the corner
        ```

    ??? cite "Reference"

        The factors of edges whose line cuts the domain: Sukumar, Srivastava (CMAME
        2022, arXiv 2104.08426), section 3; where two such edges meet we use their
        R-disjunction, which is smooth in more places.
    """

    rings: tuple[Ring, ...] = eqx.field(static=True)
    edge_names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        vertices: Sequence[Coordinates] | np.ndarray,
        holes: Sequence[Sequence[Coordinates] | np.ndarray] = (),
        names: Sequence[str] | None = None,
    ):
        """**Arguments:**

        - `vertices`: the corners in order, either way round, without repetition.
        - `holes`: the corners of each hole.
        - `names`: a name for each edge, those of the holes last. Edges of the same
            name form one part.

        **Raises:** `ValueError` if an outline crosses itself or another, if a hole lies
        outside, or if the number of names is wrong.
        """
        self.rings = tuple(
            tuple(as_point(vertex, "Polygon", "vertices") for vertex in ring)
            for ring in (vertices, *holes)
        )
        check_rings(self.rings)
        default = [f"edge_{i}" for i in range(len(self.rings[0]))]
        for h, hole in enumerate(self.rings[1:]):
            default += [f"hole_{h}_edge_{i}" for i in range(len(hole))]
        self.edge_names = tuple(default if names is None else names)
        if len(self.edge_names) != len(default):
            raise ValueError(
                "`Polygon` needs one name for each edge. "
                f"Got {len(self.edge_names)} names for {len(default)} edges. "
                "Repeat a name to join edges into one part."
            )

    @property
    def dim(self) -> int:
        return 2

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.edge_names))

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        corners = np.asarray(self.rings[0])
        return corners.min(axis=0), corners.max(axis=0)

    @property
    def measure(self) -> float:
        return enclosed_area(self.curves)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """All edges in the order of `edge_names`, with the domain to the left."""
        result = []
        for index, ring in enumerate(self.rings):
            backwards = (ring_area(ring) > 0) == (index > 0)
            for a, b in zip(ring, (*ring[1:], ring[0]), strict=True):
                result.append(Curve(b, a) if backwards else Curve(a, b))
        return tuple(result)

    def signed(self, x: Coords, xp: Module) -> Values:
        starts = constant([curve.start for curve in self.curves], x, xp)
        stops = constant([curve.stop for curve in self.curves], x, xp)
        gap = xp.min(segment_gaps(x, starts, stops, xp), axis=-1)
        return xp.where(_is_inside(x, self.curves, xp), gap, -gap)

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        lower, upper = self.bounds
        scale = 2.0 / float(np.min(upper - lower))
        if _is_convex(self):
            lines = [Line(curve.start, curve.stop) for curve in self.curves]
            values = [jnp.asarray(scale * line(x, jnp)) for line in lines]
            return conjunction(values)
        segments = [Segment(curve.start, curve.stop) for curve in self.curves]
        size = scale * in_parallel([segment(x, jnp) for segment in segments], jnp)
        # On the edges rounding must not flip the sign, nor with it the derivative.
        kept = _is_inside(x, self.curves, jnp) | (size < 1e-6)
        return jnp.where(kept, size, -size)

    def rule(self, num: int) -> Rule:
        return slab_rule(self.curves, num)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return draw_inside(self, num, uniforms)

    def has_factor(self, names: tuple[str, ...]) -> bool:
        return True

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        return _vanishing(self, names)(x, jnp)

    def patch(self, names: tuple[str, ...]) -> Curves:
        pairs = zip(self.curves, self.edge_names, strict=True)
        return Curves(tuple(curve for curve, name in pairs if name in names))


def draw_inside(domain: AbstractDomain, num: int, uniforms: Uniforms) -> Points:
    """Uniform points of the interior, by rejection from the bounding box."""
    lower, upper = domain.bounds
    return accepted(
        lambda n: lower + (upper - lower) * uniforms(n, domain.dim),
        lambda points: np.asarray(domain.signed(points, np)) > 0,
        num,
        type(domain).__name__,
    )


def _is_convex(polygon: Polygon) -> bool:
    corners = np.asarray(polygon.rings[0])
    lines = [Line(curve.start, curve.stop)(corners, np) for curve in polygon.curves]
    lowest = min(float(np.min(values)) for values in lines)
    return len(polygon.rings) == 1 and lowest >= -1e-12 * float(np.ptp(corners))


def _is_inside(x: Coords, curves: tuple[Curve, ...], xp: Module):
    """Whether a ray to the right crosses the edges an odd number of times."""
    starts = np.asarray([curve.start for curve in curves])
    stops = np.asarray([curve.stop for curve in curves])
    rise = stops[:, 1] - starts[:, 1]
    slope = (stops[:, 0] - starts[:, 0]) / np.where(rise == 0, 1.0, rise)
    lead = (1,) * (x.ndim - 1)

    def row(values):
        return constant(values, x, xp).reshape(lead + (len(curves),))

    px, py = x[..., 0, None], x[..., 1, None]
    spans = (row(starts[:, 1]) > py) != (row(stops[:, 1]) > py)
    crossing = row(starts[:, 0]) + (py - row(starts[:, 1])) * row(slope)
    return xp.sum(spans & (px < crossing), axis=-1) % 2 == 1


@functools.lru_cache(maxsize=512)
def _vanishing(polygon: Polygon, names: tuple[str, ...]) -> Vanishing:
    """The function of some parts, scaled by its maximum at sample points."""
    chosen = tuple(name in names for name in polygon.edge_names)
    functions = plan(
        polygon.curves,
        tuple(len(ring) for ring in polygon.rings),
        chosen,
        lambda points: np.asarray(polygon.signed(points, np)),
    )
    raw = Vanishing(functions)
    values = raw(draw_inside(polygon, 512, fixed()), np)
    return Vanishing(functions, 1.0 / float(np.max(values)))
