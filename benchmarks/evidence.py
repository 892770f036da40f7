"""What the intervals and verdicts of maskcls.scoring.intervals are worth, on simulated people and on real retrainings.

    python benchmarks/evidence.py                          all of the simulation, about 25 minutes on one core
    python benchmarks/evidence.py --share 0.1              a tenth of the repetitions, for a look
    python benchmarks/evidence.py --only verdicts power    some of the parts
    python benchmarks/evidence.py --retrainings DIR        only the real ones, made by benchmarks/retrain.py

Everything is drawn from fixed seeds. Rates stand with their own standard error.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student
from simulated import Crowd, classify, counts_of, draw_crowd, truth

from maskcls.scoring.counts import Counts, align, count, macro_f1
from maskcls.scoring.intervals import Estimate, compare, compare_recipes, compare_repeats, interval, select
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples, resample
from maskcls.tasks.mask import MASK_TASK

SAME = "not distinguishable"
PLANTED_SKILL = 1.1145
"""Macro F1 .05 above that of skill 1 at 540 people."""
SEED_SKILL = 0.035
"""Standard deviation of a recipe's skill from seed to seed: about .017 of macro F1."""


def rate(hits: Sequence[bool]) -> str:
    """``5.1 % +- 0.5``."""
    share = float(np.mean(hits))
    return f"{100 * share:5.1f} % +- {100 * np.sqrt(share * (1 - share) / len(hits)):.1f}  (n = {len(hits)})"


def row(name: str, value: str) -> None:
    print(f"  {name:64s} {value}", flush=True)


# --- what a verdict is worth ------------------------------------------------------------------------------------------


def verdicts(share: float) -> None:
    """A/A: two classifiers that are equally good, judged by the same people. Any verdict is false."""
    print("A/A, two equally good models: false verdicts (wanted: at most 5.5 %)")
    for people, number in ((540, 2000), (120, 1000)):
        found: dict[str, list[bool]] = {"ours": [], "percentiles": [], "people regardless of stratum": [], "photos": []}
        for index in range(max(20, int(number * share))):
            rng = np.random.default_rng([1, people, index])
            crowd = draw_crowd(rng, people)
            predicted = classify(rng, crowd), classify(rng, crowd)
            pair = [counts_of(crowd, predicted_N) for predicted_N in predicted]
            resamples = resample(pair[0], seed=index)
            found["ours"].append(differs(compare(pair[:1], pair[1:], resamples)))
            drawn_S = difference_of(pair, resamples)
            found["percentiles"].append(bool(np.quantile(drawn_S, 0.025) > 0 or np.quantile(drawn_S, 0.975) < 0))
            if index % 5 == 0:
                plain = [one_stratum(counts) for counts in pair]
                found["people regardless of stratum"].append(
                    differs(compare(plain[:1], plain[1:], resample(plain[0], seed=index)))
                )
                photos = [by_photo(crowd, predicted_N) for predicted_N in predicted]
                found["photos"].append(differs(compare(photos[:1], photos[1:], resample(photos[0], index, 500))))
        for name, hits in found.items():
            row(f"{people} people, {name}", rate(hits))


def differs(found: Estimate) -> bool:
    return found.verdict != SAME


def difference_of(pair: Sequence[Counts], resamples: Resamples) -> np.ndarray:
    ours, theirs = (macro_f1(*counts.sums(resamples.weight_SP)) for counts in pair)
    return ours - theirs


def one_stratum(counts: Counts) -> Counts:
    """As if all people were alike: the resamples' shares of ages and genders then vary, which the split's do not."""
    return replace(counts, stratum_P=np.full(len(counts.stratum_P), "anybody"))


def by_photo(crowd: Crowd, predicted_N: np.ndarray) -> Counts:
    """As if every photo were a person of its own: the mistake."""
    names = np.array([f"{number:08d}" for number in range(len(predicted_N))])
    return count(names, crowd.label_N, predicted_N, MASK_TASK.space)


