"""How collocation points are chosen on a region: strategies, called with a key."""

import abc
from collections.abc import Callable

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float

from sobng.geometry.checks import as_number, check_num
from sobng.geometry.quadrature import Points, RandomKey, Rule, seeded
from sobng.geometry.region import Region


class AbstractSampler(eqx.Module):
    """Chooses points and weights on a region."""

    @abc.abstractmethod
    def __call__(self, region: Region, key: RandomKey) -> Rule:
        """**Arguments:**

        - `region`: where.
        - `key`: a JAX random key; deterministic samplers ignore it.

        **Returns:** points `[n, dim]` and weights `[n]` that sum to
        `region.measure`, NumPy float64.
        """


class Gauss(AbstractSampler):
    """The region's own quadrature rule: the same points for every key.

    Exact for polynomials where the shape allows it, and the first choice up to three
    dimensions. Fixed points need a check on others: see `sobng.Sobol`.

    !!! example

        ```python
        square = sobng.Box((0.0, 0.0), (1.0, 1.0))
        points, weights = sobng.Gauss(900)(square.interior, jax.random.key(0))
        ```
    """

    num: int = eqx.field(static=True)

    def __init__(self, num: int):
        """**Arguments:**

        - `num`: about how many points.

        **Raises:** `ValueError` if `num < 1`.
        """
        check_num(num, "Gauss")
        self.num = num

    def __call__(self, region: Region, key: RandomKey) -> Rule:
        return region.quadrature(self.num)


class Sobol(AbstractSampler):
    """Scrambled Sobol points of equal weights, new for every key.

    !!! example

        ```python
        ball = sobng.Ball((0.0, 0.0, 0.0, 0.0), 1.0)
        points, weights = sobng.Sobol(1024)(ball.interior, jax.random.key(0))
        ```
    """

    num: int = eqx.field(static=True)

    def __init__(self, num: int):
        """**Arguments:**

        - `num`: how many points; powers of two are best.

        **Raises:** `ValueError` if `num < 1`.
        """
        check_num(num, "Sobol")
        self.num = num

    def __call__(self, region: Region, key: RandomKey) -> Rule:
        return region.sample(self.num, key)


class Uniform(AbstractSampler):
    """Independent uniform points of equal weights, new for every key.

    !!! example

        ```python
        disk = sobng.Disk((0.0, 0.0), 1.0)
        points, weights = sobng.Uniform(500)(disk.boundary, jax.random.key(0))
        ```
    """

    num: int = eqx.field(static=True)

    def __init__(self, num: int):
        """**Arguments:**

        - `num`: how many points.

        **Raises:** `ValueError` if `num < 1`.
        """
        check_num(num, "Uniform")
        self.num = num

    def __call__(self, region: Region, key: RandomKey) -> Rule:
        return region.draw(self.num, seeded(key, sobol=False))


class Adaptive(AbstractSampler):
    r"""Sobol points, drawn again where a score is large.

    From a pool of $N = 8\,$`num` candidates, each is kept with a probability
    $\pi_i \propto s_i^p / \overline{s^p} + c$, where $s$ is the score, $p$ is `power`
    and $c$ is `floor`. The weights are proportional to $1 / \pi_i$: sums over the
    points stay (nearly) unbiased integrals, however uneven the points.

    !!! example

        ```python
        import jax, numpy as np, sobng

        sampler = sobng.Adaptive(512, power=2.0)
        square = sobng.Box((0.0, 0.0), (1.0, 1.0))
        points, weights = sampler(square.interior, jax.random.key(0))
        score = lambda points: np.exp(-50 * np.sum((points - 0.5) ** 2, axis=1))
        points, weights = sampler.resample(square.interior, score, jax.random.key(1))
        ```

    ??? cite "Reference"

        Wu, Zhu, Tan, Kartha, Lu: A comprehensive study of non-adaptive and
        residual-based adaptive sampling for physics-informed neural networks (CMAME
        2023, arXiv 2207.10289), Eq. (2). We differ in the importance weights, without
        which the loss measures the points rather than the domain, and in drawing
        without repetition.
    """

    num: int = eqx.field(static=True)
    power: float = eqx.field(static=True)
    floor: float = eqx.field(static=True)

    def __init__(self, num: int, power: ArrayLike = 1.0, floor: ArrayLike = 1.0):
        """**Arguments:**

        - `num`: how many points.
        - `power`: how strongly the score attracts points; zero is uniform.
        - `floor`: the share that stays uniform; must be positive, or regions of zero
            score would never be looked at again.

        **Raises:** `ValueError` if `num < 1`, `power < 0` or `floor <= 0`.
        """
        check_num(num, "Adaptive")
        self.num = num
        self.power = as_number(power, "Adaptive", "power")
        self.floor = as_number(floor, "Adaptive", "floor")
        if self.power < 0 or self.floor <= 0:
            raise ValueError(
                "`Adaptive` needs `power >= 0` and `floor > 0`. "
                f"Got power = {self.power} and floor = {self.floor}. "
                "Start from the defaults, 1.0 and 1.0."
            )

    def __call__(self, region: Region, key: RandomKey) -> Rule:
        return region.sample(self.num, key)

    def resample(
        self,
        region: Region,
        score: Callable[[Points], Float[ArrayLike, " n"]],
        key: RandomKey,
    ) -> Rule:
        """Draws points where the score is large.

        **Arguments:**

        - `region`: where.
        - `score`: a function of many points `[n, dim]` to non-negative `[n]`, for
            instance the absolute residual.
        - `key`: a JAX random key.

        **Returns:** points `[num, dim]` and weights `[num]` that sum to
        `region.measure`.

        **Raises:** `ValueError` if a score is negative, not finite or of wrong shape.
        """
        pool, _ = region.sample(8 * self.num, key)
        scores = np.asarray(score(pool), dtype=np.float64)
        if scores.shape != (len(pool),) or not np.all(
            (scores >= 0) & (scores < np.inf)
        ):
            raise ValueError(
                "`Adaptive.resample` needs one finite non-negative score a point. "
                f"Got shape {scores.shape} and values from {np.min(scores)} to "
                f"{np.max(scores)} at {len(pool)} points. "
                "Return the absolute residual, one number for each row."
            )
        chance = _inclusion(self._density(scores), self.num)
        # Systematic sampling: one random offset, then every crossing of an integer by
        # the cumulative chance. No candidate is taken twice as chances are at most 1. In a
        # random order: of a Sobol sequence each eighth point lies in one eighth of a box.
        random = np.random.default_rng(seeded(key).spawn(1).seed)
        offset, order = random.random(), random.permutation(len(pool))
        pool, chance = pool[order], chance[order]
        crossings = np.floor(np.cumsum(chance) * (1 - 1e-15) + offset)
        chosen = np.flatnonzero(np.diff(crossings, prepend=0.0) > 0)
        weights = 1.0 / chance[chosen]
        return pool[chosen], weights * (region.measure / np.sum(weights))

    def _density(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        largest = np.max(scores)
        if largest == 0:
            return np.ones_like(scores)
        powers = (scores / largest) ** self.power  # no overflow, no underflow of all
        return powers / np.mean(powers) + self.floor


def _inclusion(density: Float[np.ndarray, " n"], num: int) -> Float[np.ndarray, " n"]:
    """Probabilities proportional to a density, at most 1, that sum to `num`."""
    full = np.zeros(len(density), dtype=bool)
    while True:
        left = num - np.sum(full)
        chance = np.where(full, 1.0, density * (left / np.sum(density[~full])))
        over = ~full & (chance > 1.0)
        if not np.any(over):
            return chance
        full = full | over
