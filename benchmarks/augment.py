"""Our batch augmentation against torchvision v2 and kornia, on the same photos and device.

    python benchmarks/augment.py                 # on the GPU where there is one
    python benchmarks/augment.py --device cpu --size 128

Photos per second of one augmentation at a time, of the first six together and of torchvision's recipe, each with its
own draw for every photo. Ours takes uint8 and gives float32; so do the others here (kornia's input is made float first,
which is counted). torchvision's transforms draw once a call, so a draw for every photo means a call for every photo, as
in a DataLoader's worker; "v2, one draw" is its speed on a whole batch with one draw for all, which is another
augmentation. kornia is an arm where it is installed, for what it has of the same kind; it mixes images alone, since its
sequences refuse labels that change. The arms run in turn; the median of the rounds. With one thread of a CPU the time
is the process's own, so that other processes count for little.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from maskcls.augment.mixing import MIXUP_ALPHA
from maskcls.config import AUGMENTATIONS
from maskcls.data.augment import (
    AFFINE_DEGREES,
    AFFINE_SCALE,
    AFFINE_SHEAR,
    AFFINE_SHIFT,
    BLUR_SIGMA,
    CONTRAST_FACTOR,
    JITTER_FACTOR,
    JITTER_TURN,
    NOISE_STD,
    augment,
    blur_kernel_size,
)

try:
    import kornia.augmentation as kornia
except ImportError:
    kornia = None

Arm = Callable[[Tensor], object]

TOGETHER = (
    ("flip", "gaussian", "blur", "sharpness", "contrast", "cutmix"),
    ("flip", "random_resized_crop", "trivial_augment", "random_erasing", "mixup", "cutmix"),
)
"""The six that came first, and what torchvision's reference recipe has (pytorch.org/blog, 2021)."""

MIXING = ("mixup", "cutmix")
"""Augmentations that need a whole batch."""


def ours(names: tuple[str, ...], device: torch.device) -> Arm:
    """maskcls.data.augment."""
    generator = torch.Generator(device).manual_seed(0)
    return lambda image_BCHW: augment(image_BCHW, torch.zeros(len(image_BCHW), 18, device=device), names, generator)


def torchvision_steps(names: tuple[str, ...], size: int) -> list[v2.Transform]:
    """The same augmentations, each with probability a half; MIXING are none of a single photo."""
    affine = v2.RandomAffine(
        AFFINE_DEGREES, (AFFINE_SHIFT[1],) * 2, AFFINE_SCALE, AFFINE_SHEAR, v2.InterpolationMode.BILINEAR
    )
    jitter = v2.ColorJitter(JITTER_FACTOR, None, JITTER_FACTOR, JITTER_TURN)
    steps = {
        "random_resized_crop": v2.RandomApply([v2.RandomResizedCrop(size)]),
        "affine": v2.RandomApply([affine]),
        "trivial_augment": v2.RandomApply([v2.TrivialAugmentWide(interpolation="bilinear")]),
        "rand_augment": v2.RandomApply([v2.RandAugment(interpolation="bilinear")]),
        "color_jitter": v2.RandomApply([jitter]),
        "random_erasing": v2.RandomErasing(value="random"),
        "flip": v2.RandomHorizontalFlip(),
        "gaussian": v2.RandomApply([v2.GaussianNoise(sigma=NOISE_STD[1] / 2)]),
        "blur": v2.RandomApply(
            [v2.GaussianBlur(blur_kernel_size(size, size), (BLUR_SIGMA[0] * size, BLUR_SIGMA[1] * size))]
        ),
        "sharpness": v2.RandomAdjustSharpness(1.5),
        "contrast": v2.RandomApply([v2.ColorJitter(contrast=CONTRAST_FACTOR)]),
    }
    return [v2.ToDtype(torch.float32, scale=True), *(steps[name] for name in names if name in steps)]


def mixed_by_torchvision(image_BCHW: Tensor, names: tuple[str, ...]) -> object:
    """One draw for the batch; of both, one by chance, as torchvision's recipe does."""
    mixes = {"mixup": v2.MixUp(alpha=MIXUP_ALPHA, num_classes=18), "cutmix": v2.CutMix(num_classes=18)}
    chosen = [mix for name, mix in mixes.items() if name in names]
    label_B = torch.zeros(len(image_BCHW), dtype=torch.int64, device=image_BCHW.device)
    return v2.RandomChoice(chosen)(image_BCHW, label_B) if chosen else image_BCHW


