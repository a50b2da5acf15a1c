"""The definitions of docs/diagnosis.md as loops over single boxes."""

from __future__ import annotations

import numpy as np

from dense_lt.evaluation.predictions import Predictions

GROUPS = {"r": "rare", "c": "common", "f": "frequent"}


def predictions_of(records):
    return Predictions(
        source="test",
        image_ids=np.array([r["image_id"] for r in records], np.int64),
        category_ids=np.array([r["category_id"] for r in records], np.int64),
        scores=np.array([r["score"] for r in records], np.float64),
        boxes=np.array([r["bbox"] for r in records], np.float64).reshape(-1, 4),
    )


def iou(one, other, *, crowd=False):
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    union = one[2] * one[3] + (0 if crowd else other[2] * other[3] - shared)
    return shared / union if union else 0.0


def plain_diagnosis(document, records, *, coco):
    ids = sorted(category["id"] for category in document["categories"])
    group = {c["id"]: GROUPS[c["frequency"]] for c in document["categories"]}
    objects = [
        dict(a, out=bool(a.get("iscrowd" if coco else "ignore", 0)))
        for a in _kept(document["annotations"], coco, lambda a: a["area"])
    ]
    best_first = sorted(_kept(records, coco, lambda r: r["bbox"][2] * r["bbox"][3]),
                        key=lambda r: -r["score"])  # fmt: skip
    detections = [dict(r, taken=None) for r in best_first if r["category_id"] in ids]
    for image in document["images"]:
        for category in ids:
            _match(_of(detections, image["id"], category), _of(objects, image["id"], category))
    images = {image["id"]: image for image in document["images"]}
    judged = [d for d in detections if _counts(d, images, objects, coco)]
    real = [o for o in objects if not o["out"]]
    number = {i: sum(o["category_id"] == i for o in real) for i in ids}
    kinds = {name: [0] * len(ids) for name in (
        *("true", "duplicate", "localisation", "both", "background"),
        *(f"confusion_{g}" for g in GROUPS.values()))}  # fmt: skip
    scores = {True: [], False: []}
    for k, category in enumerate(ids):
        own = [d for d in judged if d["category_id"] == category]
        for detection in own[: number[category]]:
            kinds[_kind(detection, real, group)][k] += 1
        right = [d["score"] for d in own if d["taken"]]
        wrong = [d["score"] for d in own if not d["taken"]][: number[category]]
        scores[True].append(np.mean(right) if right else None)
        scores[False].append(np.mean(wrong) if wrong else None)
    named, confused = _names(real, detections, ids, group)
    return {
        "category_ids": ids,
        "objects": named,
        "detections": kinds,
        "true_score": scores[True],
        "false_score": scores[False],
        "reliability": _reliability(judged, group),
        "confused": confused,
    }


def _kept(entries, coco, area):
    return [e for e in entries if coco or area(e) > 0]


def _of(entries, image, category):
    return [e for e in entries if (e["image_id"], e["category_id"]) == (image, category)]


def _match(detections, objects):
    free = list(objects)
    for detection in detections:
        fits = [
            (not o["out"], iou(detection["bbox"], o["bbox"], crowd=bool(o.get("iscrowd"))), n, o)
            for n, o in enumerate(free)
        ]
        fits = [fit for fit in fits if fit[1] >= 0.5]
        if fits:
            detection["taken"] = max(fits, key=lambda fit: fit[:3])[3]
            if not detection["taken"].get("iscrowd"):
                free.remove(detection["taken"])


def _counts(detection, images, objects, coco):
    if detection["taken"]:
        if detection["taken"]["out"]:
            detection["taken"] = None
            return False
        return True
    if coco:
        return True
    image, category = images[detection["image_id"]], detection["category_id"]
    has = bool(_of(objects, image["id"], category))
    is_checked = has or category in image["neg_category_ids"]
    return is_checked and category not in image["not_exhaustive_category_ids"]


def _kind(detection, objects, group):
    if detection["taken"]:
        return "true"
    here = [o for o in objects if o["image_id"] == detection["image_id"]]
    own = [o for o in here if o["category_id"] == detection["category_id"]]
    others = [o for o in here if o["category_id"] != detection["category_id"]]
    same = max((iou(detection["bbox"], o["bbox"]) for o in own), default=0)
    other = max((iou(detection["bbox"], o["bbox"]) for o in others), default=0)
    if same >= 0.5:
        return "duplicate"
    if same >= 0.1:
        return "localisation"
    if other >= 0.5:
        last = [o for o in others if iou(detection["bbox"], o["bbox"]) == other][-1]
        return f"confusion_{group[last['category_id']]}"
    return "both" if other >= 0.1 else "background"


def _names(objects, detections, ids, group):
    keys = ("all", "covered", "candidate", "named", *(f"as_{g}" for g in GROUPS.values()))
    counts = {key: [0] * len(ids) for key in keys}
    confused = {}
    for o in objects:
        over = [
            d["category_id"]
            for d in detections
            if d["image_id"] == o["image_id"] and iou(d["bbox"], o["bbox"]) >= 0.5
        ]
        reached = ["all", *["covered"] * bool(over), *["candidate"] * (o["category_id"] in over)]
        if over and over[0] == o["category_id"]:
            reached.append("named")
        elif over:
            reached.append(f"as_{group[over[0]]}")
            pair = (o["category_id"], over[0])
            confused[pair] = confused.get(pair, 0) + 1
        for key in reached:
            counts[key][ids.index(o["category_id"])] += 1
    return counts, [(*pair, n) for pair, n in confused.items()]


def _reliability(judged, group):
    sums = {
        g: {name: [0.0] * 10 for name in ("count", "correct", "score")} for g in GROUPS.values()
    }
    for d in judged:
        own, place = sums[group[d["category_id"]]], min(int(10 * d["score"]), 9)
        own["count"][place] += 1
        own["correct"][place] += bool(d["taken"])
        own["score"][place] += d["score"]
    return sums
