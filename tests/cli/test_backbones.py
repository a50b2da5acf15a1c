"""`dense-lt backbones` says why it lists nothing."""

import pytest

from dense_lt.cli.main import main


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("swin_tiny", "has no 'swin_tiny'; a star finds longer names: 'swin_tiny*', such as swin_"),
        ("resnett50", "has no 'resnett50'; close to it: resnet50"),
        ("resnett50*", "has no 'resnett50*'; close to it: resnet50"),
        ("test_vit*", "has test_vit, test_vit2, test_vit3, but no feature maps of it at several"),
    ],
)
def test_a_pattern_without_backbones_is_told_with_the_nearest(pattern, told, capsys):
    assert main(["backbones", pattern]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err
