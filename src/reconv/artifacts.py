"""A model, pruned or not, as a folder of data, rebuilt bit-equal in a fresh process without tracing.

    manifest.json         how to build the original, edited sizes, what was removed, versions, fingerprint
    weights.safetensors   every parameter and buffer

Scores are one safetensors file whose metadata is JSON.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from reconv import __version__
from reconv.errors import ArtifactError, check_kind
from reconv.files import (
    PathLike,
    parse_json,
    read_json,
    read_metadata,
    read_tensors,
    tensors_fingerprint,
    write_json,
    write_tensors,
)
from reconv.folders import folder_at_once, recover
from reconv.graph.bypass import bypass
from reconv.graph.sizes import set_size, size_at
from reconv.plan import Plan
from reconv.provenance import Edit, ModelSpec, Provenance, attach, provenance_of
from reconv.registry import register
from reconv.saliency import Saliency
from reconv.surgery import SIZES
from reconv.zoo import ModelSource, build_skeleton, fill, find_model
from reconv.zoo.code import find_in_code, named_code
from reconv.zoo.weights import weights_metadata

FORMAT = 1
_MANIFEST, _WEIGHTS = "manifest.json", "weights.safetensors"
_FORMERLY = "recipe.json"  # the name of the manifest in folders of reconv 0.1
_SCORES_KEY = "reconv_scores"
OWN_CODE = ("file", "module")  # sources whose models are of the user's own classes


def save(model: nn.Module, path: PathLike, *, plan: Plan | None = None, overwrite: bool = False) -> None:
    """Save a model as a folder.

    Args:
        model: from `load_model`, or pruned from one; or of a class of your own, which `load` then asks for.
        path: the folder; it appears complete or not at all.
        plan: what was removed, for the record.
        overwrite: replace a folder that reconv wrote.

    Raises:
        ArtifactError: the folder exists, or cannot be written.

    Example:
        >>> import torch, reconv
        >>> model = reconv.load_model("resnet20")
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 32, 32))
        >>> plan = reconv.choose(graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.5))
        >>> reconv.save(reconv.prune(model, plan), "resnet20-half", plan=plan)
    """
    check_kind("save: model", model, nn.Module)
    check_kind("save: path", path, (str, os.PathLike), "the path of the folder to write")
    check_kind("save: plan", plan, (Plan, NoneType))
    tensors = model.state_dict()
    manifest = {
        "format": FORMAT,
        "kind": "model",
        "versions": {"reconv": __version__, "torch": torch.__version__},
        "class": _class_of(model),
        **provenance_of(model).to_json(),
        "frozen": [name for name, parameter in _parameters(model) if not parameter.requires_grad],
        "plan": plan.to_json() if plan else None,
        "weights": {"file": _WEIGHTS, "fingerprint": tensors_fingerprint(tensors)},
    }
    with folder_at_once(path, overwrite=overwrite) as folder:
        write_tensors(folder / _WEIGHTS, tensors, weights_metadata(model))
        write_json(folder / _MANIFEST, manifest)


def is_saved_model(path: PathLike) -> bool:
    """Whether a folder holds a model that `save` wrote."""
    return _manifest_file(path).is_file()


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """By name; a tied one by each of its names."""
    return model.named_parameters(remove_duplicate=False)


def _manifest_file(path: PathLike) -> Path:
    recover(path)
    former = Path(path) / _FORMERLY
    return former if former.is_file() else Path(path) / _MANIFEST


def read_manifest(path: PathLike) -> dict[str, Any]:
    """The manifest of a saved model, without its weights: architecture, edits, plan, versions, fingerprint.

    Raises:
        ArtifactError: not a saved model, or of a newer reconv.
    """
    file = _manifest_file(path)
    if not file.is_file():
        raise ArtifactError(f"{path}: not a saved model (no {_MANIFEST} in it); give a folder that reconv.save wrote.")
    manifest = read_json(file)
    _check_header(manifest, "model", file)
    return dict(manifest)


def load(path: PathLike, *, model: nn.Module | None = None, code: str | None = None) -> nn.Module:
    """Rebuild a saved model: same bits, on the CPU, in evaluation mode, with its provenance.

    Args:
        path: the folder that `save` wrote.
        model: an unpruned instance, for a class that reconv cannot build by name; it is not touched.
        code: the Python file or module that defines the model's class, which a saved folder never imports by itself:
            `my_net.py`, `package.module`, or `my_net.py:make` for a function in it.

    Raises:
        ArtifactError: anything missing, truncated, corrupt, changed since, or of a newer reconv.
        UnknownNameError: an architecture that the installed libraries do not have.
        WeightsError: tensors that do not fit the architecture, or hold NaN or infinity.

    Example:
        >>> import torch, reconv
        >>> reconv.save(reconv.load_model("resnet20"), "resnet20-saved")
        >>> model = reconv.load("resnet20-saved")
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    check_kind("load: path", path, (str, os.PathLike), "the path of a folder that reconv.save wrote")
    check_kind("load: model", model, (nn.Module, NoneType))
    check_kind("load: code", code, (str, NoneType), "the path of the Python file that defines the class")
    manifest = read_manifest(path)
    file = _manifest_file(path)
    provenance = Provenance.from_json(manifest, str(file))
    if model is None:
        named = (code,) if code is not None else named_code()
        provenance = replace(provenance, spec=_spec_to_build(provenance.spec, named, manifest, file))
    tensors = read_tensors(Path(path) / _WEIGHTS)
    recorded = manifest["weights"].get("fingerprint") if isinstance(manifest.get("weights"), Mapping) else None
    if tensors_fingerprint(tensors) != recorded:
        raise ArtifactError(
            f"{Path(path) / _WEIGHTS}: not the weights that {file.name} belongs to (fingerprints differ); "
            "restore both files, or save the model again."
        )
    skeleton = _skeleton(provenance, model)
    _bypass(skeleton, provenance.removed, file)
    for module_path, edits in provenance.edits.items():
        _apply(skeleton, module_path, edits, file)
    _shrink(skeleton, tensors)
    fill(skeleton, tensors, path)
    _check_sizes(skeleton, file)
    _freeze(skeleton, manifest.get("frozen"), file)
    return attach(skeleton.eval(), provenance)


