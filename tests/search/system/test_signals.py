"""Signals that were ignored before stay so, whoever handles them."""

import os
import signal
from collections.abc import Iterator

import pytest

from search.system.signals import handle, handled

ONE, OTHER = signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (ONE, OTHER)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_ignored_signal_is_not_handled() -> None:
    heard: list[int] = []
    signal.signal(ONE, signal.SIG_IGN)
    assert not handle(ONE, lambda number, _: heard.append(number))
    assert handle(OTHER, lambda number, _: heard.append(number))
    os.kill(os.getpid(), ONE)
    os.kill(os.getpid(), OTHER)
    assert heard == [OTHER]


def test_afterwards_all_is_as_it_was() -> None:
    heard: list[int] = []

    def mine(number: int, _: object) -> None:
        heard.append(-number)

    signal.signal(ONE, mine)
    signal.signal(OTHER, signal.SIG_IGN)
    with handled((ONE, OTHER), lambda number, _: heard.append(number)):
        os.kill(os.getpid(), ONE)
        os.kill(os.getpid(), OTHER)
    os.kill(os.getpid(), ONE)
    assert heard == [ONE, -ONE]
    assert signal.getsignal(OTHER) == signal.SIG_IGN
