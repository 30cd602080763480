"""The methods that race, and the environments they run in.

An adapter is a function of a `race.Race`, in a file of its own or of its kind. It builds
the race's statement from scratch, calls `race.start()` once all is compiled, and
`race.look(values_at)` after every step, until that says that time is over. Packages are
imported in the adapters' own processes only: this file is also read without them.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Method:
    label: str
    adapter: tuple[str, str]
    """The file in this folder and the function in it."""
    settings: str
    """What was chosen, by whom, in words for the page."""
    environment: tuple[str, ...] = ()
    """What pip installs for it; nothing for what runs in sobng's own environment."""


# DeepXDE and Scimba want a PyTorch, whose build for the CPU is enough.
_TORCH = "torch==2.13.0"
_SSBROYDEN = ("ssbroyden-optimistix==0.1.1", "jax==0.10.2")
_RANDNGD = ("randngd==0.1.1", "jax==0.10.2")
_JINNS = ("jinns==1.10.2", "jax==0.10.2")
_SCIMBA = (_TORCH, "scimba==1.4.1", "jax==0.10.2")
_DEEPXDE = (_TORCH, "deepxde==1.15.0")


def _scimba(name: str, points: str) -> Method:
    return Method(
        f"Scimba, {name}",
        ("scimba", name.lower().replace("-", "_")),
        "version 1.4.1 on JAX, its own samplers, networks, losses (boundary weight 10) and "
        f"defaults; points are drawn {points}",
        _SCIMBA,
    )


METHODS = {
    "sobng": Method(
        "sobng",
        ("itself", "defaults"),
        "nothing chosen: field, points and stages are sobng's",
    ),
    "sobng-alone": Method(
        "sobng, all parameters only",
        ("itself", "alone"),
        "the natural gradient alone, on the peers' network, with as many points inside, "
        "laid by sobng",
    ),
    "adam": Method(
        "Adam",
        ("first_order", "adam"),
        "ours, by Optax: learning rate 1e-3, times 0.9 every 2,000 steps",
    ),
    "adam-lbfgs": Method(
        "Adam, then L-BFGS",
        ("first_order", "adam_lbfgs"),
        "ours, by Optax: a fifth of the time Adam as above, then L-BFGS with a memory of 50 "
        "and a zoom line search",
    ),
    "engd": Method(
        "ENGD's rule",
        ("natural", "engd"),
        "our re-statement of arXiv 2302.13163: dense Gram matrix, least squares, "
        "the best of the steps 1, 1/2, .., 2^-30",
    ),
    "spring": Method(
        "SPRING",
        ("natural", "spring"),
        "our re-statement of arXiv 2401.10190 with the line search of arXiv 2505.12149: "
        "momentum 0.9, damping 1e-10",
    ),
    "ssbroyden-optimistix": Method(
        "ssbroyden-optimistix",
        ("ssbroyden_optimistix", "ssbroyden"),
        "version 0.1.1, `SSBroyden(rtol=0, atol=0)` on the plain loss",
        _SSBROYDEN,
    ),
    "randngd": Method(
        "randngd",
        ("randngd", "nystrom"),
        "version 0.1.1, `NystromNGD` and `ngd_solver` with their defaults",
        _RANDNGD,
    ),
    "jinns": Method(
        "jinns",
        ("jinns", "ngd"),
        "version 1.10.2, `vanilla_ngd()` in `jinns.solve`; data as observations",
        _JINNS,
    ),
    "scimba-eng": _scimba("ENG", "anew in each step"),
    "scimba-anagram": _scimba("ANaGRAM", "anew in each step"),
    "scimba-dsgnar": _scimba("DSGNAR", "once"),
    "scimba-ss-broyden": _scimba("SS-Broyden", "once"),
    "deepxde": Method(
        "DeepXDE",
        ("deepxde", "adam_lbfgs"),
        "version 1.15.0 on PyTorch: Adam 1e-3 for two fifths of the time, then L-BFGS "
        "(100 corrections, no tolerances)",
        _DEEPXDE,
    ),
    "random-features": Method(
        "random features",
        ("random_features", "least_squares"),
        "ours, NumPy: more and more tanh features, four points for each inside and one on "
        "the faces, which count a hundred times",
    ),
    "elements": Method(
        "quadratic elements",
        ("elements", "quadratic"),
        "scikit-fem, on finer and finer meshes; in time Crank-Nicolson, with as many steps "
        "as its accuracy asks for",
    ),
    "spectral": Method(
        "spectral",
        ("spectral", "collocation"),
        "ours, NumPy: Chebyshev collocation of higher and higher degree; for Burgers "
        "Fourier in space and DOP853 in time",
    ),
}
