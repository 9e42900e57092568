"""What a network of each kind learns: one module each, which its kind names."""

from parafovea.training.objectives.objective import Objective, Scores, objective_class

__all__ = ["Objective", "Scores", "objective_class"]
