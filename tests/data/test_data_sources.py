"""Data sets are found by name in one place, ours and a user's alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import reconv
from reconv.data import DataSource, LoadOptions, canonical_data_set, data_set_names, find_source, load_data
from reconv.errors import ReconvError, UnknownNameError
from reconv.training import load_protocol


@pytest.mark.parametrize("spelling", ["cifar10", "CIFAR10", "cifar-10", "CIFAR_10"])
def test_every_spelling_of_a_name_is_the_same_data_set(spelling: str) -> None:
    assert canonical_data_set(spelling) == "cifar10"
    for alias in ("paper", "default", "default-finetune", "default-between"):
        assert load_protocol(alias, spelling) == load_protocol(alias, "cifar10")
    assert load_protocol("paper", spelling).name == "paper-cifar"


def test_what_sources_say_of_their_images_is_true() -> None:
    for name in ("digits",):
        source, data = DataSource.registry[name], load_data(name)
        assert (source.input_size, source.num_classes) == (data.input_size, data.num_classes)


@pytest.mark.usefixtures("own_registries")
def test_a_users_source_is_loaded_by_name_as_ours_are(tmp_path: Path) -> None:
    def load(options: LoadOptions) -> DataLoader[object]:
        assert (options.seed, options.path) == (3, tmp_path)
        return DataLoader(TensorDataset(torch.rand(40, 1, 4, 4), torch.arange(40) % 2), batch_size=8)

    source = DataSource("two-tone", "random images", load, input_size=(1, 4, 4), num_classes=2)
    reconv.register(source)
    data = load_data("TwoTone", tmp_path, seed=3, validation=10)
    assert (len(data.train), len(data.validation), len(data.test)) == (26, 10, 4)
    assert "two-tone" in data_set_names()
    assert load_protocol("default-finetune", "two-tone").name == "digits-finetune"  # images as small as these


@pytest.mark.usefixtures("own_registries")
def test_a_users_source_recognizes_its_folders(tmp_path: Path) -> None:
    recognizes = lambda path: (path / "mine.txt").is_file()  # noqa: E731
    mine = reconv.register(DataSource("mine", "a folder with mine.txt", lambda options: options, recognizes=recognizes))
    assert find_source(str(tmp_path))[0].name == "folder"
    (tmp_path / "mine.txt").touch()
    assert find_source(str(tmp_path)) == (mine, tmp_path)


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="data set: 'cifr10' is not known; did you mean cifar10"):
        load_data("cifr10")
    with pytest.raises(ReconvError, match="load_data: DataLoader; give a name or the path of a folder, or use"):
        load_data(DataLoader([1]))  # type: ignore[arg-type]
