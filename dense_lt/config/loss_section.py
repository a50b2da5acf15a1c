"""What the settings of all classification losses have in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dense_lt.config.section import Section


class StatisticsConfig(Section):
    """How gradient is accumulated per class; the published systems use the defaults."""

    decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the sums at every optimizer step; 1 keeps the whole life (published)."""

    count_prior: float = Field(default=0.0, ge=0)
    """Added to both sums of every class, so that a ratio starts near 1; 0 is the published form.

    In units of the loss's gradient (`statistics.json` of a run has the sums): one far above what a
    rare class is pulled keeps its ratio at 1.
    """

    common_negative: float = Field(default=0.0, ge=0)
    """Least negative gradient that counts for a class, in mean positive gradients of a class.

    It brings the ratio of classes with less positive gradient than that below 1 where the
    published form (0) would leave the focal loss untouched; 0.1 on small data. See docs/losses.md.
    """


class LossSection(Section):
    """Every classification loss; `weight` is tuned to one, the rest is kept by another."""

    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset({"federated", "statistics"})

    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""

    federated: bool = False
    """Negatives only of classes that were checked in their image (federated annotation).

    A class is left out of the negatives of an image in which nobody looked for it (it is neither
    annotated there nor among `neg_category_ids`, or the verified labels of Open Images), or in
    which not every one of its objects is marked (`not_exhaustive_category_ids`, crowds, groups).
    """

    statistics: StatisticsConfig = StatisticsConfig()


class FocalSection(LossSection):
    """A classification loss that shapes the focal loss (Lin et al. 2017)."""

    alpha: float = Field(default=0.25, ge=-1, le=1)
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1."""

    gamma: float = Field(default=2.0, ge=0)
    """Focusing exponent; 0 is cross-entropy."""
