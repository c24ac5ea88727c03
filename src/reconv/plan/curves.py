"""Error curves: what is lost as the channels of a group go one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reconv.errors import ConfigError, check_kind, unknown_name
from reconv.graph.channels import ChannelGraph
from reconv.graph.labels import Plane
from reconv.html_table import Bar, html_table


@dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """One group's order of removal and what it costs.

    Args:
        order: positions of the group's units, first to go first; removals keep a grouped operator's cells balanced.
            Units that are not named stay.
        errors: predicted error after 0, 1, 2, ... removals, on one scale for all groups.

    Example:
        >>> import numpy as np, reconv
        >>> curve = reconv.Curve(order=np.array([2, 0, 1]), errors=np.array([0.0, 0.1, 0.4, 1.0]))
        >>> float(curve.errors[2])  # after channels 2 and 0 are gone
        0.4
    """

    order: Plane
    errors: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Curve({len(self.order)} removals, errors {self.errors[0]:.3g} to {self.errors[-1]:.3g})"


@dataclass(frozen=True, eq=False, repr=False)
class ErrorCurves(Mapping[str, Curve]):
    """The curves of a network's groups; what a plan loses is their sum. It serves `choose` as a saliency does.

    Args:
        criterion: whose order of channels they follow. curves: by the group's name.
        signals: by layer, what the removal of a residual branch that ends in it costs, on the scale of the curves: what
            its signal varies by, less what the next branch makes up for.

    Example:
        >>> import numpy as np, reconv
        >>> curve = reconv.Curve(order=np.array([2, 0, 1]), errors=np.array([0.0, 0.1, 0.4, 1.0]))
        >>> list(reconv.ErrorCurves("mine", {"conv1": curve}))
        ['conv1']
    """

    criterion: str
    curves: Mapping[str, Curve]
    signals: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"ErrorCurves({self.criterion!r}, {len(self.curves)} group{'s' * (len(self.curves) != 1)})"

    def _repr_html_(self) -> str:
        most = max((float(curve.errors[-1]) for curve in self.curves.values()), default=0.0) or 1.0
        rows = []
        for name, curve in self.curves.items():
            half, whole = float(curve.errors[len(curve.order) // 2]), float(curve.errors[-1])
            rows.append((name, len(curve.order), half, Bar(whole / most, f"{whole:.3g}")))
        header = ("group", "channels that may go", "error without half", "error without all")
        return html_table(f"Error curves, order of {self.criterion}", header, rows)

    def __getitem__(self, group: str) -> Curve:
        return self.curves[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.curves)

    def __len__(self) -> int:
        return len(self.curves)

    def check(self, graph: ChannelGraph) -> None:
        """Refuse curves that are not of this network.

        Raises:
            UnknownNameError: no such group. ConfigError: no curve at all, or one that does not fit its group.
        """
        check_kind("curves: curves", self.curves, Mapping, "a mapping of the groups' names to curves")
        groups = {group.name: group for group in graph.groups}
        if not self.curves:
            raise ConfigError(
                "curves: no group of channels has an error curve; give curves of at least one group, or scores"
            )
        for name, curve in self.curves.items():
            check_kind(f"curves: {name}", curve, Curve, "a Curve(order, errors)")
            if name not in groups:
                raise unknown_name("group", name, groups)
            size, n = groups[name].size, len(curve.order)
            if len(np.unique(curve.order)) < n or not ((curve.order >= 0) & (curve.order < size)).all():
                raise ConfigError(f"curves: the order of {name}; give positions in 0..{size - 1}, each at most once")
            if len(curve.errors) != n + 1 or not np.isfinite(curve.errors).all():
                raise ConfigError(
                    f"curves: {name} has {len(curve.errors)} errors for {n} removals; give {n + 1} finite numbers, "
                    "the first for no removal"
                )
