"""The user's own classes and functions as sources of models: `my_net.py:MyNet`, `package.module:factory`."""

from __future__ import annotations

from reconv.registry import register
from reconv.zoo import code
from reconv.zoo.sources import ModelSource

for _name, _meaning, _find in (
    ("file", "my_net.py:MyNet, a class or function in a file of one's own", code.in_file),
    ("module", "package.module:factory, a class or function of an installed package", code.in_module),
):
    register(
        ModelSource(
            _name,
            _meaning,
            code.build,
            find=_find,
            published=code.build,
            fits_classes=lambda name: code.takes(name, "num_classes"),
            code=code.code_of,
        )
    )
