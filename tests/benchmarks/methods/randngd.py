"""Randomised natural gradients of randngd (Bioli, Marcati, Sangalli, arXiv 2505.11638)."""

from plain import Plain

from methods.ssbroyden_optimistix import minimise


def nystrom(race):
    import randngd

    plain = Plain(race)
    metric = randngd.metrics.gauss_newton(list(plain.terms), plain.start)
    gradient = randngd.NystromNGD(metric, key=race.seed)
    minimise(race, plain, randngd.ngd_solver(gradient))
