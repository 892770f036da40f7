"""Optuna's database storage for a database that goes away for a while: it waits, says so, and does nothing twice.

A server restarts, fails over, or cuts idle connections; another program locks an SQLite file. Everything that the
service asks of the database goes through the methods here, so all of it waits in one place. A call whose connection
was lost may have been done all the same, so each is safe to repeat: what is set is set again to the same value, a new
trial carries a token by which it is found, and an end that is there already with this state and value is ours.
"""

import copy
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
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
from search.database.errors import DatabaseError, is_passing, reason
from search.system.storage_url import shown_url

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600
"""How long a database that is away is waited for."""

WAITS = (0.1, 5.0)
"""Seconds before the second try, and the longest; each is 1.5 times the one before."""

QUIET_SECONDS = 1
"""A connection that is opened again within this is not worth a line."""

TOKEN = "mask-search:token"
"""System attribute of a trial: names the call that made it."""

T = TypeVar("T")

logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)  # it tells of every lost connection itself


class LostTurnError(DatabaseError):
    """The connection was lost in a turn (study_lock.exclusive), and what was done in it is undone."""


class Patience:
    """One thing that is tried until it goes well."""

    def __init__(self, storage: "ReconnectingStorage") -> None:
        self.storage, self.began, self.pause, self.is_long = storage, time.monotonic(), WAITS[0], False

    def wait(self, error: BaseException) -> None:
        """Pause after an error that may pass. Raises DatabaseError for one that lasts."""
        waited = time.monotonic() - self.began
        if isinstance(error, LostTurnError) and error.__cause__ is not None:
            error = error.__cause__
        if not is_passing(error):
            raise self.storage.explained(error) from error
        if waited + self.pause > self.storage.patience:
            self.storage.back_since = time.monotonic()  # it may be back from now on
            after = f", for {_long(waited)}" if waited >= 1 else ""
            raise self.storage.explained(error, after) from error
        if not self.is_long and waited + self.pause > QUIET_SECONDS:
            self.is_long = True
            self.tell(f"waiting for the database, for {_long(self.storage.patience)} at most: {reason(error)}")
        if not self.storage.is_file:
            self.storage.engine.dispose()  # the other connections are as dead, or lead to what was the primary
        if threading.current_thread() is threading.main_thread():
            beat()  # this process waits; it does not hang
        time.sleep(self.pause)
        self.pause = min(1.5 * self.pause, WAITS[1])

    def over(self) -> None:
        """It went well."""
        if self.is_long:
            self.tell("the database is back")
            self.storage.back_since = time.monotonic()

    def tell(self, line: str) -> None:
        """Write a line to stderr, unless whoever has the storage tells it in another way."""
        if self.storage.tells:
            logger.warning(line)


