"""The hyperparameters of a training run: names, units, defaults, checks, and config files in TOML."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from maskcls.system.errors import UserError, nearest, one_line
from maskcls.system.files import write_text

AUGMENTATIONS = (
    *("flip", "random_resized_crop", "affine"),
    *("trivial_augment", "rand_augment", "color_jitter"),
    *("gaussian", "blur", "sharpness", "contrast"),
    *("random_erasing", "mixup", "cutmix"),
)
"""In the order in which they run: what the photo shows, its colours, the camera's faults, then what replaces parts of
it. ``maskcls.data.augment``, which says what each does, needs torch."""


def _pair(value: Any) -> Any:
    """Rows and columns: both the same for a single number, 96 and 128 for ``96x128``."""
    if isinstance(value, str) and "x" in value:
        return tuple(value.split("x"))
    return (value, value) if isinstance(value, int | float) else value


def _names(value: Any) -> Any:
    """The names in a comma-separated text; none in an empty one."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


Side = Annotated[int, Field(ge=16, le=2048)]
Share = Annotated[float, Field(gt=0, le=1)]


class TrainConfig(BaseModel):
    """One training run. With its data, its weights and a machine type it determines the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    backbone: str = "efficientnet_b3"
    """The backbone's full name in timm, such as ``vit_small_patch16_224``."""
    task: Annotated[str, Field(min_length=1)] = "all"
    """What is predicted: the whole label, or one of its factors alone (mask, gender or age in the mask task)."""
    heads: Literal["joint", "three_heads", "three_models"] = "joint"
    """One head over the classes, a head for every factor of the label on one backbone, or a model for every factor."""
    drop_rate: float = Field(0.0, ge=0, lt=1)
    """timm's drop_rate: the share of features dropped before the head, in [0, 1)."""
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    """timm's drop_path_rate, in [0, 1): the share of photos whose last residual branch is left out in a training step
    (stochastic depth, Huang et al. 2016); that of earlier branches falls to 0."""

    image_size: Annotated[tuple[Side, Side], BeforeValidator(_pair)] = (224, 224)
    """Rows and columns that a photo is resized to, from 16 to 2048 pixels each; one number means square."""
    crop: Annotated[tuple[Share, Share], BeforeValidator(_pair)] = (1.0, 1.0)
    """Share of a photo's height and width kept around its centre before resizing, in (0, 1]."""
    fit: Literal["squash", "pad", "crop"] = "squash"
    """How a photo of another aspect comes to image_size: squash changes the aspect; pad keeps it, with grey on two
    sides; crop keeps it, less what protrudes on two sides."""
    bit_depth: int = Field(0, ge=0, le=16)
    """Bits that photos stored with 16 bits a channel use, from 8 on: 12 for a 12-bit camera, whose white is 4095.
    0: all 16; photos that do not use them are refused."""
    augment: Annotated[tuple[str, ...], BeforeValidator(_names)] = ("flip",)
    """Names of the augmentations of training batches; empty for none."""

    epochs: int = Field(5, ge=1, le=1000)
    """Passes over the training photos; also fixes the length of the learning-rate schedule."""
    evaluations_per_epoch: int = Field(1, ge=1, le=100)
    """Evaluations on the validation split in each epoch."""
    keep: Literal["best", "last"] = "best"
    """The evaluation that gives the run its score, and whose weights and predictions are kept."""
    batch_size: int = Field(32, ge=2, le=4096)
    """Photos per optimizer step."""
    micro_batch: int = Field(0, ge=0, le=4096)
    """Photos per forward pass, at least 2 (gradients accumulate up to batch_size); 0: batch_size."""

    optimizer: Literal["adamw", "nadamw", "radamw", "adoptw", "adan", "lamb", "lion", "sgd"] = "adamw"
    """By timm's name, with timm's defaults; sgd has Nesterov momentum of .9. Each needs a learning rate of its own:
    beside AdamW's, lion's is 3 to 10 times smaller and sgd's 10 to 100 times larger."""
    lr: float = Field(3e-4, gt=0, le=1)
    """The optimizer's peak learning rate, reached after the warm-up; cosine to 0 from there."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Ratio of the learning rates of a layer and the one above it, in (0, 1]: the head's is lr, early layers learn more
    slowly. Layers as timm groups them. 1: all learn at lr."""
    weight_decay: float = Field(0.01, ge=0, le=1)
    """Decoupled weight decay, but for sgd and lamb, which add it to the gradient and the update; not applied to norms
    and biases."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of all steps spent warming up, in [0, 1)."""
    frozen_share: float = Field(0.0, ge=0, lt=1)
    """Share of all steps, in [0, 1), in which the head alone trains, at first. The backbone then joins, with a warm-up
    of its own. Until then its batch norm uses the statistics that it came with."""

    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, in [0, 1): the averaged weights are evaluated and kept. In
    the first steps it is less, at most 1 - (1 + step)^(-2/3). 0: no average."""

    tta: Literal["none", "flip"] = "none"
    """Test-time augmentation, wherever the model predicts, evaluations in training included. Flip: the mean of the
    probabilities of a photo and its mirror image, at twice the cost of a prediction."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Focal: cross entropy scaled by (1 - p)^focal_gamma (Lin et al. 2017)."""
    focal_gamma: float = Field(2.0, ge=0, le=10)
    """Exponent of the focal loss; unused otherwise."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of every target spread evenly over the classes, in [0, 1)."""
    class_weights: Literal["none", "sqrt", "balanced"] = "none"
    """Weight of a class in the loss: 1, or its training share to the power -1/2 (sqrt) or -1 (balanced)."""
    old_from: int = Field(60, ge=57, le=60)
    """Age in years from which *training* labels of the mask task say "60 and over"; scoring always uses 60."""

    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the training run: head initialisation, order of photos, augmentation, dropout."""
    split_seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the split into training and validation people."""
    valid_share: float = Field(0.2, gt=0, lt=1)
    """Share of the people kept for validation, in (0, 1)."""
    judge_round: int = Field(0, ge=0, le=1000)
    """Fold of a round or a confirmation, judged by people of the split's training side; 0: by its validation side."""
    people: int = Field(0, ge=0)
    """Use only this many people, with the same shares of genders and age bands; 0: all."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Autocast type. auto: float32 on a CPU; on a GPU bfloat16 if it has that, else float16 with a loss scaler."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Memory layout of weights and batches. auto: on a GPU the one that is faster in a few steps, else channels_last,
    except for backbones that it is known to slow down."""
    cuda_graphs: Literal["auto", "on", "step", "off"] = "auto"
    """CUDA graphs instead of single kernels: on for the model's forward and backward pass, step for the whole training
    step. auto: what is fastest in a few steps on the GPU. Off on a CPU and with gradient accumulation; a whole step is
    not recorded in float16."""
    repeatable: Literal["auto", "on", "off"] = "auto"
    """Compute on a GPU only by kernels that give the same bits every time. auto: on if a few steps on the GPU show that
    it costs at most 5 % of the speed. A run of a model with an operation that has no such kernel is off, and says so.
    CPU: always on, at no cost."""
    threads: int = Field(0, ge=0, le=1024)
    """CPU threads of the training process; 0: all cores. Results depend on it in their last bits."""

    @field_validator("augment")
    @classmethod
    def _known_and_ordered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(AUGMENTATIONS):
            raise ValueError(f"must be chosen from {', '.join(AUGMENTATIONS)}")
        return tuple(name for name in AUGMENTATIONS if name in value)

    @property
    def pixels(self) -> tuple[tuple[int, int], tuple[float, float], Literal["squash", "pad", "crop"], int]:
        """All that a photo's decoded pixels depend on: image_size, crop, fit, bit_depth. Equal ones share a cache."""
        return self.image_size, self.crop, self.fit, self.bit_depth

    @field_validator("bit_depth")
    @classmethod
    def _holds_a_photo(cls, value: int) -> int:
        if 0 < value < 8:
            raise ValueError("must be 0, or from 8 to 16")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.task != "all" and self.heads != "joint":
            raise ValueError(
                f'heads = "{self.heads}" predicts the whole label; task = "{self.task}" needs heads = "joint"'
            )
        if self.micro_batch > self.batch_size:
            raise ValueError(f"micro_batch ({self.micro_batch}) must not exceed batch_size ({self.batch_size})")
        return self


