"""The Kronecker-factored approximation of a kernel-weighted Gram matrix."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from sobng.kernels import AbstractKernel
from sobng.metrics.factors import cholesky_of_kernel, kronecker_rows, KroneckerRows
from sobng.metrics.gram import AbstractGram, measured
from sobng.metrics.layers import find_layers, Layer
from sobng.metrics.metric import AbstractMetric, interior, Values
from sobng.system import System
from sobng.typing import Vector


def categorical(y: Vector, v: Vector) -> Vector:
    r"""The square root of the Fisher information of a softmax, for `KroneckerMetric`.

    !!! example

        ```python
        import sobng as sn

        sn.KroneckerMetric(output=sn.categorical)
        ```

    **Arguments:**

    - `y`: the logits.
    - `v`: a vector of the same length.

    **Returns:** $S v$, with $S S^T = \operatorname{diag}(p) - p p^T$ for the
    probabilities $p$.
    """
    p = jax.nn.softmax(y)
    root = jnp.sqrt(p)
    return root * v - p * jnp.dot(root, v)


def euclidean(y: Vector, v: Vector) -> Vector:
    """The square root of the identity: the Euclidean inner product of outputs."""
    del y
    return v


class KroneckerMetric(AbstractMetric):
    r"""A kernel's metric, one Kronecker product for each layer: for large networks.

    With samples $b, c$ of a batch, $a_b$ the input of a layer (and a one for the bias) and
    $g_b$ the derivative of the output in the layer's, the kernel metric
    $J^T K^{-1} J = \sum_{bc} (K^{-1})_{bc}\, (g_b g_c^T) \otimes (a_b a_c^T)$ is replaced
    by

    $$G \otimes A, \qquad A \propto \sum_{bc} (K^{-1})_{bc}\, a_b a_c^T, \qquad
      G \propto \sum_{bc} (K^{-1})_{bc}\, g_b g_c^T,$$

    a product for each layer and nothing between layers. Without a kernel, the mean over
    the batch, this is K-FAC. The kernel changes the shape of the factors and not their
    size: they are scaled to the traces of K-FAC, so that a damping means the same.

    For mini-batches it is used by [`sobng.kronecker`][]; there K-FAC can pay, and the
    kernel is a mild regulariser (`notebooks/classification.ipynb`). In a solver of sobng
    it lives on the points of the interior with their quadrature weights. No problem was
    found there on which it is the best choice: as long as the exact
    [`sobng.SobolevMetric`][] fits in memory, it reaches many more digits.

    The layers are `eqx.nn.Linear`, `eqx.nn.Conv1d`, `Conv2d`, `Conv3d` and those of
    [`sobng.MLP`][] and [`sobng.SIREN`][], each used exactly once for a sample. Other
    parameters have the Euclidean metric.

    !!! example

        ```python
        import sobng as sn

        pixels = 64
        kernel = sn.SobolevKernel(order=(pixels + 1) / 2 + 1)
        sn.KroneckerMetric(kernel, output=sn.categorical)
        ```

    ??? cite "Reference"

        After the experiments of Bai, Rosenberg, Xu: arXiv 2202.06232; K-FAC is of Martens,
        Grosse: arXiv 1503.05671, for convolutions Grosse, Martens: arXiv 1602.01407. We
        differ in: the same output probe for all samples of a batch, without which the
        pairs $b \ne c$ average out of $G$; the length scale apart from the inputs; the
        scaling to the traces of K-FAC.
    """

    kernel: Callable | None
    output: Callable = eqx.field(static=True)
    nugget: float | None = eqx.field(static=True)

    def __init__(
        self,
        kernel: Any = None,
        *,
        output: Any = euclidean,
        nugget: int | float | None = None,
    ):
        r"""**Arguments:**

        - `kernel`: a positive definite function of two inputs, flattened to vectors; none
            for K-FAC. A kernel of sobng without a `scale` takes the median distance of the
            inputs. A kernel much narrower than that is K-FAC again. For images a
            [`sobng.SobolevKernel`][] is a measure of similarity and no more: its order
            must be above half the number $n$ of pixels, and `order=(n + 1) / 2 + m` is the
            Matérn kernel of smoothness $m + 1/2$.
        - `output`: `output(y, v)` is $S v$, where $S S^T$ measures the output $y$ of the
            model. The identity by default, which suits a regression;
            [`sobng.categorical`][] suits logits.
        - `nugget`: added to the diagonal of the kernel matrix, as a part of its mean; by
            default the square root of the machine epsilon.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not (kernel is None or callable(kernel)) or not callable(output):
            raise ValueError(
                "`KroneckerMetric` needs a kernel of two points, or none, and an `output` "
                f"function of two vectors. Got {kernel!r} and {output!r}."
            )
        if nugget is not None and not 0 <= nugget < float("inf"):
            raise ValueError(
                f"The nugget of a kernel matrix is at least 0. Got {nugget!r}."
            )
        self.kernel = kernel
        self.output = output
        self.nugget = nugget if nugget is None else float(nugget)

    def rows(
        self,
        model: PyTree,
        layers: dict[str, Layer],
        inputs: Shaped[Array, "batch ..."],
        probes: Callable[[Vector], Float[Array, "probes out"]],
    ) -> dict[str, KroneckerRows]:
        """The factors on a batch, as rows.

        **Arguments:**

        - `model`: evaluated on one sample, gives one array.
        - `layers`: those that move.
        - `inputs`: the batch; of integers, such as the bytes of an image or tokens, the
            model makes floats itself.
        - `probes`: vectors like the output, the same for all samples, whose outer
            products sum to the identity, at least on average.
        """
        dtype = _precision(inputs, layers)
        weights = jnp.full(len(inputs), 1 / len(inputs), dtype)

        def cotangents(y):
            return jax.vmap(self.output, (None, 0))(y, probes(y))

        lower = self._lower(inputs.reshape(len(inputs), -1).astype(dtype))
        return kronecker_rows(model, layers, _value, inputs, cotangents, weights, lower)

    def on(self, system, entry=None):
        points, weights = interior(system)
        params = measured(system.params, entry)
        if not find_layers(params):
            raise ValueError(
                "`KroneckerMetric` found no layer that moves: none of `eqx.nn.Linear`, "
                "`eqx.nn.Conv`, `sobng.MLP` and `sobng.SIREN`. Use another metric for "
                "this field."
            )
        return _KroneckerGram(
            system, points, weights, self._lower(points), self.output, entry
        )

    def _lower(self, points):
        if self.kernel is None:
            return None
        kernel = self.kernel
        if isinstance(kernel, AbstractKernel):
            kernel = kernel.fitted(points).unscaled
        return cholesky_of_kernel(kernel, points, self.nugget)


