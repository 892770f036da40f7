"""What is asked. The file of a study imports its words from here, and nothing else."""

from search.study.study import Choice, Float, Int, Pruner, Sampler, Study, Subset

__all__ = ["Choice", "Float", "Int", "Pruner", "Sampler", "Study", "Subset"]