LATER = (
    *("fit", "bit_depth", "ema_decay"),
    *("drop_path_rate", "optimizer", "layer_decay", "frozen_share", "tta"),
)
"""Hyperparameters that runs of earlier versions did not have; they ran as with the defaults."""

ResolvedConfig = NewType("ResolvedConfig", TrainConfig)
"""A config without "auto" or 0 in its numerics, as ``maskcls.training.numerics.resolve`` alone makes it.

Only the type checker sees the difference: at run time it is a TrainConfig.
"""


def identity_of(config: ResolvedConfig, device: str) -> str:
    """The config as text, by which the record of a run on this kind of device ("cpu", "cuda") knows its own.

    Without ``repeatable`` where that changes nothing, and without LATER at their defaults, as in the records from
    before they existed.
    """
    excluded = {name for name in LATER if getattr(config, name) == TrainConfig.model_fields[name].default}
    if device == "cpu" or config.repeatable == "off":
        excluded.add("repeatable")
    return config.model_dump_json(exclude=excluded)


HYPERPARAMETERS = tuple(TrainConfig.model_fields)


def check_name(name: str) -> None:
    """Raise UserError unless a hyperparameter has this name."""
    if name not in HYPERPARAMETERS:
        known = ", ".join(HYPERPARAMETERS)
        raise UserError(f"No hyperparameter named {name!r}.{nearest(name, HYPERPARAMETERS)} There are: {known}.")


