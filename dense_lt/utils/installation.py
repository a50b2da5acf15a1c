"""Packages that do not fit each other: recognised by what they raise, explained with the mend."""

from __future__ import annotations

PAIR = (
    "torch and torchvision do not fit each other ({error}). A CPU-only torch has no torchvision "
    "that works with it: uninstall both, then `pip install -c constraints.txt torchvision`, which "
    "brings its own torch; that build runs on machines without a GPU, too."
)
ABI = (
    "a compiled package was built for another NumPy ({error}). Reinstall it: "
    "`pip install --force-reinstall --no-cache-dir pycocotools`."
)
OPENCV = (
    "OpenCV cannot be loaded ({error}). This is its GUI build, which needs libGL; replace it by "
    "the headless one: `pip uninstall -y opencv-python opencv-python-headless`, then "
    "`pip install opencv-python-headless`."
)
_SYMPTOMS = (
    ("torchvision::nms", PAIR),
    ("torchvision/_C", PAIR),
    ("numpy.ufunc size changed", ABI),
    ("numpy.dtype size changed", ABI),
    ("multiarray failed to import", ABI),
    ("libGL.so", OPENCV),
    ("libgthread", OPENCV),
)


def explain_broken_installation(error: BaseException) -> str | None:
    """What to install, if `error` is a known sign of packages that do not fit; else None."""
    text = str(error)
    for symptom, explanation in _SYMPTOMS:
        if symptom in text:
            return explanation.format(error=text.splitlines()[0])
    return None