# --- coverage ---------------------------------------------------------------------------------------------------------


def coverage(share: float) -> None:
    """How often the 95 % interval of a model's macro F1 holds the truth."""
    print("Coverage of the 95 % interval for macro F1 (wanted: 93 to 97 % at 540 people)")
    for people, number in ((540, 1000), (240, 500), (120, 1000)):
        known = truth(1.0, people)
        found: dict[str, list[bool]] = {
            name: [] for name in ("ours", "normal", "percentiles", "people regardless of stratum", "photos")
        }
        errors = []
        for index in range(max(20, int(number * share))):
            rng = np.random.default_rng([2, people, index])
            crowd = draw_crowd(rng, people)
            predicted_N = classify(rng, crowd)
            counts = counts_of(crowd, predicted_N)
            resamples = resample(counts, seed=index)
            ours = interval(counts, resamples)
            errors.append(ours.value - known)
            found["ours"].append(holds(ours, known))
            found["normal"].append(abs(ours.value - known) <= 1.96 * ours.error)
            low, high = np.quantile(macro_f1(*counts.sums(resamples.weight_SP)), [0.025, 0.975])
            found["percentiles"].append(bool(low <= known <= high))
            if index % 5 == 0:
                plain, photos = one_stratum(counts), by_photo(crowd, predicted_N)
                found["people regardless of stratum"].append(holds(interval(plain, resample(plain, index)), known))
                found["photos"].append(holds(interval(photos, resample(photos, index, 500)), known))
        for name, hits in found.items():
            row(f"{people} people, {name}", rate(hits))
        row(
            f"{people} people, error of the score itself",
            f"{np.mean(errors):+.4f}, standard deviation {np.std(errors):.4f}",
        )


def holds(found: Estimate, known: float) -> bool:
    return bool(found.low <= known <= found.high)


# --- power ------------------------------------------------------------------------------------------------------------


def power(share: float) -> None:
    """How often a planted difference is found, and whether the stated smallest detectable one is found in 80 %."""
    print("Power at 540 people (the detectable difference is one found in 80 %)")
    detectable = []
    for name, skill, number in (("planted", PLANTED_SKILL, 500), ("as large as the mean stated detectable", None, 500)):
        if skill is None:
            skill = skill_of(truth(1.0, 540) + float(np.mean(detectable)))
        gap, hits, stated = truth(skill, 540) - truth(1.0, 540), [], []
        for index in range(max(20, int(number * share))):
            rng = np.random.default_rng([3, number, index, int(1e4 * skill)])
            crowd = draw_crowd(rng, 540)
            pair = [counts_of(crowd, classify(rng, crowd, level)) for level in (skill, 1.0)]
            found = compare(pair[:1], pair[1:], resample(pair[0], seed=index))
            hits.append(found.verdict == "better")
            stated.append(found.minimum_detectable_effect)
        detectable = stated
        row(f"{name}, {gap:.4f}: found", rate(hits))
        row(f"{name}: stated detectable difference", f"{np.mean(stated):.4f} (deviation {np.std(stated):.4f})")


def skill_of(score: float) -> float:
    """The skill of a classifier with this macro F1, by bisection."""
    low, high = 1.0, 1.5
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if truth(middle, 540) < score else (low, middle)
    return (low + high) / 2


# --- the winner of 50 -------------------------------------------------------------------------------------------------


