"""Threads: results in order, few items ahead, and the number of threads as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from tiny import protocol, tiny_data, tiny_net

from reconv.threads import few_threads, map_in_threads, one_thread
from reconv.training import Listener, Session, StepRecord, train

CPU = torch.device("cpu")


@pytest.fixture
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_three_threads")
def test_results_come_in_order_from_several_threads_and_items_are_drawn_late() -> None:
    drawn: list[int] = []
    seen: set[int] = set()
    together = threading.Barrier(3, timeout=20)

    def items() -> Iterator[int]:
        for number in range(9):
            drawn.append(number)
            yield number

    def square(number: int) -> int:
        seen.add(threading.get_ident())
        together.wait()
        assert torch.get_num_threads() == 1
        return number * number

    results = map_in_threads(square, items(), CPU)
    assert next(results) == 0
    assert len(drawn) <= 6
    assert list(results) == [number * number for number in range(1, 9)]
    assert len(seen) == 3
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("_three_threads")
def test_a_failure_comes_through_and_the_number_of_threads_is_put_back() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda number: 1 // number, [1, 0, 1], CPU))
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("_three_threads")
def test_a_training_with_small_batches_uses_one_thread() -> None:
    class Look(Listener):
        threads: ClassVar[set[int]] = set()

        def step(self, record: StepRecord) -> None:
            self.threads.add(torch.get_num_threads())

    train(tiny_net(), tiny_data(), protocol(), session=Session(device="cpu", progress=False, listeners=(Look(),)))
    assert Look.threads == {1}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("_three_threads")
def test_small_batches_get_one_thread() -> None:
    with few_threads(64 * 64, CPU):
        assert torch.get_num_threads() == 1
    with few_threads(128 * 1024, CPU):
        assert torch.get_num_threads() == 3
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 3
