import pytest
from helpers.annotation_files import coco_content, write_images, write_json
from helpers.drawn_sets import SMALL
from PIL import Image

from dense_lt.cli.main import main


def _draw_arguments(folder) -> list[str]:
    arguments = ["data", "draw", "--out", str(folder)]
    for name, value in SMALL.items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


@pytest.fixture
def config(tmp_path):
    """A configuration for COCO files in tmp_path."""
    content = coco_content()
    write_images(tmp_path, content)
    write_json(tmp_path / "train.json", content)
    write_json(tmp_path / "val.json", content)
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: check\n"
        "data:\n"
        "  workers: 0\n"
        f"  dataset: {{kind: coco, root: {tmp_path},\n"
        "    train: {annotations: train.json, images: [.]},\n"
        "    val: {annotations: val.json, images: [.]}}\n"
        "  train_transforms: {resize: {short: [64], long: 128}, horizontal_flip: 0.5}\n"
        "schedule: {kind: cosine}\n"
        "train: {steps: 1}\n"
    )
    return path


def test_draw_makes_the_set_with_the_options_given(tmp_path, capsys):
    assert main(_draw_arguments(tmp_path / "set")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'set'}\n"
    assert len(list((tmp_path / "set" / "train").iterdir())) == SMALL["train_images"]
    assert main(_draw_arguments(tmp_path / "set")) == 0


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--rare", "some"], "--rare some: Input should be a valid integer"),
        (["--rare", "-1"], "--rare -1: Input should be greater than or equal to 0"),
        (["--train-images", "10"], "a class is to be in 20 training images"),
        (["--common-images", "3", "9"], "`common_images` must not rise"),
    ],
)
def test_an_impossible_option_is_one_message(tmp_path, capsys, option, told):
    assert main([*_draw_arguments(tmp_path / "set"), *option]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_good_set_is_described_and_its_samples_drawn(config, tmp_path, capsys):
    picture = tmp_path / "out" / "samples.png"
    assert main(["data", "check", str(config), "--images", "--out", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "train.json: 0 faults that must be mended, 0 that need not be" in said
    assert "val.json: 3 images, 4 instances" in said
    assert "3 rare classes (training images): class 7 2, class 40 1, class -3 0" in said
    assert "0 common classes\n" in said
    with Image.open(picture) as image:
        assert image.width == image.height  # sixteen tiles, four by four


def test_every_fault_of_both_files_is_listed(config, tmp_path, capsys):
    for split, field in (("train", "category_id"), ("val", "image_id")):
        content = coco_content()
        content["annotations"][0][field] = 99
        content["annotations"][1]["bbox"] = [0, 0, 0, 0]
        write_json(tmp_path / f"{split}.json", content)
    assert main(["data", "check", str(config), "--out", str(tmp_path / "samples.png")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if ": annotation " in line]) == 4
    assert sum("2 faults that must be mended" in line for line in lines) == 2
    assert not (tmp_path / "samples.png").exists()


def test_many_faults_are_counted_by_kind(config, tmp_path, capsys):
    content = coco_content()
    content["annotations"] = [
        {**content["annotations"][0], "id": number, "bbox": [number, 0, 0, 1]}
        for number in range(20)
    ]
    write_json(tmp_path / "val.json", content)
    assert main(["data", "check", str(config), "--out", str(tmp_path / "samples.png")]) == 1
    said = capsys.readouterr().out
    assert "val.json: 20 x annotation `bbox`: width and height must be above #\n" in said


def test_boxes_that_are_dropped_need_no_mending(config, tmp_path, capsys):
    content = coco_content()
    content["annotations"][1]["bbox"] = [0, 0, 0, 0]
    write_json(tmp_path / "train.json", content)
    arguments = ["data", "check", str(config), "data.drop_invalid_boxes=true"]
    assert main([*arguments, "--out", str(tmp_path / "samples.png")]) == 0
    assert "train.json: 0 faults that must be mended, 1 that need not be" in capsys.readouterr().out


def test_an_unreadable_image_is_told_when_images_are_asked_for(config, tmp_path, capsys):
    (tmp_path / "b.png").write_bytes(b"no image")
    arguments = ["data", "check", str(config), "--images", "data.on_bad_image=skip"]
    assert main([*arguments, "--out", str(tmp_path / "samples.png")]) == 1
    assert "b.png: cannot be decoded" in capsys.readouterr().out


def test_a_missing_image_hides_no_broken_one(config, tmp_path, capsys):
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").write_bytes(b"no image")
    arguments = ["data", "check", str(config), "--out", str(tmp_path / "samples.png")]
    assert main([*arguments, "--images"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("train.json: a.png is missing") for line in lines) == 1
    assert sum("b.png: cannot be decoded" in line for line in lines) == 2  # of both splits
    assert (tmp_path / "samples.png").exists()
    assert main(arguments) == 1
    assert "val.json: a.png is missing" in capsys.readouterr().out
    assert main([*arguments, "data.on_bad_image=skip"]) == 0


def test_images_that_have_one_file_are_faults(config, tmp_path, capsys, caplog):
    content = coco_content()
    content["images"][0]["file_name"] = "camA/a.png"
    content["images"][2] = {**content["images"][0], "id": 8, "file_name": "camB/a.png"}
    write_json(tmp_path / "train.json", content)  # a.png is there alone
    arguments = ["data", "check", str(config), "--out", str(tmp_path / "samples.png")]
    assert main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    both = f"camB/a.png and camA/a.png are both taken from {tmp_path / 'a.png'}"
    assert sum(f"train.json: {both}; one of them lacks" in line for line in lines) == 1
    assert caplog.text.count(both) == 1
    assert "for 1 images a file was found that another image has as well" in caplog.text
    assert main([*arguments, "data.on_bad_image=skip"]) == 1
    for name in ("camA", "camB"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert main(arguments) == 0


def test_every_part_of_a_mixture_is_checked(config, tmp_path, capsys):
    content = coco_content()
    content["annotations"][1]["bbox"] = [0, 0, 0, 0]
    write_json(tmp_path / "second.json", content)
    (tmp_path / "third.json").write_text("{")
    own = f"kind: coco, root: {tmp_path}, val: {{annotations: val.json, images: [.]}}"
    parts = ", ".join(
        f"{{dataset: {{{own}, train: {{annotations: {name}.json, images: [.]}}}}}}"
        for name in ("train", "second", "third")
    )
    mixture = f"data.dataset={{kind: mixture, parts: [{parts}]}}"
    assert main(["data", "check", str(config), mixture]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines[:-1]] == [
        *("train.json", "val.json"),
        *("second.json", "second.json"),
        "third.json",
    ]
    assert "third.json: is not JSON" in lines[-2]


def test_a_preview_shows_samples_as_they_are_mixed(config, tmp_path, capsys):
    out = tmp_path / "preview.png"
    mixed = "data.train_transforms={mosaic: {size: [64, 64]}, copy_paste: {}, resize: null}"
    assert main(["data", "preview", str(config), mixed, "--samples", "5", "--out", str(out)]) == 0
    assert "the first 5 training samples, after augmentation" in capsys.readouterr().out
    first = Image.open(out).convert("RGB")
    assert first.size[1] > 2 * 360  # two rows
    main(["data", "preview", str(config), "--samples", "5", "--out", str(out)])
    assert Image.open(out).convert("RGB").tobytes() != first.tobytes()


def test_a_preview_of_nothing_is_refused(config, capsys):
    assert main(["data", "preview", str(config), "--samples", "0"]) == 2
    assert "--samples 0: must be at least 1" in capsys.readouterr().err