def make_config(values: dict[str, Any]) -> TrainConfig:
    """A checked config with these values and defaults for the rest. Raises UserError about the first mistake."""
    for name, value in values.items():
        check_name(name)
        if isinstance(value, bool):  # pydantic would take it for 0 or 1
            raise UserError(f"{name} must be a number, a word or a list of them, not {value!r}.")
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        raise UserError(_sentence(error)) from None


def change(config: TrainConfig, **values: Any) -> TrainConfig:
    """A copy of ``config`` with these values, checked (pydantic's model_copy does not check). Raises UserError."""
    return make_config({**config.model_dump(), **values})


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not name:
        return f"{text}."
    must = text if first["type"] == "value_error" else f"must be {text}"
    return f"{name} {must}, not {first['input']!r}."


def canonical(name: str, value: Any) -> Any:
    """The canonical form of a hyperparameter's value: as in TrainConfig, but one number for two equal ones.

    Raises UserError for a value that the hyperparameter cannot have, whatever the others are.
    """
    largest = {"batch_size": 4096}  # so that it does not limit micro_batch
    checked = getattr(make_config({**largest, name: value}), name)
    is_square = isinstance(checked, tuple) and len(checked) == 2 and checked[0] == checked[1]
    return checked[0] if is_square else checked


def canonical_or_same(name: str, value: Any) -> Any:
    """``canonical`` of a value from a database; a value that is no longer allowed stays as it is."""
    try:
        return canonical(name, value)
    except UserError:
        return value


def parse_assignment(text: str) -> tuple[str, Any]:
    """``lr=1e-3`` -> ("lr", 0.001). The value is read as TOML if it is valid TOML, else as a number or a word.

    Raises UserError for a text without a name or an equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--set takes KEY=VALUE, for example --set lr=1e-3, not {text!r}.")
    return name.strip(), _parse_value(value.strip())


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return float(text)  # 1e-3 is a TOML float, 1.e-3 or .5 is not
    except ValueError:
        return text


def load_config(path: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """(config, ``[origin]`` table) of a config file; a file that a person wrote has no origin. Raises UserError."""
    return config_of_file(path, read_config_file(path))


def read_config_file(path: Path) -> dict[str, Any]:
    """The tables and values of a config file. Raises UserError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"There is no config file {path}. `python -m search.export` writes one.") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The config file {path} cannot be read: {one_line(error)}.") from None


def config_of_file(path: Path, values: Mapping[str, Any]) -> tuple[TrainConfig, dict[str, Any]]:
    """``load_config`` of the values that the file holds."""
    values = dict(values)
    origin = values.pop("origin", {})
    if not isinstance(origin, dict):
        raise UserError(f"{path}: origin is a table that search.export writes, not {origin!r}. Leave it out.")
    try:
        return make_config(values), origin
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def config_to_toml(config: TrainConfig, origin: dict[str, Any]) -> str:
    """The text of a config file: the hyperparameters, then the ``[origin]`` table, which says where they came from."""
    return tomli_w.dumps({**config.model_dump(mode="json"), "origin": origin})


def save_config(path: Path, config: TrainConfig, origin: dict[str, Any]) -> None:
    """Write a config file, atomically."""
    write_text(path, config_to_toml(config, origin))