def selection(share: float) -> None:
    """The best of 50: its score, and what it is worth on everybody (wanted: corrected within .005 on average)."""
    print("Best of 50 models at 540 people: score minus truth, mean (standard error)")
    fields = {
        "all equally good": np.full(50, 1.0),
        "close together": np.linspace(0.94, 1.0, 50),
        "spread out, 15 close to the best": np.concatenate([np.linspace(0.6, 0.95, 35), np.linspace(0.95, 1.0, 15)]),
    }
    for name, skills in fields.items():
        known = np.array([truth(round(float(skill), 3), 540) for skill in skills])
        found: dict[str, list[float]] = {"as measured": [], "corrected (ours)": [], "less the bootstrap's optimism": []}
        for index in range(max(8, int(60 * share))):
            rng = np.random.default_rng([4, index, len(name)])
            crowd = draw_crowd(rng, 540)
            models = [counts_of(crowd, classify(rng, crowd, round(float(skill), 3))) for skill in skills]
            resamples = resample(models[0], seed=index, resamples=500)
            chosen = select(models, resamples)
            found["as measured"].append(chosen.raw - known[chosen.index])
            found["corrected (ours)"].append(chosen.corrected - known[chosen.index])
            found["less the bootstrap's optimism"].append(
                chosen.raw - optimism(models, resamples) - known[chosen.index]
            )
        for kind, errors in found.items():
            row(f"{name}, {kind}", f"{np.mean(errors):+.4f} ({np.std(errors) / np.sqrt(len(errors)):.4f})")


def optimism(models: Sequence[Counts], resamples: Resamples) -> float:
    """Efron's: how much better the winner of a resample does in it than on the whole sample. Too little: the sample's
    own spread, which holds the same luck, counts as merit."""
    value_T = np.array([float(macro_f1(*counts.sums())) for counts in models])
    drawn_TS = np.stack([macro_f1(*counts.sums(resamples.weight_SP)) for counts in models])
    return float((drawn_TS.max(0) - value_T[drawn_TS.argmax(0)]).mean())


# --- recipes ----------------------------------------------------------------------------------------------------------


def recipes(share: float) -> None:
    """A/A of recipes: runs of one recipe with other seeds, in two groups. Any verdict is false."""
    print("A/A, two equal recipes with spread from seed to seed: false verdicts (wanted: at most 5.5 %)")
    for runs, others in ((1, 0), (1, 3), (2, 0), (3, 0), (5, 0)):
        models, ours = [], []
        for index in range(max(20, int(600 * share))):
            rng = np.random.default_rng([5, runs, others, index])
            crowd = draw_crowd(rng, 540)
            both = [trained(rng, crowd) for _ in range(2 * runs)]
            further = [[trained(rng, crowd) for _ in range(3)] for _ in range(others)]
            resamples = resample(both[0], seed=index, resamples=1000)
            models.append(differs(compare(both[:runs], both[runs:], resamples)))
            if runs > 1 or others:
                found = compare_recipes(both[:runs], both[runs:], resamples, others=further)
                ours.append(differs(found))
        if not others:
            row(f"{runs} against {runs} runs, as of trained models only", rate(models))
        if ours:
            known = f", seeds known from {others} other settings of 3 runs" if others else ""
            row(f"{runs} against {runs} runs, as of recipes{known}", rate(ours))


def trained(rng: np.random.Generator, crowd: Crowd) -> Counts:
    """One training: its seed moves the skill."""
    return counts_of(crowd, classify(rng, crowd, skill=rng.normal(1.0, SEED_SKILL)))


def confirmations(share: float) -> None:
    """A/A of search.confirm: four equal recipes, five repeats on 86 fresh judges each; the first against the second."""
    print("A/A, confirmation of four equal recipes, repeated on fresh people: false verdicts (wanted: at most 5.5 %)")
    for repeats, people, number in ((2, 86, 400), (5, 86, 400), (5, 430, 400), (10, 86, 200)):
        false: dict[str, list[bool]] = {"ours": [], "t over the differences of the repeats": [], "people only": []}
        for index in range(max(20, int(number * share))):
            rng = np.random.default_rng([6, repeats, people, index])
            crowds = [draw_crowd(rng, people) for _ in range(repeats)]
            runs_CR = [[renamed(trained(rng, crowd), number) for number, crowd in enumerate(crowds)] for _ in range(4)]
            flat, first_P = align([counts for runs in runs_CR for counts in runs])
            runs_CR = [flat[number * repeats : (number + 1) * repeats] for number in range(4)]
            resamples = resample(flat[0], index, 1000, first_P)
            false["ours"].append(differs(compare_repeats(runs_CR, 0, 1, resamples)))
            false["people only"].append(differs(compare(runs_CR[0], runs_CR[1], resamples)))
            gaps = [float(macro_f1(*a.sums()) - macro_f1(*b.sums())) for a, b in zip(*runs_CR[:2], strict=True)]
            error = np.std(gaps, ddof=1) / np.sqrt(repeats)
            false["t over the differences of the repeats"].append(
                abs(np.mean(gaps)) > student.ppf(0.975, repeats - 1) * error
            )
        for name, hits in false.items():
            row(f"{repeats} repeats of {people} people, {name}", rate(hits))


