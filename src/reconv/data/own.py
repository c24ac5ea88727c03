"""Data of one's own: PyTorch's DataLoaders and Datasets, tensors, or images alone, as a `DataSet`.

What they give reaches the network as it is: it comes prepared, so nothing is normalized or augmented here. Only pixels,
uint8, are normalized, and only where it is said how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from reconv.data.dataset import DataSet
from reconv.data.randomness import seeded
from reconv.data.splits import PLAIN, Reading, Split, TensorSplit, hold_out
from reconv.errors import DataError
from reconv.inputs import batch_size, on_device, tensors_of
from reconv.provenance import Normalization

SplitName = Literal["train", "validation", "test"]
CALIBRATION = "calibration"
NO_LABEL = -1
_MOST_BYTES = 4 << 30  # kept in memory, of what can only be iterated over
_MOST_PASSES = 10  # that a sampler may make over a dataset before it counts as endless
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
LABEL_KEYS = ("labels", "label", "targets", "target")  # of batches that are mappings, as Hugging Face's are
_READERS = (Dataset, DataLoader)
_EXPECTED = (
    "a DataSet, a torch DataLoader or Dataset of (input, target), a pair of tensors, images alone as a float tensor "
    "[n, C, H, W] or an iterable of them, or a mapping of such to train, validation and test"
)


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """Items of a torch `Dataset`, read when they are needed.

    Attributes:
        dataset: map-style; each item an input or `(input, target)`.
        indices: int64 `[n]`: which of its items, in which order.
        collate: makes a batch of a list of items.
        workers: processes that read ahead.
        targets: of all its items, int64, where the dataset says without being read.
    """

    dataset: Any
    indices: Tensor
    collate: Callable[[list[Any]], Any] = default_collate
    workers: int = 0
    targets: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """int64 `[n]`; read from the items where the dataset does not say."""
        if self.targets is not None:
            return self.targets[self.indices]
        batches = torch.arange(len(self)).split(256)
        return torch.cat([targets for _, targets in self.stream(batches)])

    def __len__(self) -> int:
        return len(self.indices)

    def subset(self, indices: Tensor) -> DatasetSplit:
        return replace(self, indices=self.indices[indices])

    def stream(self, batches: Sequence[Tensor], reading: Reading = PLAIN) -> Iterator[tuple[Any, Any]]:
        """The items at each batch of indices; what the dataset draws from torch's generator is decided by the seed and
        the index (see `Split`)."""
        device, seed = reading.device, reading.seed or 0
        loader: Iterable[Any] = DataLoader(
            _Seeded(self.dataset, seed),  # type: ignore[arg-type]
            batch_sampler=[self.indices[batch].tolist() for batch in batches],
            num_workers=max(reading.workers, self.workers),
            collate_fn=self.collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(seed),
        )
        try:
            for batch in loader:
                inputs, targets = input_and_target(batch)
                yield on_device(inputs, device), on_device(targets, device)
        except RuntimeError as error:
            if "stack expects each tensor" not in str(error):
                raise
            raise DataError("data: images of different shapes in a batch; bring all to one size.") from error


@dataclass(frozen=True)
class _Seeded:
    """A dataset whose random transforms depend on the seed and the index alone."""

    dataset: Any
    seed: int

    def __getitem__(self, index: int) -> Any:
        with seeded(self.seed, index):
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)


def as_data_set(
    data: Any,
    *,
    example: Tensor | None = None,
    only: SplitName | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    normalization: Normalization | None = None,
    seed: int = 0,
) -> DataSet:
    """Data of one's own as a `DataSet`, the form that evaluation, training, calibration and the whole pipeline take.

    Args:
        data: one of
            - a `DataSet`, which is returned as it is;
            - a torch `DataLoader` or `Dataset` of `(input, target)`, or a tuple of two such tensors. Of a loader
              the dataset, `collate_fn`, workers and sampler (asked once) are used; who reads decides batch sizes and
              order. What can only be iterated over is read into memory, 4 GiB at most. An input may be a structure of
              tensors: a list is one argument of the network, a tuple its arguments, a mapping its keywords; a batch
              that is a mapping, as Hugging Face's are, has its targets under "labels";
            - images alone, for calibration: a float tensor `[n, C, H, W]`, or a loader, dataset or iterable of images;
            - a mapping of such to "train", "validation", "test", and "calibration" for images that criteria and repair
              look at; or a sequence: (train, test) or (train, validation, test).
        example: an input of the network, `[b, ...]`: the data have to have its shape.
        only: put all there is into this split; None: hold out the splits that are not given.
        validation, test: how much of the training images is held out for them: a fraction below 1 or a number; the same
            share of every class where the dataset says its labels (`targets`, as torchvision's do).
        normalization: of uint8 images; float images come prepared.
        seed: which images are held out.

    Returns:
        The data set; `labelled` is False for images alone.

    Raises:
        DataError: nothing in it, no end to it, or another form than these.

    Example:
        >>> images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 2
        >>> data = as_data_set((images, labels))
        >>> len(data.train), len(data.validation), len(data.test)
        (16, 2, 2)
    """
    if isinstance(data, DataSet):
        return data
    parts: dict[str, Split] = {name: _split(part, seed) for name, part in _named_parts(data, only).items()}
    calibration = parts.pop(CALIBRATION, None)
    parts = parts or {"train": calibration}  # type: ignore[dict-item]  # one of both is there
    source = parts.get("train") or next(iter(parts.values()))
    batch: tuple[Any, Any] = next(source.stream([torch.arange(min(2, len(source)))]))
    inputs, targets = batch
    if isinstance(inputs, Tensor):
        _check_inputs(inputs, normalization, example)
    labelled = not (isinstance(targets, Tensor) and targets.dtype == torch.long and bool((targets == NO_LABEL).all()))
    if "train" in parts and only is None and labelled:
        for name, amount in {"test": test, "validation": validation}.items():
            if name not in parts:
                shares = _known_labels(parts["train"])
                kept, held = hold_out(shares, round(amount * len(source)) if amount < 1 else amount, seed)
                parts[name], parts["train"] = parts["train"].subset(held), parts["train"].subset(kept)
    dataset = getattr(source, "dataset", None)
    nothing = source.subset(torch.arange(0))
    return DataSet(
        name=type(dataset).__name__ if dataset is not None else "own data",
        class_names=tuple(map(str, getattr(dataset, "classes", ()))) if _are_labels(targets) else (),
        input_size=tuple(tensors_of(inputs)[0].shape[0 if isinstance(inputs, list) else 1 :]),
        normalization=normalization,
        train=parts.get("train", nothing),
        validation=parts.get("validation", nothing),
        test=parts.get("test", nothing),
        labelled=labelled,
        calibration=calibration,
        sample=None if isinstance(inputs, Tensor) else inputs,
    )


def input_and_target(batch: Any) -> tuple[Any, Any]:
    """The inputs and the targets of a batch, or of one item; -1 for each where it has none.

    Raises:
        DataError: another form than `(input, target)`, an input alone, or a mapping.
    """
    if isinstance(batch, Mapping):
        inputs = {key: value for key, value in batch.items() if key not in LABEL_KEYS}
        targets = [value for key, value in batch.items() if key in LABEL_KEYS]
        tensors_of(inputs)
        return inputs, targets[0] if targets else torch.full((batch_size(inputs),), NO_LABEL)
    parts = (batch,) if isinstance(batch, Tensor) else tuple(batch) if isinstance(batch, tuple | list) else ()
    structured = len(parts) == 2 and isinstance(parts[0], tuple | list | Mapping)
    if len(parts) not in (1, 2) or not (structured or isinstance(parts[0], Tensor)):
        kinds = ", ".join(type(part).__name__ for part in parts) or type(batch).__name__
        raise DataError(
            f"data: a batch of ({kinds}); give (input, target), or inputs alone: tensors, or structures of tensors."
        )
    tensors_of(parts[0])
    inputs = tree_map(lambda x: x.float() if isinstance(x, Tensor) and x.dtype == torch.float64 else x, parts[0])
    return inputs, parts[1] if len(parts) == 2 else torch.full((batch_size(inputs),), NO_LABEL)


def _named_parts(data: Any, only: SplitName | None) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        if not data or not set(data) <= {*SPLITS, CALIBRATION}:
            keys = ", ".join((*SPLITS, CALIBRATION))
            raise DataError(f"data: a mapping of {', '.join(map(str, data))}; its keys are {keys}.")
        return data
    if isinstance(data, tuple | list) and len(data) in (2, 3) and all(isinstance(part, _READERS) for part in data):
        return dict(zip(SPLITS if len(data) == 3 else ("train", "test"), data))
    return {only or "train": data}


def _split(data: Any, seed: int) -> Split:
    pair = data.tensors if isinstance(data, TensorDataset) else data
    if isinstance(pair, Tensor):
        pair = (pair, torch.full((len(pair),), NO_LABEL))
    if isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair):
        if not len(pair[0]) == len(pair[1]) > 0:
            raise DataError(f"data: {len(pair[0])} inputs and {len(pair[1])} targets; give as many of both.")
        return TensorSplit(*pair)
    if isinstance(data, str | bytes | Mapping | nn.Module) or not isinstance(data, (*_READERS, Iterable)):
        raise DataError(f"data: {type(data).__name__}; give {_EXPECTED}.")
    if not isinstance(data, _READERS):
        return _read(data, seed)
    loader: DataLoader[Any] = data if isinstance(data, DataLoader) else DataLoader(data, 64)
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or (loader.batch_size is None and loader.batch_sampler is None):
        return _read(loader, seed)
    if len(dataset) == 0:
        raise DataError(f"data: {type(dataset).__name__} is empty; give one with images in it.")
    return DatasetSplit(dataset, _indices(loader, seed), loader.collate_fn, loader.num_workers, _targets(dataset))


def _indices(loader: DataLoader[Any], seed: int) -> Tensor:
    """The items that a loader reads in one pass: all of them, or those that its sampler draws."""
    size = len(loader.dataset)  # type: ignore[arg-type]
    batches = loader.batch_sampler or ()
    plain = type(batches) is BatchSampler and isinstance(loader.sampler, SequentialSampler | RandomSampler)
    if plain and len(loader.sampler) == size:  # type: ignore[arg-type]
        return torch.arange(size)
    with seeded(seed, "sampler"):
        drawn = (index for batch in batches for index in batch) if loader.batch_size is None else iter(loader.sampler)
        indices = list(islice(drawn, _MOST_PASSES * size + 1))
    if not 0 < len(indices) <= _MOST_PASSES * size:
        number = f"more than {_MOST_PASSES} times its {size} items" if indices else "nothing"
        raise DataError(f"data: the loader's sampler draws {number}; give one that passes over the data once.")
    return torch.tensor(sorted(indices))


def _targets(dataset: Any) -> Tensor | None:
    """The labels of all items, where a dataset has them at hand, as torchvision's do."""
    if isinstance(dataset, Subset):
        whole = _targets(dataset.dataset)
        return None if whole is None else whole[torch.as_tensor(dataset.indices)]
    try:
        targets = torch.as_tensor(dataset.targets)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
    return targets.long() if _are_labels(targets) and len(targets) == len(dataset) else None


def _known_labels(split: Split) -> Tensor:
    """Labels by which a split is parted; one class where they are not at hand, or are no classes."""
    labels = None if isinstance(split, DatasetSplit) and split.targets is None else split.labels
    return labels if _are_labels(labels) else torch.zeros(len(split), dtype=torch.long)


def _are_labels(targets: Any) -> TypeGuard[Tensor]:
    return (
        isinstance(targets, Tensor)
        and targets.ndim == 1
        and not targets.is_floating_point()
        and bool((targets >= 0).all())
    )


def _read(batches: Iterable[Any], seed: int) -> TensorSplit:
    """All that an iterable gives, images one by one or in batches, in memory."""
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    size = 0
    with seeded(seed, "read"):
        for batch in batches:
            x, y = input_and_target(batch)
            if not isinstance(x, Tensor):
                raise DataError(
                    f"data: an iterable of inputs of kind {type(x).__name__}; give a Dataset with __getitem__ and "
                    "__len__, which is read when needed."
                )
            y = torch.as_tensor(y)
            if y.ndim == 0 or (isinstance(batch, Tensor) and x.ndim == 3):  # one image
                x, y = x[None], y.flatten()[:1]
            inputs.append(x)
            targets.append(y)
            size += x.nbytes
            if size > _MOST_BYTES:
                break
    if size > _MOST_BYTES:
        raise DataError(
            f"data: an iterable without an end within {_MOST_BYTES >> 30} GiB ({sum(map(len, inputs)):,} images); "
            "give fewer (itertools.islice), or a Dataset with __getitem__ and __len__, which is read when needed."
        )
    if not inputs:
        raise DataError("data: nothing in it; give a loader or an iterable with images in it.")
    shapes = sorted({tuple(x.shape[1:]) for x in inputs})
    if len(shapes) > 1:
        raise DataError(f"data: images of shapes {shapes[0]} and {shapes[1]}; bring all to one size.")
    return TensorSplit(torch.cat(inputs), torch.cat(targets))


def _check_inputs(inputs: Tensor, normalization: Normalization | None, example: Tensor | None) -> None:
    if inputs.dtype == torch.uint8 and normalization is None:
        raise DataError(
            "data: uint8 images, and how to normalize them is not known; give normalization=, or images prepared as "
            "the network takes them (float32)."
        )
    if inputs.dtype != torch.uint8 and not inputs.is_floating_point():
        raise DataError(f"data: inputs of {inputs.dtype}; give float32, prepared as the network takes them.")
    if example is not None and inputs.shape[1:] != example.shape[1:]:
        raise DataError(
            f"data: inputs of shape {tuple(inputs.shape[1:])}, but the network's example has "
            f"{tuple(example.shape[1:])}; give data and an example of the same shape."
        )
