import pytest

from dense_lt.utils.installation import explain_broken_installation


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "install -c constraints.txt"),
        (ValueError("numpy.dtype size changed, may indicate"), "--force-reinstall"),
        (ImportError("libGL.so.1: cannot open shared object file"), "opencv-python-headless"),
    ],
)
def test_a_known_misfit_comes_with_its_mend(error, mend):
    explanation = explain_broken_installation(error)
    assert explanation is not None
    assert mend in explanation
    assert str(error) in explanation


def test_other_errors_are_not_explained_away():
    assert explain_broken_installation(RuntimeError("shape mismatch")) is None
