from pathlib import Path

import pytest
import yaml

from dense_lt.config.cards import HEADER, card_of, is_card, load_card
from dense_lt.config.load import load_config
from dense_lt.report.tables import markdown_table
from dense_lt.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILES = sorted(f for name in ("lvis", "openimages") for f in (ROOT / "configs" / name).iterdir())
CARDS = [path for path in FILES if is_card(path)]
RECIPES = [path for path in FILES if not is_card(path)]


def name_of(path):
    return str(path.relative_to(ROOT / "configs"))


CLASSES = {"LVIS v1": 1203, "LVIS v0.5": 1230, "Open Images Challenge 2019": 500}


def data_of(dataset):
    """By the names of its files."""
    if dataset.kind == "openimages":
        return "Open Images Challenge 2019"
    versions = {"lvis_v1_train.json": "LVIS v1", "lvis_v0.5_train.json": "LVIS v0.5"}
    return versions[str(dataset.train.annotations)]


def test_every_recipe_has_a_card_and_every_card_a_recipe():
    assert len(RECIPES) > 20
    assert sorted(card_of(path) for path in RECIPES) == CARDS


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_trains_as_its_card_says(recipe):
    card = load_card(card_of(recipe))
    config = load_config(recipe, ["data.dataset.root=somewhere"])
    published = card.training
    assert config.optimizer.lr == published.learning_rate
    assert config.optimizer.base_batch_size == config.train.batch_size == published.batch_size
    assert (config.train.epochs, config.train.steps) == (published.epochs, published.steps)
    protocol = card.protocol
    assert protocol.data == data_of(config.data.dataset)
    assert protocol.classes == CLASSES[protocol.data]
    measured = {kind: f"{name} AP" for kind, name in (("bbox", "box"), ("segm", "mask"))}
    for figures in card.published:
        if figures.metric == "AP50":
            assert config.evaluation.protocols == ("openimages",)
        else:
            assert figures.metric in [measured[kind] for kind in config.evaluation.iou_types]


EPOCHS = {
    ("LVIS v1", "random"): 6212,
    ("LVIS v1", "repeat_factor"): 7674,
    ("LVIS v0.5", "random"): 3546,
}
"""Data and sampler -> published steps in an epoch of 16 images a step."""


def test_two_stage_recipes_warm_up_for_500_steps():
    for path in RECIPES:
        config = load_config(path, ["data.dataset.root=somewhere"])
        if config.model.kind == "two_stage":
            per_epoch = EPOCHS.get((data_of(config.data.dataset), config.data.sampler.kind))
            steps = per_epoch if config.schedule.unit == "epochs" else 1
            assert round(config.schedule.warmup * steps) == 500, path


def test_recipes_keep_what_only_the_code_of_their_authors_tells():
    """Read in United-Perception and in the repository of EQL v2."""
    for path in RECIPES:
        config = load_config(path, ["data.dataset.root=somewhere"])
        model, data = config.model, config.data
        expected = {"fpn": "xavier_normal", "path_aggregation": None}[model.pyramid.kind]
        if model.kind == "two_stage":
            expected = "xavier_uniform"
        else:
            assert model.inference.pre_nms_at_most_priors, path
        assert getattr(model.pyramid, "initialization", None) == expected, path
        if data.dataset.kind == "lvis":
            assert data.train_empty_images == "drop", path
        if model.pyramid.kind == "path_aggregation":
            assert model.head.initialization == "torch"
            assert (model.box_loss.weighting, model.box_loss.divide_by) == ("iou", "weights")
            assert (model.assigner.coordinates, model.priors.center) == ("continuous", "corner")
        elif model.kind == "one_stage" and model.assigner.kind == "atss":
            assert model.assigner.coordinates == "legacy", path


def test_twins_differ_in_the_loss_alone():
    """The focal baseline beside each EFL recipe."""
    pairs = [(path, path.with_name(path.name.replace("efl", "focal"))) for path in RECIPES]
    pairs = [(efl, focal) for efl, focal in pairs if efl != focal and focal in RECIPES]
    assert len(pairs) == 8
    for efl, focal in pairs:
        one, other = (load_config(path, ["data.dataset.root=somewhere"]) for path in (efl, focal))
        assert one.model.loss.kind == "equalized_focal"
        assert other.model.loss.kind == "focal"
        same = {"loss": other.model.loss}
        assert one.model.model_copy(update=same) == other.model
        assert one.model_copy(update={"model": other.model, "name": other.name}) == other


def test_the_table_of_the_documentation_is_that_of_the_cards():
    cards = {f"`configs/{name_of(path)}`": load_card(card_of(path)) for path in RECIPES}
    rows = [row for name, card in cards.items() for row in card.rows(name)]
    table = markdown_table(HEADER, rows, text_columns=len(HEADER))
    assert table in (ROOT / "docs" / "recipes.md").read_text(), f"put this in:\n{table}"


GOOD = {
    "title": "a",
    "source": {"paper": "b"},
    "protocol": {"data": "LVIS v1", "classes": 1203, "metric": "c"},
    "training": {"learning_rate": 0.02, "batch_size": 16, "epochs": 24},
    "note": "d",
}
FIGURES = {"metric": "box AP", "overall": 27.5, "source": "e"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AP": 27.5}, r"AP: .*unknown"),
        ({"note": None}, r"without `published` numbers, `unverified` or `note` must say why"),
        ({"training": GOOD["training"] | {"steps": 10}}, r"`epochs` or `steps` must be given"),
        ({"published": [FIGURES | {"overall": 275}]}, r"published\.0\.overall"),
        (
            {"published": [FIGURES | {"groups": {"common": 1.0, "rare": 2.0}}]},
            r"are rare, common, frequent",
        ),
        ({"protocol": GOOD["protocol"] | {"data": "LVIS"}}, r"protocol\.data"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path, change, message):
    path = tmp_path / "a.card.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert load_card(path).rows("x") == [("x", "a", "-", "-", "-", "no verified number")]
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(ConfigError, match=message):
        load_card(path)
