"""What the machine is: versions, and what the search finds of its GPUs."""

import importlib.metadata
import platform
import time

import torch

from search.gpus.gpus import find_gpus

PACKAGES = (
    "torch torchvision timm numpy pandas pandas-streaming scikit-learn scipy optuna optuna-dashboard sqlalchemy"
    " pydantic typer rich pytest pytest-xdist pillow matplotlib safetensors huggingface-hub tomli-w plotly greenlet"
)


def main() -> None:
    print("python", platform.python_version())
    for name in PACKAGES.split():
        try:
            print(" ", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            print(" ", name, "MISSING")
    if torch.cuda.is_available():
        begun = time.perf_counter()
        torch.ones(8, device="cuda").sum().item()
        print(f"first kernel after {time.perf_counter() - begun:.1f} s;", torch.cuda.get_device_properties(0))
        print("cudnn", torch.backends.cudnn.version())
    print("find_gpus:", find_gpus())


if __name__ == "__main__":
    main()
