"""The points that a run is on, and how they change as it goes."""

from jaxtyping import PyTree

from sobng.collocation import Collocation, PointPlan
from sobng.fields.graded import Grading, grading_of


class Points:
    """The training and held-out points of a run, as its plan lays them.

    They are made more when a run over-fits or its field grows, drawn anew where a stage
    asks for fresh ones, and dense where the field stretches its coordinates.
    """

    plan: PointPlan
    level: float | int
    """How often they were doubled."""
    training: Collocation
    held_out: Collocation
    """Never trained on, and always as many."""

    def __init__(self, plan: PointPlan):
        self.plan = plan
        self.level = 0
        self._grading: Grading | None = None
        self.training, self.held_out = self.graded(None)

    @property
    def refinable(self) -> bool:
        """Whether their number is ours to choose."""
        return self.plan.refinable

    def graded(self, grading: Grading | None) -> tuple[Collocation, Collocation]:
        """As many points as there are now, for a field stretched like this."""
        training = self.plan.training(self.level, grading)
        return training, self.plan.held_out(training, grading)

    def follow(self, unknown: PyTree) -> bool:
        """Lays them where an unknown stretches its coordinates; whether they moved."""
        grading = grading_of(unknown)
        if grading is None and self._grading is None:
            return False
        self._grading = grading
        self.training, self.held_out = self.graded(grading)
        return True

    def enlarge(self, level: float | int) -> None:
        """Trains on the points of another level."""
        self.level = level
        self.training = self.plan.training(level, self._grading)

    def draw(self, number: int) -> None:
        """Trains on others, as many, where the sampler is random."""
        self.training = self.plan.training(self.level, self._grading, draw=number)
