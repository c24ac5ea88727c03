"""Norms leave the global state as it was: threads, generator, default dtype, gradient mode, weights."""

from __future__ import annotations

import threading

import pytest
import torch

from reconv.conv import ConvGeometry, ConvProblem, channel_norms, channel_norms_of_layers
from reconv.threads import map_parts, thread_pool


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_global_state_is_as_before(two_threads: None) -> None:
    weight = torch.randn(40, 3, 3, 3, requires_grad=True)
    copy, state = weight.detach().clone(), torch.get_rng_state()
    channel_norms(weight, ConvGeometry(14, 3, padding=1))
    fresh: list[int] = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == 2
    assert fresh == [2]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert weight.grad is None
    assert torch.equal(weight.detach(), copy)


def test_the_default_dtype_does_not_matter() -> None:
    weight, geometry = torch.randn(4, 3, 3, 3), ConvGeometry(14, 3, padding=1)
    expected = channel_norms(weight, geometry)
    torch.set_default_dtype(torch.float64)
    try:
        norms = channel_norms(weight, geometry)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(norms[norm], expected[norm]) for norm in expected.values)


def test_workers_run_on_one_thread_each_without_gradients(two_threads: None) -> None:
    with thread_pool(), torch.no_grad():
        seen = list(map_parts(lambda _: (torch.get_num_threads(), torch.is_grad_enabled()), range(6)))
    assert seen == [(1, False)] * 6


def test_a_failing_job_is_the_callers_error(two_threads: None) -> None:
    def work(job: int) -> int:
        if job == 3:
            raise ValueError("job 3")
        return job

    with pytest.raises(ValueError, match="job 3"), thread_pool():
        list(map_parts(work, range(8)))
    assert torch.get_num_threads() == 2


def test_no_layers_no_norms() -> None:
    assert channel_norms_of_layers([]) == []
    empty = channel_norms_of_layers([ConvProblem(torch.zeros(0, 3, 3, 3), ConvGeometry(8, 3))])
    assert empty[0]["nuclear"].shape == (0,)


@pytest.mark.parametrize("size", [112, 224])
def test_large_maps_have_a_path(size: int) -> None:
    norms = channel_norms(torch.randn(2, 3, 3, 3), ConvGeometry(size, 3, padding=1))
    assert all(float(norms.errors[norm].max()) <= 1e-5 for norm in norms.values)
