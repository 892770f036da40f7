"""Optuna's database storage for a database that goes away for a while: it waits, logs that, and does nothing twice.

A server restarts, fails over, or cuts idle connections; another program locks an SQLite file. All access to the
database goes through the methods here, so that it waits in one place. A call whose connection was lost may have been
committed all the same, so each is safe to repeat: a value is set again to the same value, a new trial carries a token
by which it is found, and a final state that is stored already with this value counts as ours.
"""

import copy
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from maskcls.system.liveness import beat
from maskcls.system.lock import STUCK_SECONDS
from search.database.errors import DatabaseError, is_crowded, is_transient, reason
from search.database.rows import (
    add_trial,
    hold_trial,
    read_trial,
    read_trials,
    set_heartbeat,
    set_score,
    set_user_attribute_of_studies,
    set_user_attributes,
    stale_trials,
    state_and_attribute,
    study_user_attributes,
)
from search.system.storage_url import shown_url

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600
"""How long to wait for a database that is away."""

WAITS = (0.1, 5.0)
"""Seconds before the second try, and at most; each pause is 1.5 times the one before, less up to half of it at random:
the processes that a server has refused do not all come back at once."""

QUIET_SECONDS = 1
"""A shorter wait is not logged."""

TOKEN = "mask-search:token"
"""System attribute of a trial: identifies the call that created it."""

T = TypeVar("T")

logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)  # it logs every lost connection


class LostTurnError(DatabaseError):
    """The connection was lost in a turn (study_lock.exclusive), whose transaction is rolled back."""


class Patience:
    """The wait for one call that is repeated until it succeeds."""

    def __init__(self, storage: "ReconnectingStorage") -> None:
        self.storage, self.began, self.pause, self.is_long = storage, time.monotonic(), WAITS[0], False
        self.was_away = False
        """Whether the database was away, not just busy with other clients."""

    def wait(self, error: BaseException) -> None:
        """Pause after a transient error. Raises DatabaseError for any other, or once the patience is used up."""
        waited = time.monotonic() - self.began
        if isinstance(error, LostTurnError) and error.__cause__ is not None:
            error = error.__cause__
        if not is_transient(error):
            raise self.storage.explained(error) from error
        if waited + self.pause > self.storage.patience:
            self.storage.back_since = time.monotonic()  # it may be back from now on
            after = f", after a wait of {_duration(waited)}" if waited >= 1 else ""
            raise self.storage.explained(error, after) from error
        if not self.is_long and waited + self.pause > QUIET_SECONDS:
            self.is_long = True
            self._log(f"waiting for the database, {_duration(self.storage.patience)} at most: {reason(error)}")
        if not is_crowded(error):
            self.was_away = True
        if self.was_away and not self.storage.is_file:
            self.storage.engine.dispose()  # the other connections are dead too, or lead to the former primary
        if threading.current_thread() is threading.main_thread():
            beat()  # this process waits; it does not hang
        time.sleep(self.pause * random.uniform(0.5, 1))
        self.pause = min(1.5 * self.pause, WAITS[1])

    def succeeded(self) -> None:
        """To be called after the try that succeeded."""
        if self.is_long:
            self._log("the database is back")
            if self.was_away:
                self.storage.back_since = time.monotonic()

    def _log(self, message: str) -> None:
        if self.storage.logs_waiting:
            logger.warning(message)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