def _long(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


class ReconnectingStorage(RDBStorage):
    """RDBStorage that waits."""

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS, **options: Any) -> None:
        """``patience`` in seconds; it may be changed at any time."""
        self.patience = patience
        self.lock_seconds: float = STUCK_SECONDS
        """How long one process may hold the lock that this one waits for."""
        self.tells = True
        """Whether waiting is told on stderr."""
        self.back_since: float | None = None
        """When the database came back last, by time.monotonic."""
        self._turn = threading.local()
        super().__init__(url, **options)

    def explained(self, error: BaseException, after: str = "") -> DatabaseError:
        """The error as the user should read it."""
        return DatabaseError(f"The database {self.shown} cannot be used{after}: {reason(error)}.")

    @property
    def shown(self) -> str:
        """Its URL, without a password."""
        return shown_url(self.url)

    def lost_turn(self, error: BaseException) -> LostTurnError:
        """What a turn ends with when its connection is gone; to be raised from the error."""
        return LostTurnError(str(self.explained(error)))

    def patiently(self, call: Callable[[], T]) -> T:
        """What the call returns, once the database lets it; in a turn at once or not at all."""
        patience = Patience(self)
        while True:
            try:
                result = call()
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                if isinstance(error, DatabaseError):
                    raise
                if self.in_turn and is_passing(error):
                    raise self.lost_turn(error) from error
                patience.wait(error)
            else:
                patience.over()
                return result

    @property
    def is_file(self) -> bool:
        """Whether it is SQLite's."""
        return self.engine.dialect.name == "sqlite"

    @property
    def in_turn(self) -> bool:
        """Whether this thread is in a turn on a server, in one transaction."""
        return getattr(self._turn, "on", False)

    @contextmanager
    def within(self, connection: sqlalchemy.Connection) -> Iterator[None]:
        """All that this thread does here is part of the connection's transaction, and is kept or undone with it."""
        self.scoped_session.remove()
        self.scoped_session.registry.set(Session(bind=connection, join_transaction_mode="create_savepoint"))
        self._turn.on = True
        try:
            yield
        finally:
            self._turn.on = False
            self.scoped_session.remove()

    # what cannot simply be repeated

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See RDBStorage."""
        name, tries = study_name or f"no-name-{uuid.uuid4()}", Tries()

        def create() -> int:
            tries.count += 1
            try:
                return RDBStorage.create_new_study(self, directions, name)
            except DuplicatedStudyError:
                if tries.count == 1:
                    raise
                return RDBStorage.get_study_id_from_name(self, name)

        return self.patiently(create)

    def delete_study(self, study_id: int) -> None:
        """See RDBStorage."""
        tries = Tries()

        def delete() -> None:
            tries.count += 1
            try:
                RDBStorage.delete_study(self, study_id)
            except KeyError:
                if tries.count == 1:
                    raise

        self.patiently(delete)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        template = copy.copy(template_trial or create_trial(state=TrialState.RUNNING))
        template.system_attrs = {**template.system_attrs, TOKEN: uuid.uuid4().hex}

        def create() -> FrozenTrial:
            with _create_scoped_session(self.scoped_session) as session:
                models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
                made = self._get_prepared_new_trial(study_id, template, session)
                found = copy.deepcopy(template)
                found.number, found._trial_id = int(made.number), int(made.trial_id)
                found.datetime_start = made.datetime_start
                return found

        return self.patiently(create)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        """With the study's row locked: the trial that an earlier try has made after all, or a new one."""
        assert template_trial is not None
        attribute = models.TrialSystemAttributeModel
        found = (
            session.query(models.TrialModel)
            .join(attribute, attribute.trial_id == models.TrialModel.trial_id)
            .filter(models.TrialModel.study_id == study_id)
            .filter(attribute.key == TOKEN, attribute.value_json == f'"{template_trial.system_attrs[TOKEN]}"')
            .one_or_none()
        )
        return found or super()._get_prepared_new_trial(study_id, template_trial, session)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See RDBStorage."""
        tries = Tries()

        def tell() -> bool:
            tries.count += 1
            try:
                return RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                found = RDBStorage.get_trial(self, trial_id)
                same = found.state == state and (values is None or found.values == [float(value) for value in values])
                if tries.count == 1 or not same:
                    raise
                return True

        return self.patiently(tell)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Whose heartbeat is old; nobody's while no heartbeat could be written, nor soon after."""
        assert self.grace_period is not None
        if self.back_since is not None and time.monotonic() - self.back_since < self.grace_period:
            return []
        return self.patiently(lambda: RDBStorage._get_stale_trial_ids(self, study_id))

    # what can be repeated: reading, and setting to the same value

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        """A second row of the name is refused by the table, which Optuna takes for well done."""
        whole = (trial_id, param_name, param_value_internal, distribution, previous_distribution)
        self.patiently(lambda: RDBStorage._set_trial_param(self, *whole))


class Tries:
    """How often something was tried."""

    count = 0


def _repeated(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    def call(self: ReconnectingStorage, *args: Any, **options: Any) -> Any:
        return self.patiently(lambda: method(self, *args, **options))

    call.__doc__ = method.__doc__
    return call


for _name in (
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "get_all_studies",
    "get_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "get_trial",
    "_get_trials",
    "_get_best_trial_id",
    "set_study_user_attr",
    "set_study_system_attr",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "record_heartbeat",
):
    setattr(ReconnectingStorage, _name, _repeated(_name))
