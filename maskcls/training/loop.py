"""The one training loop: ``fit``.

Shape suffixes: B photos of a step, M photos of a micro-batch, N photos of a split, K classes of the task, C H W
channels, rows and columns.
"""

import math
import resource
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskcls.config import ResolvedConfig, TrainConfig, identity_of
from maskcls.data.augment import augment
from maskcls.data.batches import Batches, BatchSampler, derive_seed, release_photos
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import Classifier, build_model
from maskcls.model.inference import autocast, log_probs, to_device, to_input, validation_batch_size
from maskcls.model.losses import Targets
from maskcls.run.checkpoint import EvaluationStore, Guard, Staged
from maskcls.run.legacy import upgrade_record
from maskcls.run.record import PREDICTIONS, STATE, WEIGHTS, Content
from maskcls.run.result import Evaluation, Result
from maskcls.run.serialize import TrainingState, load_state, on_host, state_content, weights_content
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.system.liveness import beat
from maskcls.training.averaging import WeightAverage
from maskcls.training.cuda_graphs import RecordedStep, capture, default_generator
from maskcls.training.head_first import HeadFirst
from maskcls.training.numerics import free_memory, num_micro_batches, only_repeatable, resolve, set_repeatable
from maskcls.training.optimizer import LearningRates, make_optimizer
from maskcls.training.reporter import Reporter, silent
from maskcls.training.schedule import evaluation_steps, frozen_steps

AUGMENTATION_STREAM = 18
"""Sets the generator of augmentation apart from the others of a run; another number would give other results."""

DIVERGED_FACTOR = 10.0
"""A training loss that exceeds that of a uniform guess by this factor will not recover in a short schedule."""


RESUME_SECONDS = {"cpu": 0.0, "cuda": 30.0}
"""Training after which an evaluation writes the state to resume from, by type of device.

The state has 12 bytes a parameter: .2 to .7 s of a core, while a GPU needs a few seconds for all that it would save. A
resumed run trains again from its state, or from the beginning, to its last evaluation.
"""

STOP_SECONDS = 5.0
"""Training since the last stored state after which a run that is stopped writes another. A pruned run does so in
vain, so a shorter training is rather done again."""

WRITES_BESIDE = ("cuda",)
"""Devices whose trainings go on while a thread writes an evaluation's files; on a CPU it would take their cores."""


class DivergedError(Exception):
    """The loss is not finite, or exceeds that of a uniform guess by more than DIVERGED_FACTOR."""


class _StoppedError(Exception):
    """The reporter ends the run."""


def evaluation_stops(config: TrainConfig, num_photos: int) -> list[int]:
    """Number of steps before each evaluation of a run on ``num_photos`` training photos."""
    num_steps = config.epochs * BatchSampler(num_photos, config.batch_size, config.seed).steps_per_epoch
    return evaluation_steps(num_steps, config.epochs, config.evaluations_per_epoch)


def fit(
    config: ResolvedConfig,
    data: Dataset,
    report: Reporter = silent,
    *,
    device: torch.device,
    weight_file: Path | None = None,
    folder: Path | None = None,
    guard: Guard = nullcontext,
    made_from: Mapping[str, Any] | None = None,
    photos_on_gpu: bool = True,
) -> Result:
    """Train ``config`` on ``data`` until its end, or until ``report`` returns False.

    ``folder``: after every evaluation, before ``report`` is called, it receives the best weights and predictions, the
    record and, unless the last one is recent, the state to resume from. A run found there continues, and ``report`` is
    first called for its past evaluations, once it has trained again what came after its state. A run that ends removes
    the state; one that is stopped leaves it, and writes another where the last one is not recent.
    ``guard``: entered whenever files are renamed or deleted, in this thread; what it raises ends the run.
    ``made_from``: what the result depends on besides config, photos and device, as plain values; a run that was made
    from something else does not continue.
    ``photos_on_gpu``: whether photos stay on a GPU with room for them, also after the run; else in the CPU's memory.
    Raises DivergedError, UserError (a model that cannot be built), torch.OutOfMemoryError, CaptureError,
    NotRepeatableError.
    """
    torch.set_num_threads(config.threads)
    with only_repeatable(config, device), closing(Run(config, data, device, weight_file, report, photos_on_gpu)) as run:
        try:
            if folder is not None:
                run.resume(EvaluationStore(folder, guard, {**run.identity(), **(made_from or {})}, len(run.stops)))
            run.catch_up()
            while not run.is_complete:
                run.train_until(run.stops[len(run.history)])
                run.evaluate()
            run.settle()
        except _StoppedError:
            run.keep_state()
    return run.result()