def renamed(counts: Counts, repeat: int) -> Counts:
    """People of their own for every repeat."""
    return replace(counts, person_P=np.char.add(f"{repeat:02d}-", counts.person_P))


# --- real retrainings -------------------------------------------------------------------------------------------------


def retrainings(folder: Path) -> None:
    """Runs of one configuration that differ in the seed: every pair, and groups, must come out as the same recipe."""
    stored = [Predictions.load(path) for path in sorted(folder.glob("*/valid.npz"))]
    runs = [count(found.person_N, found.label_N, found.log_prob_NK.argmax(1), MASK_TASK.space) for found in stored]
    values = np.array([float(macro_f1(*counts.sums())) for counts in runs])
    resamples = resample(runs[0])
    print(f"{len(runs)} real trainings of one configuration, {len(runs[0].person_P)} validation people")
    row("macro F1: mean, standard deviation from seed to seed", f"{values.mean():.4f}, {values.std(ddof=1):.4f}")
    row("standard error of one score over people", f"{interval(runs[0], resamples).error:.4f}")
    pairs = list(itertools.combinations(range(len(runs)), 2))
    models = [differs(compare([runs[i]], [runs[j]], resamples)) for i, j in pairs]
    row("every pair, as of two trained models: told apart", rate(models))
    apart = []
    for i, j in pairs:
        rest = [runs[k] for k in range(len(runs)) if k not in (i, j)]
        apart.append(differs(compare_recipes([runs[i]], [runs[j]], resamples, others=[rest])))
    row("every pair, as of recipes, seeds known from the other runs", rate(apart))
    for size in (2, 3, 5):
        apart = []
        for index in range(300):
            order = np.random.default_rng([7, size, index]).permutation(len(runs))[: 2 * size]
            ours, theirs = ([runs[k] for k in part] for part in (order[:size], order[size:]))
            apart.append(differs(compare_recipes(ours, theirs, resamples)))
        row(f"{size} against {size} runs drawn from them, as of recipes", rate(apart))


def cost() -> None:
    """The time of one interval: 2,000 resamples of 540 people, 3,780 photos, 18 classes."""
    rng = np.random.default_rng(0)
    crowd = draw_crowd(rng, 540)
    predicted_N = classify(rng, crowd)
    seconds = []
    for _ in range(7):
        begun = time.perf_counter()
        counts = counts_of(crowd, predicted_N)
        interval(counts, resample(counts))
        seconds.append(time.perf_counter() - begun)
    print("Cost")
    row("2,000 resamples of 3,780 photos and 18 classes, median of 7", f"{np.median(seconds):.3f} s")


PARTS: dict[str, Callable[[float], None]] = {
    "verdicts": verdicts,
    "coverage": coverage,
    "power": power,
    "selection": selection,
    "recipes": recipes,
    "confirmations": confirmations,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the repetitions")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--retrainings", type=Path, help="folder of benchmarks/retrain.py")
    asked = parser.parse_args()
    if asked.retrainings:
        retrainings(asked.retrainings)
        return
    cost()
    for name in asked.only:
        begun = time.perf_counter()
        PARTS[name](asked.share)
        print(f"  ({time.perf_counter() - begun:.0f} s)")


if __name__ == "__main__":
    main()