def each(names: tuple[str, ...], size: int) -> Arm:
    """torchvision, photo by photo; MIXING on the batch, one draw for all as they are."""
    transform = v2.Compose(torchvision_steps(names, size))
    return lambda image_BCHW: mixed_by_torchvision(torch.stack([transform(image) for image in image_BCHW]), names)


def one_draw(names: tuple[str, ...], size: int) -> Arm:
    """torchvision on the whole batch."""
    transform = v2.Compose(torchvision_steps(names, size))
    return lambda image_BCHW: mixed_by_torchvision(transform(image_BCHW), names)


def korn(names: tuple[str, ...], size: int) -> Arm | None:
    """kornia: a draw for every photo on the whole batch, as ours. None where it has no such augmentation (its
    TrivialAugment and RandAugment draw an operation for the whole batch)."""
    kernel = blur_kernel_size(size, size)
    made = {
        "flip": lambda: kornia.RandomHorizontalFlip(p=0.5),
        "gaussian": lambda: kornia.RandomGaussianNoise(std=NOISE_STD[1] / 2, p=0.5),
        "blur": lambda: kornia.RandomGaussianBlur(
            (kernel, kernel), (BLUR_SIGMA[0] * size, BLUR_SIGMA[1] * size), p=0.5
        ),
        "sharpness": lambda: kornia.RandomSharpness((0.0, 2.0), p=0.5),
        "contrast": lambda: kornia.RandomContrast(CONTRAST_FACTOR, p=0.5),
        "random_resized_crop": lambda: kornia.RandomResizedCrop((size, size), cropping_mode="resample", p=0.5),
        "affine": lambda: kornia.RandomAffine(
            AFFINE_DEGREES, (AFFINE_SHIFT[1],) * 2, AFFINE_SCALE, AFFINE_SHEAR, p=0.5
        ),
        "color_jitter": lambda: kornia.ColorJiggle(JITTER_FACTOR, 0.0, JITTER_FACTOR, JITTER_TURN, p=0.5),
        "random_erasing": lambda: kornia.RandomErasing(p=0.5),
        "mixup": lambda: kornia.RandomMixUpV2(p=0.5, data_keys=["input"]),
        "cutmix": lambda: kornia.RandomCutMixV2(num_mix=1, p=0.5, data_keys=["input"]),
    }
    if not set(names) <= set(made):
        return None
    sequence = kornia.AugmentationSequential(*(made[name]() for name in names), data_keys=["input"])
    return lambda image_BCHW: sequence(image_BCHW.float() / 255)


def seconds_of(arm: Arm, image_BCHW: Tensor, at_least: float) -> float:
    """Of one batch: the mean over as many as fill ``at_least`` seconds, after one to warm up."""
    is_alone = image_BCHW.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if is_alone else time.perf_counter
    arm(image_BCHW)
    wait(image_BCHW.device)
    begun, count = clock(), 0
    while count == 0 or clock() - begun < at_least:
        arm(image_BCHW)
        count += 1
        wait(image_BCHW.device)
    return (clock() - begun) / count


def wait(device: torch.device) -> None:
    """Until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {asked.threads} threads"
    image_BCHW = torch.randint(0, 256, (asked.batch, 3, asked.size, asked.size), dtype=torch.uint8, device=device)
    print(f"{name}, torch {torch.__version__}, {asked.batch} x {asked.size} px, {asked.rounds} rounds; photos/s\n")
    print("| augmentation | ours | v2, photo by photo | v2, one draw | kornia | best other / ours |")
    print("|---|---|---|---|---|---|", flush=True)
    for names in [*((name,) for name in AUGMENTATIONS), *TOGETHER]:
        arms = {
            "ours": ours(names, device),
            "each": each(names, asked.size),
            "one": one_draw(names, asked.size),
        }
        if kornia is not None and (arm := korn(names, asked.size)) is not None:
            arms["kornia"] = arm
        rounds = [
            {key: seconds_of(arm, image_BCHW, asked.seconds) for key, arm in arms.items()} for _ in range(asked.rounds)
        ]
        speed = {key: asked.batch / statistics.median(found[key] for found in rounds) for key in arms}
        shown = [f"{speed[key]:.0f}" if key in speed else "-" for key in ("ours", "each", "one", "kornia")]
        same = max(speed[key] for key in speed if key in ("each", "kornia"))
        print(f"| {' + '.join(names)} | {' | '.join(shown)} | {same / speed['ours']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
