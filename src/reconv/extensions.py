"""What other packages add: rules for their operators, criteria, adapters.

A package names a function in its `pyproject.toml`; it is called once, before the first trace or score:

    [project.entry-points."reconv.extensions"]
    mine = "my_package.pruning:register"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from reconv.errors import ConfigError

GROUP = "reconv.extensions"


@cache
def load_extensions() -> None:
    """Call every installed extension once.

    Raises:
        ConfigError: one of them fails.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()()
        except Exception as error:
            package = point.dist.name if point.dist is not None else "an installed package"
            raise ConfigError(
                f"extension {point.name!r}: {point.value} of {package} fails ({type(error).__name__}: {error}); "
                "correct or uninstall the package"
            ) from error
