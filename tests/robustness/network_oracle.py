"""Whether a pruned network is right, told without anything of reconv's engine.

The numbers of the big network are all different, so that the entries of the pruned one say themselves where they come
from. What is not among them is zeroed in the big network, and both must compute the same, in float64, for two sizes of
a batch, in evaluation and in training mode. Norms and means over channels leave channels of zeros out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from network_grammar import OverChannels, Program, Standardized, build
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import reconv
from flops import multiply_adds

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What became of one network.

    Args:
        kind: "right", "nothing goes", or of the fault. why: in words. pruned: channels that went, and that there were.
    """

    kind: str
    why: str = ""
    pruned: tuple[int, int] = (0, 0)

    @property
    def fault(self) -> bool:
        return self.kind not in ("right", "nothing goes")


def judge(program: Program, scheme: str, share: float) -> Verdict:
    """Build, prune and compare one network.

    Args:
        program: of the network. scheme: of the plan. share: of the channels that may stay.
    """
    model, example = build(program)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        graph = reconv.trace(model, example)
        plan = _plan(graph, scheme, share)
        small = reconv.prune(model, plan)
    except Exception as error:
        return Verdict("does not prune", f"{type(error).__name__}: {error}")
    if any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()):
        return Verdict("changes the model")
    sizes = [sum(row.size for row in plan.groups), sum(len(row.kept) for row in plan.groups)]
    pruned = (sizes[0] - sizes[1], sizes[0])
    try:
        proof = reconv.verify(model, small, plan)
    except Exception as error:
        return Verdict("proof fails", f"{type(error).__name__}: {error}", pruned)
    why = _compared(model, small, example)
    if why:
        return Verdict("wrong cut" if proof.holds is False else "wrong cut, proven", f"{why}; {proof!r}", pruned)
    if not proof.holds and not (proof.undecided and any(_is_constant(each, example) for each in (model, small))):
        return Verdict("right cut, not proven", repr(proof), pruned)
    why = _costs(model, small, plan, example)
    if why:
        return Verdict("wrong costs", why, pruned)
    return Verdict("right" if pruned[0] else "nothing goes", pruned=pruned)


def _plan(graph: reconv.ChannelGraph, scheme: str, share: float) -> reconv.Plan:
    scores = reconv.score(graph, "l2")
    try:
        return reconv.choose(graph, scores, reconv.Budget(channels=share), scheme=scheme, coupled=True)  # type: ignore[arg-type]
    except reconv.ReconvError:
        return reconv.choose(graph, scores, reconv.Budget(channels=1.0), scheme=scheme, coupled=True)  # type: ignore[arg-type]


def zeroed(model: nn.Module, small: nn.Module) -> nn.Module:
    """A copy of the model in which what the pruned one does not have is zero."""
    result = copy.deepcopy(model)
    kept = dict(small.named_parameters())
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            stays = np.isin(parameter.numpy(), kept[name].detach().numpy())
            if int(stays.sum()) != kept[name].numel():
                raise AssertionError(f"{name}: the pruned network holds numbers that the big one does not")
            if name.endswith("weight_v"):  # divided by its norm, which may not be zero; its scale `weight_g` is
                stays[~stays.reshape(len(stays), -1).any(1)] = True
            parameter.mul_(torch.from_numpy(stays))
    for module in result.modules():
        if isinstance(module, OverChannels | Standardized):
            module.over_kept = True
    return result


def _is_constant(model: nn.Module, example: Tensor) -> bool:
    """Whether the network gives the same whatever it is given, up to rounding.

    So does a mean of what has a mean of zero, and a norm over channels of which a cut leaves one.
    """
    one, other = (_run(model, x, False) for x in (example, 1 - 2 * example))
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(one, other, strict=True))


def _compared(model: nn.Module, small: nn.Module, example: Tensor) -> str:
    """Where the pruned network departs from the zeroed one; "" nowhere."""
    generator = torch.Generator().manual_seed(7)
    try:
        big = zeroed(model, small)
    except AssertionError as error:
        return str(error)
    for number in (1, 3):
        for training in (False, True):
            if training and number == 1:
                continue  # statistics of one
            x = torch.randn((number, *example.shape[1:]), generator=generator, dtype=torch.float64)
            where = f"batch of {number}, {'training' if training else 'evaluation'} mode"
            expected, found = None, None
            try:
                expected = _run(big, x, training)
            except Exception:  # the network itself is for one image
                continue
            try:
                found = _run(small, x, training)
            except Exception as error:
                return f"{where}: the pruned network does not run: {type(error).__name__}: {error}"
            for a, b in zip(expected, found, strict=True):
                if a.shape != b.shape:
                    return f"{where}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
                apart = float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))
                if not apart < TOLERANCE:
                    return f"{where}: {apart:.1e} apart"
    return ""


def _run(model: nn.Module, x: Tensor, training: bool) -> list[Tensor]:
    model = copy.deepcopy(model).train(training)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    with torch.no_grad():
        return [t for t in pytree.tree_leaves(model(x)) if isinstance(t, Tensor)]


def _costs(model: nn.Module, small: nn.Module, plan: reconv.Plan, example: Tensor) -> str:
    """Where costs are not what was predicted; "" nowhere."""
    for network, macs, parameters in ((model, plan.macs[0], plan.params[0]), (small, plan.macs[1], plan.params[1])):
        counted = sum(p.numel() for p in network.parameters())
        if counted != parameters:
            return f"{counted} parameters, {parameters} predicted"
        measured = multiply_adds(lambda network=network: network(example.clone()))  # type: ignore[misc]
        if measured != macs:
            return f"{measured} MACs, {macs} predicted"
    if len(list(model.parameters())) % 4:
        return ""  # memory takes as long as all the rest, and is predicted for a part of the networks
    memory = reconv.measure_memory(small, example)
    if plan.memory is not None and plan.memory[1] != memory:
        return f"{memory} bytes of activations, {plan.memory[1]} predicted"
    return ""


def smaller(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The program without the steps that its failure does not need."""
    changed = True
    while changed:
        changed = False
        for i in range(len(program.steps) - 1, -1, -1):
            less = Program(program.steps[:i] + program.steps[i + 1 :], program.head, program.size)
            if less.steps and fails(less):
                program, changed = less, True
    return program
