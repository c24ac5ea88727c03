"""Batches depend on seed, epoch and step alone: not on where one starts, nor on how many processes share
them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from reconv.data import (
    Augmentation,
    DataSet,
    Share,
    TensorSplit,
    TrainingBatches,
    augment,
    calibration_images,
    evaluation_batches,
    load_data,
    normalize,
)
from reconv.data.augmentation import crop, erase, flip
from reconv.data.folder import FolderSplit
from reconv.data.loader import worker_count
from reconv.errors import DataError
from reconv.provenance import Normalization

PLAIN = Normalization((0.0, 0.0, 0.0), (1 / 255,) * 3)
EVERYTHING = Augmentation(padding=2, flip=True, trivial=True, erasing=0.5)


def numbered(n: int) -> TensorSplit:
    """Images of which each shows its own number."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 6, 6).contiguous()
    return TensorSplit(images, torch.arange(n))


def loader(n: int = 50, batch: int = 16, what: Augmentation = EVERYTHING, share: Share = Share()) -> TrainingBatches:  # noqa: B008
    return TrainingBatches(numbered(n), PLAIN, batch, what, seed=5, share=share)


def test_an_epoch_has_whole_batches_of_different_images() -> None:
    batches = loader(what=Augmentation())
    labels = torch.cat([labels for _, labels in batches.epoch(0)])
    assert batches.steps == 3
    assert len(labels) == len(labels.unique()) == 48
    for images, labels in batches.epoch(0):
        assert torch.equal(images[:, 0, 0, 0], labels.float())
    assert not torch.equal(labels, list(batches.epoch(1))[-1][1])


def test_a_resumed_epoch_goes_on_as_the_whole_one() -> None:
    whole = list(loader().epoch(4))
    for start in range(4):
        rest = list(loader().epoch(4, start=start))
        assert len(rest) == 3 - start
        for (images, labels), (again, labels_again) in zip(whole[start:], rest):
            assert torch.equal(images, again)
            assert torch.equal(labels, labels_again)


@pytest.mark.parametrize("world", [2, 4])
def test_the_shares_of_all_processes_are_the_whole_batch(world: int) -> None:
    parts = [list(loader(share=Share(rank, world)).epoch(2)) for rank in range(world)]
    for step, (images, labels) in enumerate(loader().epoch(2)):
        assert torch.equal(images, torch.cat([part[step][0] for part in parts]))
        assert torch.equal(labels, torch.cat([part[step][1] for part in parts]))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    list(loader().epoch(0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    assert [len(labels) for _, labels in loader(n=5).epoch(0)] == [5]


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DataError, match="16 images cannot be shared by 3 processes; give a multiple of 3"):
        loader(share=Share(0, 3))
    with pytest.raises(DataError, match="no images; hold out fewer"):
        loader(n=0)


def test_evaluation_reads_every_image_once_in_order() -> None:
    batches = list(evaluation_batches(numbered(10), PLAIN, 4, torch.device("cpu")))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([labels for _, labels in batches]), torch.arange(10))
    shares = [evaluation_batches(numbered(10), PLAIN, 4, torch.device("cpu"), Share(rank, 2)) for rank in (0, 1)]
    assert sorted(int(label) for share in shares for _, labels in share for label in labels) == list(range(10))
    assert list(evaluation_batches(numbered(0), PLAIN, 4, torch.device("cpu"))) == []


def by_hand(image: Tensor, padding: int, row: int, column: int) -> Tensor:
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    return padded[:, row : row + height, column : column + width]


def test_crop_and_flip_are_what_slicing_gives() -> None:
    images = torch.randint(0, 256, (9, 3, 5, 7), dtype=torch.uint8)
    corners = torch.stack([torch.arange(9) % 5, torch.arange(9) // 2], dim=1)
    expected = torch.stack([by_hand(image, 2, int(r), int(c)) for image, (r, c) in zip(images, corners)])
    assert torch.equal(crop(images, 2, corners), expected)
    mirrored = torch.arange(9) % 2 == 0
    result = flip(images, mirrored)
    assert torch.equal(result[0], images[0].flip(2))
    assert torch.equal(result[1], images[1])


def test_every_shift_and_both_sides_come_up_and_the_input_stays() -> None:
    images = torch.randint(1, 256, (2000, 1, 3, 3), dtype=torch.uint8)
    before = images.clone()
    kinds = augment(images[:1].expand(2000, -1, -1, -1), Augmentation(padding=1, flip=True), seed=0)
    assert len(kinds.flatten(1).unique(dim=0)) == 18
    assert torch.equal(augment(images, Augmentation(), seed=0), images)
    augment(images, EVERYTHING, seed=0)
    assert torch.equal(images, before)


def test_erasing_sets_a_rectangle_to_zero_in_some() -> None:
    images = torch.ones(200, 3, 16, 16)
    touched = (erase(images, 0.3, seed=0) == 0).flatten(1).any(1)
    assert 30 < touched.sum() < 90
    assert images.min() == 1


def test_normalized_images_have_the_stated_mean_and_deviation() -> None:
    data = load_data("digits")
    images = calibration_images(data, 10_000)
    assert images.shape == (1077, 1, 8, 8)
    assert abs(float(images.mean())) < 0.01
    assert abs(float(images.std()) - 1) < 0.01
    value = normalize(torch.full((1, 3, 1, 1), 51, dtype=torch.uint8), Normalization((0.1, 0.2, 0.3), (0.5, 1, 2)))
    torch.testing.assert_close(value.flatten(), torch.tensor([0.2, 0.0, -0.05]))


def test_calibration_images_are_seeded_and_follow_the_normalization() -> None:
    data = load_data("digits")
    assert torch.equal(calibration_images(data, 7, seed=1), calibration_images(data, 7, seed=1))
    assert not torch.equal(calibration_images(data, 7, seed=1), calibration_images(data, 7, seed=2))
    other = data.with_normalization(Normalization((0.5,), (0.5,)))
    assert isinstance(other, DataSet)
    assert data.with_normalization(None) is data
    assert float(calibration_images(other, 7).abs().max()) <= 1


def test_processes_that_read_ahead_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    many = FolderSplit(Path(), ("image.jpg",) * 1000, torch.zeros(1000, dtype=torch.int64), 224, 256)
    assert worker_count(many) == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert worker_count(many) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert worker_count(many) == 1
    assert worker_count(many.subset(torch.arange(999))) == 0
    assert worker_count(numbered(2000 % 256)) == 0
