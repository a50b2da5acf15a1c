"""Settings of Open Images: its CSV files, and how they become objects to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from dense_lt.config.section import Section


class OpenImagesSplitConfig(Section):
    """The files of one split. Columns are found by name, in any published form."""

    boxes: Path
    """CSV of boxes, such as `train-annotations-bbox.csv`."""

    labels: Path | None = None
    """CSV of labels that people verified to be present or absent in an image; null: every class
    counts as checked in every image."""

    sizes: Path | None = None
    """CSV of ImageID, width, height; null reads the headers of the images once, and keeps them."""

    images: tuple[Path, ...] = Field(min_length=1)
    """Folders in which `ImageID.jpg` is looked for, first to last."""


class OpenImagesConfig(Section):
    """Open Images, the releases V4 to V7 and the challenge of 2019. Boxes only, no masks."""

    kind: Literal["openimages"]
    root: Path = Path()
    """Put before every relative path of this section."""

    classes: Path
    """CSV of class id and name; its order is that of the labels, and other classes are left out."""

    hierarchy: Path | None = None
    """JSON of the classes above and below each other; null: nothing is expanded."""

    train: OpenImagesSplitConfig
    val: OpenImagesSplitConfig
    group_of: Literal["ignore", "use", "drop"] = "ignore"
    """Boxes around five or more objects that touch: `ignore` keeps them as crowd regions, which are
    no objects to learn, nor background (`data.ignore_crowds`); `use` learns them like any other
    box, as the published recipes do; `drop` leaves them out. Scoring has its own rule for them."""

    expand_boxes: bool = False
    """Learn every box as all ancestors of its class too. Scoring expands in any case."""

    expand_labels: bool = True
    """What is present in an image holds for all ancestors, and what is absent for all descendants.
    Without it an apple's box leaves open whether there is fruit."""

    train_without_boxes: bool = False
    """Train on images of which no box is left as well. Validation always keeps them."""

    @model_validator(mode="after")
    def _can_expand(self) -> Self:
        if self.expand_boxes and self.hierarchy is None:
            raise ValueError("`expand_boxes` needs the file of the `hierarchy`; give it")
        return self
