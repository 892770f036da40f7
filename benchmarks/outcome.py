"""What people get in the end: our exports against those of what people would otherwise use, on groups nobody has seen.

    python benchmarks/outcome.py live --set utkmask18=DIR/train --weights DIR --timm-scripts CHECKOUT -o live.jsonl
    python benchmarks/outcome.py live --set signs=DIR --set omniglot=DIR --set digits --arms script ours -o live.jsonl
    python benchmarks/outcome.py record --set signs=DIR --backbones test_resnet test_efficientnet -o signs.jsonl
    python benchmarks/outcome.py replay signs.jsonl omniglot.jsonl --n 200

``live`` gives each arm the same seconds on the same machine: (a) timm's train.py with the flags of its documentation,
(b) an Optuna script as people write it, (c) ours. ``record`` trains configurations once, and ``replay`` runs hundreds
of studies on the recordings: promised less realised score, and how often an export is worse than the default. Both
that train continue where they were stopped, if -o names the same file. CHECKOUT is made by the user:

    git clone https://github.com/huggingface/pytorch-image-models CHECKOUT

What makes it fair, and where it is not:

- A share of the groups is cut off by a seed before anything else; no arm sees them, and all are scored on them by the
  same macro F1 over all classes of the set. All arms have the other photos, and divide them as they do: (a) and (b) by
  photo, as the scripts that people find do, ours by group.
- The seconds count from the arm's first command to its exported model: imports, decoding, validation, the search.
  Not counted: what measures the length of an epoch for (a), which gets as many as fit, and the scoring in the end. The
  Optuna script may finish the trial that runs when the time is over; ours puts it back. Soup, ensemble and the refit
  (on nearly everyone) take some seconds more, and the confirmed model half the time again: that is in the column.
- Ours may use its workers, one core each; the others one process with all cores. The machine is the same.
- The ranges and the number of epochs of a trial are the same for (b) and (c), chosen by us (outcome_study.py); their
  augmentations are those that each has at hand (flip and jitter; flip, contrast and cutmix). (a) has the default's
  learning rate and one long training: nobody searches for it, and it need not guess how long a trial should be.
- What an arm promises is what its user reads: (a) the score of model_best on its validation photos, (b) best_value,
  (c) the score to expect. Groups are not photos: a promise by photo is of people who were trained on.

The sets: the mask task's layout and folders of classes are read as search.run reads them; ``signs`` is
github.com/ardamavi/Sign-Language-Digits-Dataset, ``omniglot`` the unpacked images_background_small1.zip and
images_background_small2.zip of github.com/brendenlake/omniglot side by side, and ``digits`` scikit-learn's.
"""

import argparse
import sys
from pathlib import Path

from maskcls.system.errors import UserError


def main() -> int:
    """The subcommand; 2 for options that cannot be used."""
    asked = _parser().parse_args()
    try:
        _run(asked)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(asked: argparse.Namespace) -> None:
    if asked.command != "replay":
        asked.work.mkdir(parents=True, exist_ok=True)
    if asked.command == "live":
        from outcome_live import live

        live(asked)
    elif asked.command == "record":
        from outcome_record import record

        record(asked)
    else:
        from outcome_replay import replay

        replay(asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    live = commands.add_parser("live", help="all arms for the same time")
    live.add_argument("--set", action="append", required=True, help="NAME=DIR, or digits; repeatable")
    live.add_argument("--arms", nargs="+", choices=ARM_NAMES, default=list(ARM_NAMES))
    live.add_argument("--seconds", type=float, default=150, help="that each arm may take")
    live.add_argument("--seeds", type=int, default=2, help="how many; each has its own groups held out")
    live.add_argument("--first", type=int, default=0, help="the first seed")
    live.add_argument("--seen-share", type=float, default=0.5, help="of the groups; the others are held out")
    live.add_argument("--timm-scripts", type=lambda text: Path(text).resolve(), help="checkout of pytorch-image-models")
    live.add_argument("--backbone", default="tf_efficientnet_lite0")
    live.add_argument("--keep", action="store_true", help="leave every arm's folder in --work, to look into")
    live.add_argument("-o", "--out", type=Path, help="file of results, one JSON object a line")
    record = commands.add_parser("record", help="train configurations for replay")
    record.add_argument("--set", required=True, help="NAME=DIR, or digits")
    record.add_argument("--backbones", nargs="+", default=["tf_efficientnet_lite0"], help="the first is the default's")
    record.add_argument("--configurations", type=int, default=24, help="the default's, and Sobol points")
    record.add_argument("--seeds", type=int, default=2, help="trainings of each configuration and split")
    record.add_argument("--splits", type=int, default=2, help="into groups that train and groups that judge")
    record.add_argument("--trained-share", type=float, default=0.3, help="of the groups, to train on")
    record.add_argument("--judging-share", type=float, default=0.7, help="of the groups, to judge")
    record.add_argument("--for-seconds", type=float, default=0, help="begin no training after so many; 0: all")
    record.add_argument("-o", "--out", type=Path, required=True, help="the recording; it continues one")
    for command, epochs in ((live, 4), (record, 4)):
        command.add_argument("--image-size", type=int, default=48)
        command.add_argument("--epochs", type=int, default=epochs, help="of a trial")
        command.add_argument("--batch-size", type=int, default=32)
        command.add_argument("--default-lr", type=float, default=1e-3, help="of the default configuration")
        command.add_argument("--weights", default="scratch", help="scratch, or a folder of <backbone>.safetensors")
        command.add_argument("--device", default="cpu")
        command.add_argument("--work", type=Path, default=Path("runs/outcome"), help="for caches and runs")
    replay = commands.add_parser("replay", help="studies on recorded trainings")
    replay.add_argument("recordings", type=Path, nargs="+")
    replay.add_argument("--n", type=int, default=200, help="studies of each recording")
    replay.add_argument("--budget", type=float, default=24, help="of a study, in full trainings")
    replay.add_argument("--seed", type=int, default=0, help="of the first study")
    return parser


ARM_NAMES = ("timm", "script", "ours", "default")


if __name__ == "__main__":
    sys.exit(main())
