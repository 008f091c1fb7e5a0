"""Torchvision repair: lets torchvision be imported where its wheel and torch disagree about CUDA.

The torchvision wheel on PyPI is built for CUDA. Beside a CPU build of torch its compiled operators do not load,
`import torchvision` raises, and so do the imports of open_clip and of every transformers model that looks at
torchvision. Declaring the two operators that torchvision refers to while it is imported is enough: nothing here calls
them.
"""

import contextlib
import importlib
import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# Operator declarations last as long as their library object, so it is held here for the life of the process.
_libraries: list[object] = []


def repair_torchvision() -> None:
    """Make `import torchvision` work in this process; a no-op where it works, or where it is not installed.

    Call it before the first import of open_clip or of a transformers model class. Imports torch and torchvision.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        importlib.import_module("torchvision")


def _declare_operators() -> None:
    """Declare the missing operators and forget the half-imported package."""
    import torch

    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        with contextlib.suppress(RuntimeError):  # declared by the part of the compiled library that did load
            library.define(schema)
    _libraries.append(library)
