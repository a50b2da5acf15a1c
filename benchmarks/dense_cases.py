"""Our dense heads as `detectors.py` compares them with torchvision's."""

OURS = {
    "retinanet": {
        "priors": {"scales": (4, 5.04, 6.35), "ratios": (0.5, 1.0, 2.0)},
        "assigner": {"kind": "max_iou"},
        "head": {"norm": "none", "quality": False},
        "box_loss": {"kind": "smooth_l1", "beta": 0.0},
    },
    "fcos": {
        "priors": {"scales": (1.0,)},
        "assigner": {"kind": "center"},
        "box_coder": "distance",
        "head": {"level_scales": True},
        "box_loss": {"kind": "giou", "weighting": "none"},
        "quality_loss": {"target": "centerness"},
    },
    "atss": {
        "priors": {"scales": (8.0,)},
        "box_loss": {"kind": "giou", "weighting": "centerness"},
        "quality_loss": {"target": "centerness"},
    },
    "improved": {},
    "paa": {
        "priors": {"scales": (8.0,)},
        "assigner": {"kind": "paa"},
        "box_loss": {"kind": "giou", "weighting": "none"},
    },
    "yolox": {
        "priors": {"scales": (3.0, 4.0), "center": "corner"},
        "head": {
            "num_convs": 2,
            "norm": "batch",
            "activation": "silu",
            "shared": False,
            "stem": True,
            "output_kernel": 1,
            "initialization": "torch",
        },
        "box_loss": {"kind": "giou", "l1_weight": 0.25},
    },
}
RIVALS = {"atss": "fcos", "paa": "fcos", "improved": "retinanet", "yolox": "fcos"}
"""Head -> the one of torchvision that it runs against, if not its own."""