class ReconnectingStorage(RDBStorage):
    """RDBStorage that waits while its database is away."""

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS, **options: Any) -> None:
        """``patience`` in seconds; it may be changed at any time."""
        self.patience = patience
        self.lock_seconds: float = STUCK_SECONDS
        """How long one process may hold the lock that this one waits for."""
        self.logs_waiting = True
        """Whether waits are logged; False for a user that shows them itself."""
        self.back_since: float | None = None
        """When the database last came back, by time.monotonic."""
        self._turn = threading.local()
        super().__init__(url, **options)

    def explained(self, error: BaseException, after: str = "") -> DatabaseError:
        """The error with a message for the user; ``after`` follows "cannot be used"."""
        return DatabaseError(f"The database {shown_url(self.url)} cannot be used{after}: {reason(error)}.")

    def lost_turn(self, error: BaseException) -> LostTurnError:
        """The error that ends a turn whose connection is lost; to be raised from ``error``."""
        return LostTurnError(str(self.explained(error)))

    def patiently(self, call: Callable[[bool], T]) -> T:
        """The result of the call, repeated until the database answers, but not in a turn.

        Its argument is whether it may have been committed before, by a try whose connection was lost.
        """
        patience, is_repeated = Patience(self), False
        while True:
            try:
                result = call(is_repeated)
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                if isinstance(error, DatabaseError):
                    raise
                if self._is_in_turn and is_transient(error):
                    raise self.lost_turn(error) from error
                patience.wait(error)
                is_repeated = True
            else:
                patience.succeeded()
                return result

    def transact(self, work: Callable[[Session], T]) -> T:
        """The result of ``work`` with a session, in one transaction; in a turn, in that of the turn.

        It may be called again, with the first call rolled back, or committed although its answer was lost.
        Raises DatabaseError, also for a statement that the database refuses.
        """

        def run(_: bool) -> T:
            with _create_scoped_session(self.scoped_session) as session:
                return work(session)

        return self.patiently(run)

    @property
    def is_file(self) -> bool:
        """Whether the database is an SQLite file, not a server."""
        return self.engine.dialect.name == "sqlite"

    @property
    def _is_in_turn(self) -> bool:
        """Whether this thread is in a turn on a server, that is, in one transaction."""
        return getattr(self._turn, "connection", None) is not None

    @contextmanager
    def within(self, connection: sqlalchemy.Connection) -> Iterator[None]:
        """Make all that this thread does part of the connection's transaction, which begins here if it has not begun.

        Each call is a savepoint: one that is refused, as of a trial that has ended, leaves the others as they are.
        """
        if not connection.in_transaction():
            connection.begin()  # or each call would be a transaction of its own
        self.scoped_session.remove()
        self.scoped_session.registry.set(Session(bind=connection, join_transaction_mode="create_savepoint"))
        self._turn.connection = connection
        try:
            yield
        finally:
            self._turn.connection = None
            self.scoped_session.remove()

    def lock_trial(self, trial_id: int) -> None:
        """Wait for the trial's row and lock it until the end of the transaction, as whoever changes its state does.

        Within ``within`` only. Raises KeyError when there is no such trial.
        """

        def hold(_: bool) -> None:
            with self._reading() as session:
                hold_trial(session, trial_id)

        self.patiently(hold)

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A session that only reads: in a turn without a savepoint, as there is nothing to leave as it was."""
        connection = getattr(self._turn, "connection", None)
        if connection is None:
            with _create_scoped_session(self.scoped_session) as session:
                yield session
            return
        with Session(bind=connection, join_transaction_mode="rollback_only") as session:
            yield session

    # calls that cannot simply be repeated

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See RDBStorage."""
        name = study_name or f"no-name-{uuid.uuid4()}"

        def create(is_repeated: bool) -> int:
            try:
                return RDBStorage.create_new_study(self, directions, name)
            except DuplicatedStudyError:
                if not is_repeated:
                    raise
                return RDBStorage.get_study_id_from_name(self, name)

        return self.patiently(create)

    def delete_study(self, study_id: int) -> None:
        """See RDBStorage."""

        def delete(is_repeated: bool) -> None:
            try:
                RDBStorage.delete_study(self, study_id)
            except KeyError:
                if not is_repeated:
                    raise

        self.patiently(delete)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        template = copy.copy(template_trial or create_trial(state=TrialState.RUNNING))
        template.system_attrs = {**template.system_attrs, TOKEN: uuid.uuid4().hex}

        def create(is_repeated: bool) -> FrozenTrial:
            with _create_scoped_session(self.scoped_session) as session:
                models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
                earlier = _trial_with(template.system_attrs[TOKEN], study_id, session) if is_repeated else None
                trial = copy.deepcopy(template)
                trial._trial_id, trial.number = earlier or add_trial(session, study_id, template)
                return trial

        return self.patiently(create)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See RDBStorage."""

        def store(is_repeated: bool) -> bool:
            try:
                return RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                trial = RDBStorage.get_trial(self, trial_id)
                is_same = trial.state == state and (values is None or trial.values == list(map(float, values)))
                if not (is_repeated and is_same):
                    raise
                return True

        return self.patiently(store)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """See RDBStorage; none soon after the database was away, when no worker could write a heartbeat."""
        assert self.grace_period is not None
        if self.back_since is not None and time.monotonic() - self.back_since < self.grace_period:
            return []
        grace = self.grace_period

        def read(_: bool) -> list[int]:
            with self._reading() as session:
                return stale_trials(session, study_id, grace)

        return self.patiently(read)

    # calls that can be repeated: reading, and setting to the same value

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        """See RDBStorage, which takes a second row of the same name, refused by the table, for a success."""
        arguments = (trial_id, param_name, param_value_internal, distribution, previous_distribution)
        self.patiently(lambda _: RDBStorage._set_trial_param(self, *arguments))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See RDBStorage."""
        self.transact(lambda session: set_score(session, trial_id, step, intermediate_value))

    def record_heartbeat(self, trial_id: int) -> None:
        """See RDBStorage, which takes one of a trial that does not exist, refused by the table, for a success."""

        def store(_: bool) -> None:
            with _create_scoped_session(self.scoped_session, True) as session:
                set_heartbeat(session, trial_id)

        self.patiently(store)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """See RDBStorage."""

        def read(_: bool) -> list[FrozenTrial]:
            with self._reading() as session:
                return read_trials(session, study_id, states, included_trial_ids, trial_id_greater_than)

        return self.patiently(read)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See RDBStorage."""

        def read(_: bool) -> FrozenTrial:
            with self._reading() as session:
                return read_trial(session, trial_id)

        return self.patiently(read)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See RDBStorage."""

        def read(_: bool) -> dict[str, Any]:
            with self._reading() as session:
                return study_user_attributes(session, study_id)

        return self.patiently(read)

    # what Optuna's storage does not have

    def set_trial_user_attrs(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Store several user attributes of a trial at once. Raises UpdateFinishedTrialError when it has ended."""

        def store(_: bool) -> None:
            with _create_scoped_session(self.scoped_session) as session:
                set_user_attributes(session, trial_id, attributes)

        self.patiently(store)

    def set_user_attr_of_studies(self, key: str, values: Mapping[int, Any]) -> None:
        """Store one user attribute of several studies, by their ids, in one transaction. Raises KeyError without one of
        them."""
        self.transact(lambda session: set_user_attribute_of_studies(session, key, values))

    def state_and_attribute(self, trial_id: int, key: str) -> tuple[TrialState, Any]:
        """A trial's state, and one of its user attributes; None in its place. Raises KeyError without the trial."""

        def read(_: bool) -> tuple[TrialState, Any]:
            with self._reading() as session:
                found = session.execute(state_and_attribute(trial_id, key)).one_or_none()
                if found is None:
                    raise KeyError(f"there is no trial of the id {trial_id}")
                state, text = found
                return state, None if text is None else json.loads(text)

        return self.patiently(read)


def _trial_with(token: str, study_id: int, session: Session) -> tuple[int, int] | None:
    """The id and the number of the trial that the call with this token has stored."""
    attribute = models.TrialSystemAttributeModel
    found = (
        session.query(models.TrialModel)
        .join(attribute, attribute.trial_id == models.TrialModel.trial_id)
        .filter(models.TrialModel.study_id == study_id)
        .filter(attribute.key == TOKEN, attribute.value_json == f'"{token}"')
        .one_or_none()
    )
    return None if found is None else (int(found.trial_id), int(found.number))


def _repeated(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    def call(self: ReconnectingStorage, *args: Any, **options: Any) -> Any:
        return self.patiently(lambda _: method(self, *args, **options))

    call.__doc__ = method.__doc__
    return call


for _name in (
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_system_attrs",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "get_all_studies",
    "get_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "_get_best_trial_id",
    "set_study_user_attr",
    "set_study_system_attr",
    "set_trial_user_attr",
    "set_trial_system_attr",
):
    setattr(ReconnectingStorage, _name, _repeated(_name))
