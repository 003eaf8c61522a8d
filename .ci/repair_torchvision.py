"""Make what is built for CUDA harmless beside a CPU build of torch; do nothing where it works already.

torchvision's package is built for CUDA. Beside a CPU torch its compiled operators do not load, and
importing it fails because the two schemas below are missing; the processors of transformers and
vLLM use only its Python parts. The repair has to hold in every process of the environment (vLLM
spawns some), hence a module that the interpreter loads through a `.pth` file.

torchaudio and torchcodec, which vLLM brings for sound and video, do not load either. transformers and
vLLM do without them where they are absent, but not where they are there and broken, so they go.

`make` runs this after installing.
"""

import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

MODULE = '''"""Declares torchvision's operator schemas when torchvision is imported beside a CPU torch."""

import importlib.abc
import sys


class _DeclareSchemas(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            from torch import library

            schemas = library.Library("torchvision", "DEF")
            schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys.modules[__name__].schemas = schemas
        return None


sys.meta_path.insert(0, _DeclareSchemas())
'''


def imports(package: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode == 0


if not imports("torchvision"):
    site = Path(sysconfig.get_paths()["purelib"])
    (site / "torchvision_schemas.py").write_text(MODULE)
    (site / "torchvision_schemas.pth").write_text("import torchvision_schemas\n")
    if not imports("torchvision"):
        sys.exit("torchvision does not import, and declaring its operator schemas did not help")

for package in ("torchaudio", "torchcodec"):
    if find_spec(package) is not None and not imports(package):
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", package], check=True)