def _saved_folder(text: str) -> str | None:
    """The folder of the saved model that a text stands for: itself, or `model` in the folder of a run."""
    folder = next((folder for folder in (Path(text), Path(text) / "model") if is_saved_model(folder)), None)
    if folder is not None:
        return str(folder)
    is_path = os.sep in text and ":" not in text and not text.lower().endswith(".onnx")
    return text if is_path else None  # a path, which `load` refuses


register(
    ModelSource(
        "saved",
        "the folder of a saved model or a run",
        lambda path, _: load(path),
        find=_saved_folder,
        has_weights=True,
    )
)


def _class_of(model: nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _check_header(manifest: Any, kind: str, file: PathLike) -> None:
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or manifest.get("kind") != kind:
        raise ArtifactError(f"{file}: not a {kind} that reconv saved; give one that it did.")
    if version > FORMAT:
        raise ArtifactError(
            f"{file}: format {version}, written by a newer reconv; {__version__} reads up to {FORMAT}; upgrade it."
        )


def _skeleton(provenance: Provenance, model: nn.Module | None) -> nn.Module:
    if model is not None:
        return copy.deepcopy(model)
    assert provenance.spec is not None  # see _spec_to_build
    return build_skeleton(provenance.spec)


def _spec_to_build(
    spec: ModelSpec | None, named: tuple[str, ...], manifest: Mapping[str, Any], file: Path
) -> ModelSpec:
    """How to build the model, by code that the user has named where that is not reconv's.

    Raises:
        ArtifactError: it would take code that nobody named.
    """
    if spec is None:
        kind, inside, code, own = (
            str(manifest.get("class")),
            str(manifest.get("class")).rpartition(".")[2],
            "my_net.py",
            True,
        )
    else:
        source, name = find_model(spec.name)
        if source.name == "saved":  # it could name itself
            raise ArtifactError(f"{file}: built from another saved model, {spec.name}; save the model again.")
        code = "" if source.code is None else source.code(name)
        if not code or (not (own := source.name in OWN_CODE) and not {code, source.name}.isdisjoint(named)):
            return spec
        kind, inside = spec.name, name.rpartition(":")[2]
    found = find_in_code(inside, named) if own else None
    if found is None:
        lacks = f" ({', '.join(named)} has no network of that name)" if own and named else ""
        which = (
            "reconv cannot build by name" if spec is None else "takes code that a saved model never imports by itself"
        )
        raise ArtifactError(
            f"{file}: a {kind}, which {which}{lacks}; name the code, --code {code} or "
            f"reconv.load(path, code={code!r}), or give an unpruned instance: reconv.load(path, model=...)."
        )
    return ModelSpec(find_model(found)[0].name + f":{found}", {} if spec is None else spec.arguments)


def _bypass(model: nn.Module, removed: Mapping[str, int], file: Path) -> None:
    """Put stand-ins in the places of the modules of removed branches."""
    try:
        bypass(model, removed)
    except AttributeError:
        raise ArtifactError(
            f"{file}: it removes {', '.join(removed)}, and this architecture lacks one of them; save the model again."
        ) from None


def _apply(model: nn.Module, path: str, edits: Mapping[str, Edit], file: Path) -> None:
    """Set sizes of a module; only a number, or tuple of numbers, that it already has may be replaced."""
    try:
        module = model.get_submodule(path)
    except AttributeError:
        raise ArtifactError(f"{file}: it edits {path}, which this architecture lacks; save the model again.") from None
    for name, value in edits.items():
        old = size_at(module, name)
        if type(old) is not type(value) or (isinstance(old, tuple) and not all(type(n) is int for n in old)):
            raise ArtifactError(f"{file}: it edits {path}.{name}, which is no size of a layer; save the model again.")
        set_size(module, name, value)


def _shrink(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Let parameters and buffers have the shapes of smaller tensors; larger ones are for `fill` to refuse."""
    shrunk: dict[int, Tensor] = {}  # tied parameters stay tied
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for store in (module._parameters, module._buffers):
            for name, old in store.items():
                new = tensors.get(prefix + name)
                if old is None or new is None or old.ndim != new.ndim or old.shape == new.shape:
                    continue
                if all(n <= o for n, o in zip(new.shape, old.shape)):
                    module._non_persistent_buffers_set.discard(name)  # cut, so that it was saved after all
                    store[name] = shrunk.setdefault(id(old), _empty_like(old, new))


def _empty_like(old: Tensor, new: Tensor) -> Tensor:
    empty = torch.empty(new.shape, dtype=old.dtype, device="meta")
    return nn.Parameter(empty, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else empty


def _freeze(model: nn.Module, frozen: Any, file: Path) -> None:
    """Let parameters learn, or not, as those that were saved."""
    if frozen is None:  # of a version that did not say
        return
    parameters = dict(_parameters(model))
    if not isinstance(frozen, list) or not all(isinstance(name, str) and name in parameters for name in frozen):
        raise ArtifactError(f"{file}: frozen is no list of this model's parameters; save the model again.")
    unlearnt = set(frozen)
    for name, parameter in parameters.items():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(name not in unlearnt)


def _check_sizes(model: nn.Module, file: Path) -> None:
    """Every layer's sizes must be those of its tensors."""
    for path, module in model.named_modules():
        sizes_of = next((sizes_of for kind, sizes_of in SIZES if isinstance(module, kind)), None)
        for name, size in (sizes_of(module) if sizes_of else {}).items():
            if getattr(module, name, size) != size:
                raise ArtifactError(
                    f"{file}: {path}.{name} is {getattr(module, name)}, its tensors have {size}; "
                    "the manifest was changed: restore it, or save the model again."
                )


# --- scores ------------------------------------------------------------------------------------------------


def save_saliency(saliency: Saliency, path: PathLike) -> None:
    """Save scores as one safetensors file, with criterion, algorithms and the weights' fingerprint."""
    tensors = {f"values/{name}": values for name, values in saliency.values.items()}
    tensors |= {f"errors/{name}": errors for name, errors in saliency.errors.items()}
    header = {
        "format": FORMAT,
        "kind": "scores",
        "versions": {"reconv": __version__, "torch": torch.__version__},
        "criterion": saliency.criterion,
        "direction": saliency.direction,
        "algorithms": {name: list(names) for name, names in saliency.algorithms.items()},
        "weights": saliency.weights,
        "layers": list(saliency.values),
        "fingerprint": tensors_fingerprint(tensors),
    }
    write_tensors(path, tensors, {_SCORES_KEY: json.dumps(header)})


def load_saliency(path: PathLike) -> Saliency:
    """Read scores that `save_saliency` wrote.

    Raises:
        ArtifactError: missing, truncated, corrupt, or not scores.
    """
    header = parse_json(read_metadata(path).get(_SCORES_KEY, "null"), path)
    _check_header(header, "scores", path)
    tensors = read_tensors(path)
    if tensors_fingerprint(tensors) != header.get("fingerprint"):
        raise ArtifactError(f"{path}: its values are not those that were saved (fingerprints differ); score again.")
    try:
        return Saliency(
            criterion=str(header["criterion"]),
            direction=header["direction"],
            values={name: tensors[f"values/{name}"] for name in header["layers"]},
            errors={name: tensors[f"errors/{name}"] for name in header["layers"] if f"errors/{name}" in tensors},
            algorithms={str(name): tuple(map(str, names)) for name, names in header["algorithms"].items()},
            scored=str(header["weights"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: its metadata lacks {error}; score again.") from None