class Run:
    """The state of a run: model, optimizer, random generators, and the evaluations so far.

    Raises UserError when the model cannot be built, or when there are too few photos for a step; CaptureError.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        data: Dataset,
        device: torch.device,
        weight_file: Path | None,
        report: Reporter = silent,
        photos_on_gpu: bool = True,
    ) -> None:
        """``report``, ``photos_on_gpu``: as in ``fit``."""
        assert resolve(config, device) == config  # the type does not say for which device
        self.config, self.data, self.device, self.report = config, data, device, report
        self.space = data.task.predicted(config)
        if not photos_on_gpu:
            release_photos()
        free_memory(device)
        set_repeatable(config, device)
        torch.manual_seed(config.seed)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.model = to_device(build_model(config, self.space, weight_file), config, device)
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay else None
        self.stops = evaluation_stops(config, len(data.train.row_N))
        self.frozen_steps = frozen_steps(self.stops[-1], config.frozen_share)
        self.head_first = HeadFirst(self.model, self.frozen_steps) if self.frozen_steps else None
        self.is_frozen = self.frozen_steps > 0  # at the step that was done last, or at the first one
        if config.cuda_graphs == "on" and not self.is_frozen:
            self._capture()
        self.optimizer = make_optimizer(self.model, config, device)
        self.learning_rates = LearningRates(self.optimizer, config, device, self.stops[-1])
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.dtype == "float16")
        self.generator = torch.Generator(device).manual_seed(derive_seed(config.seed, AUGMENTATION_STREAM))
        train_label_N = data.train.labels(data.task.space, config.task)
        self.train = Batches(data.image_NCHW, data.train.row_N, train_label_N, device, photos_on_gpu)
        self.valid_label_N = data.valid.labels(data.task.space, config.task)
        self.valid = Batches(data.image_NCHW, data.valid.row_N, self.valid_label_N, device, photos_on_gpu)
        self.sampler = BatchSampler(len(self.train), config.batch_size, config.seed, self.train.index_device)
        num_micro_batches(self.sampler.batch_size, config.micro_batch)  # raises where there are too few photos
        self.targets = Targets(config, self.space, self.train.label_N)
        self.loss_sum = torch.zeros((), device=device)  # of the steps since the evaluation before them
        self.recorded_step: RecordedStep | None = None  # for cuda_graphs = "step"
        self.history: list[Evaluation] = []
        self.store: EvaluationStore | None = None
        self.writer = ThreadPoolExecutor(1) if device.type in WRITES_BESIDE else None
        self.written: Future[Staged] | None = None  # the last evaluation, until it is committed
        self.queued: torch.cuda.Event | None = None  # the end of the last step given to a GPU meanwhile
        self.steps_done = 0
        self.seconds_before, self.started = 0.0, time.perf_counter()
        self.saved = self.started  # time of the last state to resume from; the beginning is one too
        self.saved_steps = 0  # steps of that state
        self.interval_loss, self.interval_speed = math.nan, math.nan

    def result(self) -> Result:
        """The result of the evaluations so far."""
        return Result(tuple(self.history), len(self.stops), self.config.keep)

    @property
    def is_complete(self) -> bool:
        """Whether all evaluations have been made."""
        return len(self.history) == len(self.stops)

    @property
    def judged_model(self) -> Classifier:
        """The model that is evaluated and kept: that of the averaged weights in a run that averages."""
        return self.model if self.average is None else self.average.model

    def catch_up(self) -> None:
        """Report the evaluations of a resumed run, each once the training is there again: the reporter may end the run.

        What was told to somebody stays, so nothing is scored again. Raises DivergedError, and as ``tell`` does.
        """
        for past, stop in zip(tuple(self.history), self.stops, strict=False):
            if self.steps_done < stop and not self.is_complete:
                self.train_until(stop)
            self.tell(past)

    def train_until(self, stop: int) -> None:
        """Train until the evaluation at step ``stop``; the loss is read once, at the end. Raises DivergedError.

        The last evaluation is committed and reported as soon as its files are written. If the run is then stopped, the
        steps since may be in vain, but the GPU would have waited for the disk instead.
        """
        self.model.train()
        started, first = time.perf_counter(), self.steps_done
        while self.steps_done < stop:
            self.step(self.steps_done)
            self.steps_done += 1
            if self.written is not None:
                self._settle_soon()
        self.settle()
        begin = max((other for other in self.stops if other < stop), default=0)  # maybe in an earlier session
        self.interval_loss = float(self.loss_sum) / (stop - begin)
        self.loss_sum.zero_()
        self.interval_speed = (stop - first) * self.sampler.batch_size / (time.perf_counter() - started)
        if not self.interval_loss <= DIVERGED_FACTOR * self.targets.chance_loss:
            raise DivergedError(f"training loss {self.interval_loss:.3g} after {stop} of {self.stops[-1]} steps")

    def step(self, step: int) -> Tensor:
        """Do optimizer step number ``step``, counted from 0, and add its mean loss to ``loss_sum``.

        Returns that loss, a scalar on the device; the next step may overwrite it. For cuda_graphs = "step", the first
        call records the step: a resumed run must have its state by then. While the backbone is frozen, nothing is
        recorded: that part of a run is short, and other work. Raises CaptureError.
        """
        if self.head_first is not None:
            was_frozen, self.is_frozen = self.is_frozen, self.head_first.prepare(step)
            if was_frozen and not self.is_frozen and self.config.cuda_graphs == "on":
                self._capture()
        self.learning_rates.set(step)
        loss = self._optimize(self.sampler.batch(step))
        if self.average is not None:
            self.average.update(step)  # not recorded: its decay is another number at every step
        return loss

    def _optimize(self, index_B: Tensor) -> Tensor:
        """Change the model by the photos of these numbers; returns the mean loss."""
        if self.config.cuda_graphs != "step" or self.is_frozen:
            return self._train_on_index(index_B)
        # photos that are on the GPU are gathered within the graph, others are copied to where it expects them
        inputs = (index_B,) if self.train.on_device else self.train.take(index_B)
        if self.recorded_step is None:
            work = self._train_on_index if self.train.on_device else self._train_on
            generators = (self.generator, default_generator(self.device))
            self.recorded_step = RecordedStep(work, inputs, self._tensors, generators)
        beat()
        return self.recorded_step(*inputs)

    def _capture(self) -> None:
        capture(self.model, self.config, min(self.config.batch_size, len(self.data.train.row_N)), self.device)

    def _train_on_index(self, index_B: Tensor) -> Tensor:
        return self._train_on(*self.train.take(index_B))

    def _train_on(self, image_BCHW: Tensor, label_B: Tensor) -> Tensor:
        """What a step does, recorded or not, on its photos; returns its mean loss."""
        image_BCHW, target_BK = augment(image_BCHW, self.targets.one_hot(label_B), self.config.augment, self.generator)
        input_BCHW = to_input(image_BCHW, self.config)
        count = num_micro_batches(len(input_BCHW), self.config.micro_batch)
        total = torch.zeros((), device=self.device)
        for input_MCHW, target_MK in zip(input_BCHW.tensor_split(count), target_BK.tensor_split(count), strict=True):
            with autocast(self.config, self.device):
                log_prob_of_part = self.model(input_MCHW)
            loss = self.targets.loss(log_prob_of_part, target_MK) * (len(input_MCHW) / len(input_BCHW))
            self.scaler.scale(loss).backward()
            total += loss.detach()
            beat()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss_sum += total
        return total

    def _tensors(self) -> list[Tensor]:
        """Everything on the device that a step changes, besides the random generators."""
        optimizer_state = [tensor for state in self.optimizer.state.values() for tensor in state.values()]
        return [*self.model.parameters(), *self.model.buffers(), *optimizer_state, self.loss_sum]

    def evaluate(self) -> None:
        """Score the whole validation split without augmentation, and commit and report, now or while training goes on.

        Raises DivergedError.
        """
        batch_size = validation_batch_size(self.config, self.device, len(self.valid))
        batches = (image for image, _ in self.valid.in_order(batch_size))
        log_prob_NK = log_probs(self.judged_model, batches, self.config)
        scores = score(log_prob_NK, self.valid_label_N, self.space, self.data.task.metric)
        if not math.isfinite(scores.loss):
            raise DivergedError(f"validation loss {scores.loss} after {self.steps_done} of {self.stops[-1]} steps")
        self.history.append(
            Evaluation(
                step=len(self.history) + 1,
                scores=scores,
                train_loss=self.interval_loss,
                photos_per_second=self.interval_speed,
                seconds=self.seconds_before + time.perf_counter() - self.started,
                peak_gib=_peak_gib(self.device),
            )
        )
        if self.store is None:
            self.tell(self.history[-1])
            return
        valid = self.data.valid
        stage = self._stage(self.store, Predictions(valid.path_N, valid.person_N, self.valid_label_N, log_prob_NK))
        if self.writer is None:
            self.store.put_in_place(stage())
            self.tell(self.history[-1])
        else:
            self.written, self.queued = self.writer.submit(stage), None

    def _stage(self, store: EvaluationStore, predictions: Predictions) -> Callable[[], Staged]:
        """What writes the files of the last evaluation; training may go on meanwhile on a device of WRITES_BESIDE."""
        contents: dict[str, Callable[[], Content]] = {}
        if self.result().best.step == self.history[-1].step:
            weights = self._as_it_is(self.judged_model.weights().state_dict())
            contents = {WEIGHTS: partial(weights_content, weights), PREDICTIONS: predictions.content}
        now = time.perf_counter()
        if not self.is_complete and now - self.saved >= RESUME_SECONDS[self.device.type]:
            self.saved, self.saved_steps = now, self.steps_done
            state = TrainingState(**self._as_it_is(self._state().to_dict()))
            contents[STATE] = partial(state_content, state)
        evaluations = tuple(self.history)
        return lambda: store.stage(evaluations, {name: content() for name, content in contents.items()})

    def _as_it_is(self, state: dict[str, Any]) -> dict[str, Any]:
        """A copy where training goes on while it is written."""
        return state if self.writer is None else on_host(state, self.device)

    def _settle_soon(self) -> None:
        """Commit and report if the thread is done; else wait until the GPU begins the last step that it was given.

        The CPU would run ahead by many steps, all of them in vain if the reporter then ends the run.
        """
        assert self.written is not None
        if self.written.done():
            self.settle()
        elif self.device.type == "cuda":
            with torch.cuda.device(self.device):
                previous, self.queued = self.queued, torch.cuda.Event(blocking=True)
                self.queued.record()
            if previous is not None:
                previous.synchronize()

    def settle(self) -> None:
        """Commit and report the evaluation whose files the thread writes, if there is one; waits for the thread.

        Raises what the thread has raised, what the guard raises, and _StoppedError when the reporter ends the run.
        """
        if self.written is not None and self.store is not None:
            staged = self.written.result()
            self.written = None
            self.store.put_in_place(staged)
            self.tell(self.history[-1])

    def tell(self, evaluation: Evaluation) -> None:
        """Report an evaluation. Raises _StoppedError when the reporter ends the run."""
        if not self.report(evaluation.step, evaluation.scores):
            raise _StoppedError

    def keep_state(self) -> None:
        """Write the state of a run that is stopped, which may be amid two evaluations, unless the stored one will do.

        Raises what the guard raises. A disk that is full keeps the stored state.
        """
        is_recent = self.steps_done == self.saved_steps or time.perf_counter() - self.saved < STOP_SECONDS
        if self.store is None or self.is_complete or is_recent:
            return
        with suppress(OSError):
            self.store.put_in_place(self.store.stage(self.history, {STATE: state_content(self._state())}))

    def close(self) -> None:
        """Wait for the thread that writes files. An evaluation that an error kept from being committed is dropped."""
        if self.writer is not None:
            self.writer.shutdown()
        if self.written is not None:
            with suppress(Exception):  # the run ends with the error that came first
                self.written.result().discard()

    def _state(self) -> TrainingState:
        return TrainingState(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            generator=self.generator.get_state(),
            rng=torch.get_rng_state(),
            cuda_rng=torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            steps_done=self.steps_done,
            loss_sum=self.loss_sum,
            average=None if self.average is None else self.average.model.state_dict(),
        )

    def identity(self) -> dict[str, str]:
        """What the result depends on: config, photos and kind of device, as plain values."""
        return {
            "config": identity_of(self.config, self.device.type),
            "data": self.data.identity,
            "device": self.device.type,
        }

    def resume(self, store: EvaluationStore) -> None:
        """Continue this run where its folder holds it, and commit evaluations to ``store`` from now on."""
        self.store = store
        facts = (self.data.identity, self.device.type, len(self.stops))
        record = store.recover(lambda record: upgrade_record(store.folder, record, self.config, *facts))
        if record is None:
            return
        self.history = list(record.evaluations)
        self.seconds_before = self.history[-1].seconds
        if record.is_complete:
            return
        if STATE not in record.files:
            return  # no evaluation was late enough to write one
        state = load_state(store.folder / STATE)
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.scaler.load_state_dict(state.scaler)
        self.generator.set_state(state.generator)
        torch.set_rng_state(state.rng)
        if state.cuda_rng is not None:
            torch.cuda.set_rng_state(state.cuda_rng, self.device)
        if state.loss_sum is not None:
            self.loss_sum.copy_(state.loss_sum)
        if self.average is not None:
            assert state.average is not None  # the identity says that this run averages
            self.average.model.load_state_dict(state.average)
        self.steps_done = self.saved_steps = state.steps_done


def _peak_gib(device: torch.device) -> float:
    """Peak memory in GiB: of the run's tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts it in KiB
