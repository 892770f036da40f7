"""What every arm of engine.py is given and what it gives back, as JSON files. No project code: the arms stand alone."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One list of trials, for whichever script runs it."""

    folder: str
    """The dataset; the paths are relative to it."""
    train: list[tuple[str, int]]
    """(path, class 0..17)."""
    valid: list[tuple[str, int]]
    lrs: list[float]
    """One trial each."""
    backbone: str
    weight_file: str
    """Empty: from scratch."""
    image_size: int
    batch_size: int
    epochs: int
    augment: list[str]
    """Of flip and contrast."""
    mean: list[float]
    std: list[float]
    seed: int
    device: str
    weight_decay: float
    warmup_share: float
    cores: int
    """That the arm may use: a container may have fewer than the machine."""

    def save(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: str) -> "Job":
        """The inverse."""
        values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return Job(**{field.name: values[field.name] for field in fields(Job)})

    @property
    def model_options(self) -> dict[str, Any]:
        """For timm.create_model."""
        local = {"pretrained": True, "pretrained_cfg_overlay": {"file": self.weight_file}} if self.weight_file else {}
        return {"num_classes": 18, **local}

    def lr_factor(self, step: int) -> float:
        """Linear warm-up, then cosine to 0, as the project has it: the same recipe in every arm."""
        num_steps = self.epochs * (len(self.train) // self.batch_size)
        warmup = round(self.warmup_share * num_steps)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def report(path: str, trials: list[dict[str, float]]) -> None:
    """One dict a trial: macro_f1, train_seconds, valid_seconds."""
    Path(path).write_text(json.dumps(trials), encoding="utf-8")
