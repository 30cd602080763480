"""Why an iteration ended, in words."""

import optimistix as optx


# To a type checker optimistix' enumeration is an `enum.Enum`, which is final; at run time
# an Enumeration of Equinox is extended by subclassing.
class RESULTS(optx.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """Extends the results of Optimistix by those of a training run."""

    tolerance_reached = "The estimated error is below the tolerance."
    converged = (
        "No step lowers the loss by more than rounding: the field is as good as these "
        "points and this field allow."
    )
    stagnated = (
        "The loss stopped falling before the tolerance was reached. A wider or deeper "
        "field, another activation or more points may help."
    )
    idle = "No stage of the strategy moves this field, which is returned as it was."
    time_limit_reached = (
        "The time limit was reached. The best field so far is returned."
    )
    interrupted = "The run was interrupted. The best field so far is returned."
    settled = (
        "A larger field changes the solution by no more than rounding and the steps in "
        "time do."
    )
    event_occurred = "An event of the user ended the run."
    blew_up = (
        "No step is small enough: the solution, or the motion of the field, blows up "
        "here. All times before are usable."
    )
    drifted = (
        "The estimated error passes the tolerance here, whatever was tried. All times "
        "before are usable; a looser tolerance goes further."
    )
    unresolved = (
        "The features cannot follow the solution any further. All times before are "
        "usable; a larger field may go on."
    )
    unfitted = (
        "The field cannot hold the initial values to the tolerance. `error_reason` says "
        "how near it came, and what would."
    )
    overfitted = (
        "The held-out residual is far above the training residual: use more points or "
        "fewer parameters."
    )
