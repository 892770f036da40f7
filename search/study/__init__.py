"""The vocabulary of a study file, which imports these names and nothing else."""

from search.study.study import Choice, Float, Int, Pruner, Sampler, Study, Subset

__all__ = ["Choice", "Float", "Int", "Pruner", "Sampler", "Study", "Subset"]
