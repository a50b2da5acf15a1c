"""What the sections of the losses refuse, and how they say it."""

from pathlib import Path

import pytest

from dense_lt.config.load import load_config
from dense_lt.utils.errors import ConfigError

FOCAL = Path(__file__).parents[2] / "configs" / "drawn" / "focal_prior_0.1.yaml"


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("{kind: eqlv2}", "unknown kind 'eqlv2'; did you mean eql_v2"),
        ("{kind: class_weighted_focal, scheme: log}", "'inverse', 'square_root' or 'effective_n"),
        ("{kind: class_weighted_focal, beta: 1}", r"loss\.beta: .*less than 1"),
        ("{kind: federated_loss, num_classes: 0}", r"loss\.num_classes: .*greater than 0"),
        ("{kind: eql_v1, threshold: 0}", r"loss\.threshold: .*greater than 0"),
        ("{kind: eql_v1, threshold: 0.0011}", r"loss\.threshold: .*not a share.*110 images; give"),
        (
            "{kind: class_weighted_focal, beta: 0.99}",
            r"`beta` is 0\.99 but `scheme: square_root` does not .* `scheme: effective_number`",
        ),
        ("{kind: seesaw, compensation: -1}", r"loss\.compensation: .*greater than or equal to 0"),
        ("{kind: varifocal, alpha: 0}", r"loss\.alpha: .*greater than 0"),
        ("{kind: focal, federated: maybe}", r"loss\.federated: .*valid boolean"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(loss, message):
    with pytest.raises(ConfigError, match=message):
        load_config(FOCAL, [f"model.loss={loss}"])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("{kind: eql_v1, threshold: 0.0011}", r"loss\.threshold: .*not a share.*110 images; give"),
        (
            "{kind: class_balanced_softmax, scheme: inverse, beta: 0.99}",
            r"`beta` is 0\.99 but `scheme: inverse` does not .* `scheme: effective_number`",
        ),
    ],
)
def test_the_same_is_refused_on_regions(loss, message):
    with pytest.raises(ConfigError, match=message):
        load_config(FOCAL, ["model={kind: two_stage}", f"model.loss={loss}"])


def test_a_beta_that_is_read_and_the_default_beside_any_scheme_are_allowed():
    """The latter stands in the stored configuration of every run."""
    for given in ("scheme: effective_number, beta: 0.9999", "scheme: inverse, beta: 0.999"):
        loss = load_config(
            FOCAL, [f"model.loss={{kind: class_weighted_focal, {given}}}"]
        ).model.loss
        assert f"scheme: {loss.scheme}, beta: {loss.beta:g}" == given


def test_another_kind_forgets_the_settings_of_the_old_one():
    loss = load_config(FOCAL, ["model.loss={kind: eql_v2_focal}"]).model.loss
    assert (loss.kind, loss.alpha, loss.focal_alpha, loss.objectness) == (
        "eql_v2_focal",
        4.0,
        0.25,
        False,
    )
