"""Trees of images: read alike for every number of workers, and what is wrong with one is named when it is
opened."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reconv.data import Augmentation, DataWarning, FolderSplit, Reading, TrainingBatches, calibration_images, load_data
from reconv.data import folder as folder_module
from reconv.data.folder import usual_share
from reconv.errors import DataError, UnknownNameError
from reconv.provenance import Normalization, Provenance, attach
from reconv.training import evaluate

COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def tree(root: Path, parts: tuple[str, ...] = ("train", "val"), n: int = 6) -> Path:
    for part in parts:
        for name, color in COLORS.items():
            place = root / part / name
            place.mkdir(parents=True)
            for number in range(n):
                Image.new("RGB", (40 + number, 30), color).save(place / f"{number}.jpg", quality=95)
    return root


def test_images_come_with_their_labels(tmp_path: Path) -> None:
    data = load_data(str(tree(tmp_path / "colors")), image_size=16, validation=3)
    assert data.name == "colors"
    assert data.class_names == ("blue", "green", "red")
    assert data.input_size == (3, 16, 16)
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 3, 18)
    assert data.validation.labels.tolist() == [0, 1, 2]
    for split in (data.train, data.validation, data.test):
        for images, _ in split.stream([torch.arange(len(split))]):
            assert images.shape == (len(split), 3, 16, 16)
            assert images.dtype == torch.uint8
            # Blue is channel 2 and label 0.
            assert torch.equal(2 - images.float().mean((2, 3)).argmax(1), split.labels)


def test_imagenet_is_found_below_the_root_and_by_name(tmp_path: Path) -> None:
    tree(tmp_path / "imagenet")
    assert load_data("ImageNet", tmp_path, image_size=16).num_classes == 3
    assert load_data("imagenet", tmp_path / "imagenet", image_size=16).name == "imagenet"
    with pytest.raises(DataError, match=r"holds neither train/ nor imagenet/train/; point --data-root or RECONV_DATA"):
        load_data("imagenet", tmp_path / "imagenet" / "train")


def test_with_a_test_folder_val_is_for_validation(tmp_path: Path) -> None:
    tree(tmp_path, ("train", "val", "test"))
    data = load_data(str(tmp_path), image_size=16)
    assert isinstance(data.validation, FolderSplit)
    assert isinstance(data.test, FolderSplit)
    assert data.validation.root.name == "val"
    assert data.test.root.name == "test"
    assert len(data.train) == 18


def test_random_crops_depend_on_the_seed_alone(tmp_path: Path) -> None:
    root = tree(tmp_path)
    noise = torch.randint(0, 256, (30, 40, 3), dtype=torch.uint8).numpy()
    for path in root.rglob("*.jpg"):
        Image.fromarray(noise).save(path)
    split = load_data(str(root), image_size=16, validation=0).train
    parts = list(torch.arange(18).split(6))

    def read(seed: int | None, workers: int = 0) -> torch.Tensor:
        return torch.cat([images for images, _ in split.stream(parts, Reading(seed=seed, workers=workers))])

    assert torch.equal(read(1), read(1, workers=2))
    assert not torch.equal(read(1), read(2))
    assert not torch.equal(read(1)[0], read(1)[1])
    assert torch.equal(read(None)[0], read(None)[1])


def test_training_batches_of_a_folder_resume(tmp_path: Path) -> None:
    data = load_data(str(tree(tmp_path)), image_size=16, validation=0)
    batches = TrainingBatches(data.train, data.normalization, 6, Augmentation(resized_crop=True, flip=True))
    whole, rest = list(batches.epoch(1)), list(batches.epoch(1, start=2))
    assert len(whole) == 3
    assert torch.equal(whole[2][0], rest[0][0])
    assert calibration_images(data, 4).shape == (4, 3, 16, 16)


def truncated(root: Path) -> None:
    path = root / "train" / "green" / "3.jpg"
    Image.fromarray(torch.randint(0, 256, (90, 90, 3), dtype=torch.uint8).numpy()).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def empty_file(root: Path) -> None:
    (root / "val" / "red" / "1.jpg").write_bytes(b"")


def not_an_image(root: Path) -> None:
    (root / "train" / "red" / "1.jpg").write_text("hello")


def empty_class(root: Path) -> None:
    shutil.rmtree(root / "val" / "red")
    (root / "val" / "red").mkdir()


def one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "red")
    shutil.rmtree(root / "train" / "green")


def no_class(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def other_classes(root: Path) -> None:
    (root / "val" / "red").rename(root / "val" / "yellow")


def no_val(root: Path) -> None:
    shutil.rmtree(root / "val")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, r"1 of 18 images cannot be read: .*green/3.jpg \(.*truncated.*\); replace or remove"),
        (empty_file, r"1 of 18 images cannot be read: .*red/1.jpg \(empty file\)"),
        (not_an_image, r"red/1.jpg \(no JPEG, PNG, PPM, BMP, TIFF or WEBP file, whatever its ending says"),
        (empty_class, r"val/red: no image in this class; add some, or remove the folder"),
        (one_class, r"train: 1 class folder \(blue\); at least two are needed"),
        (no_class, r"train: 0 class folders; at least two are needed"),
        (other_classes, r"val: its classes differ from train/: red, yellow"),
        (no_val, r"does not hold train/ and val/"),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_what_is_wrong_with_a_tree_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: object, message: str, large: bool
) -> None:
    if large:
        monkeypatch.setattr(folder_module, "_DECODED_IF_AT_MOST", 0)
    tree(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        load_data(str(tmp_path), image_size=16)


def test_stray_files_are_named_and_left_out(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "train" / "notes.txt").write_text("x")
    (tmp_path / "train" / "red" / "Thumbs.db").write_text("x")
    with pytest.warns(DataWarning, match=r"train: 2 stray file\(s\).*notes.txt, .*Thumbs.db"):
        data = load_data(str(tmp_path), image_size=16, validation=0)
    assert len(data.train) == 18


def test_a_sound_tree_warns_of_nothing(tmp_path: Path) -> None:
    tree(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_data(str(tmp_path), image_size=16)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_goes_bad_later_is_named(tmp_path: Path, workers: int) -> None:
    split = load_data(str(tree(tmp_path)), image_size=16).test
    (tmp_path / "val" / "red" / "0.jpg").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"red/0.jpg \(no JPEG"):
        list(split.stream([torch.arange(len(split))], Reading(workers=workers)))


def test_names_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="data set: 'cifr10' is not known; did you mean cifar10"):
        load_data("cifr10")
    with pytest.raises(DataError, match="not a folder, a CSV or shards; give one that holds train/ and val/"):
        load_data(str(tmp_path / "nothing"))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DataError, match="not a folder"):
        load_data(str(file))


def test_an_image_that_breaks_later_is_named_and_left_blank_in_training_only(tmp_path: Path) -> None:
    data = load_data(str(tree(tmp_path)), image_size=16, validation=0)
    (tmp_path / "train" / "green" / "3.jpg").write_bytes(b"gone")
    (tmp_path / "val" / "green" / "3.jpg").write_bytes(b"gone")
    batches = TrainingBatches(data.train, data.normalization, 18)
    with pytest.warns(DataWarning, match=r"green/3.jpg \(no JPEG.*\): cannot be read; it is left blank"):
        images, labels = next(iter(batches.epoch(0)))
    assert len(images) == len(labels) == 18
    assert (images.flatten(1).std(1) < 0.5).sum() == 1  # the blank one; colors differ by channel
    with pytest.raises(DataError, match=r"green/3.jpg .* cannot be read; replace or remove it"):
        list(data.test.stream([torch.arange(18)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        alone = list(data.train.stream([torch.tensor([9])], Reading(blank_faults=True)))
    assert alone[0][0].shape == (1, 3, 16, 16)
    assert not alone[0][0].any()


def test_evaluation_scales_the_shorter_side_to_256_of_224_and_cuts_the_center(tmp_path: Path) -> None:
    """A photograph of 512 x 640 whose pixels show their column: what a side of 224 sees is columns by arithmetic."""
    for part in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            columns = np.tile(np.arange(640) * 255 // 639, (512, 1)).astype(np.uint8)
            Image.fromarray(np.stack([columns] * 3, 2)).save(folder / "0.png")
    data = load_data(str(tmp_path), validation=0)
    image = next(data.test.stream([torch.tensor([0])]))[0][0, 0]
    assert image.shape == (224, 224)
    # 512 -> 256 halves the picture to 256 x 320; columns 48 to 272 of these are cut out, 96 to 544 of the original.
    left, right = 96 * 255 / 639, 544 * 255 / 639
    assert float(image[100, 0]) == pytest.approx(left, abs=1.5)
    assert float(image[100, -1]) == pytest.approx(right, abs=1.5)


def test_size_and_crop_of_images_on_disk_are_the_users(tmp_path: Path) -> None:
    root = str(tree(tmp_path))
    data = load_data(root, image_size=16, resize=16, normalization=Normalization((0.5,) * 3, (0.5,) * 3))
    assert (data.input_size, data.normalization.mean, data.assumed) == ((3, 16, 16), (0.5,) * 3, False)  # type: ignore[union-attr]
    assert (data.train.side, data.train.resize) == (16, 16)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="image_size 16, resize 8; give pixels, and resize at least image_size"):
        load_data(root, image_size=16, resize=8)


def test_of_a_small_folder_a_fifth_is_held_out(tmp_path: Path) -> None:
    data = load_data(str(tree(tmp_path)), image_size=16)
    assert len(data.validation) == round(0.2 * (len(data.train) + len(data.validation)))


def test_the_larger_of_a_tenth_and_200_images_is_held_out_and_at_most_a_fifth() -> None:
    held = {images: round(images * usual_share("mine", images)) for images in (500, 1000, 1500, 2000, 5000)}
    assert held == {500: 100, 1000: 200, 1500: 200, 2000: 200, 5000: 500}


def test_figures_on_a_folder_warn_where_nobody_said_how_the_network_takes_images(tmp_path: Path) -> None:
    root, model = str(tree(tmp_path)), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.warns(
        DataWarning, match=r"how the network takes images is not known; .* give load_data its image_size"
    ):
        evaluate(model, load_data(root, image_size=16))
    own = Normalization((0.5,) * 3, (0.5,) * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        said = evaluate(model, load_data(root, image_size=16, normalization=own))
        assert evaluate(attach(model, Provenance(normalization=own)), load_data(root, image_size=16)) == said