def _precision(inputs: Array, layers: dict[str, Layer]) -> Any:
    """That of the inputs, or of the layers where the inputs are integers."""
    if jnp.issubdtype(inputs.dtype, jnp.inexact):
        return inputs.dtype
    return jnp.result_type(*(layer.module.weight for layer in layers.values()))


def _value(model: PyTree, x: Array) -> Array:
    y = model(x)
    if not eqx.is_array(y):
        raise ValueError(
            "`KroneckerMetric` needs a model that is called on one sample and returns "
            f"one array. It returned {y!r}."
        )
    return jnp.ravel(y)


class _KroneckerGram(AbstractGram):
    """The Kronecker products on the points of a system, all output units summed."""

    system: System
    points: Float[Array, "n dim"]
    weights: Float[Array, " n"]
    lower: Float[Array, "n n"] | None
    output: Callable = eqx.field(static=True)
    entry: str | None = eqx.field(static=True)

    def _blocks(self, params: PyTree):
        """Where each layer's matrices lie among all parameters, with its rows."""
        flat, unravel = jfu.ravel_pytree(params)
        index = measured(unravel(jnp.arange(flat.size, dtype=flat.dtype)), self.entry)
        places = find_layers(index)

        def value(unknown, x):
            return Values()(unknown, x, None)

        def cotangents(y):
            return jax.vmap(self.output, (None, 0))(y, jnp.eye(y.size, dtype=y.dtype))

        volume = jnp.sum(self.weights)
        rows = kronecker_rows(
            measured(self.system.unknown(params), self.entry),
            find_layers(measured(params, self.entry)),
            value,
            self.points,
            cotangents,
            self.weights / volume,
            self.lower,
        )
        # What no layer holds has the Euclidean metric.
        rest = jnp.zeros_like(flat).at[_integers(index)].set(1)
        blocks = []
        for name, factors in rows.items():
            place = places[name].matrix().astype(int)
            rest = rest.at[place].set(0)
            scaled = KroneckerRows(factors.inputs, factors.outputs * jnp.sqrt(volume))
            blocks.append((place, scaled))
        return rest, blocks

    def factor(self, params, args=None):
        del args
        rest, blocks = self._blocks(params)
        factor = jnp.diag(rest)
        for place, rows in blocks:
            for where, a, g in zip(place, rows.inputs, rows.outputs, strict=True):
                where = jnp.ravel(where)
                block = jnp.kron(_triangle(g), _triangle(a))
                factor = factor.at[where[:, None], where].set(block)
        return factor

    def product(self, params, args, vector):
        del args
        rest, blocks = self._blocks(params)
        product = rest * vector
        for place, rows in blocks:
            a, g = rows.grams()
            product = product.at[place].set(g @ vector[place] @ a)
        return product


def _integers(index: PyTree) -> Array:
    return jfu.ravel_pytree(index)[0].astype(int)


def _triangle(rows: Float[Array, "rows d"]) -> Float[Array, "d d"]:
    """A square factor of the Gram matrix of the rows, without forming it."""
    missing = max(0, rows.shape[1] - rows.shape[0])
    return jnp.linalg.qr(jnp.pad(rows, ((0, missing), (0, 0))), mode="r")
