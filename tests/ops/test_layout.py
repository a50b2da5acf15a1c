import torch

from dense_lt.ops.layout import rows_of_map


def test_rows_are_ordered_row_column_prior_and_columns_are_values():
    batch, priors, values, height, width = 2, 3, 5, 4, 7
    output = torch.arange(batch * priors * values * height * width).view(
        batch, priors * values, height, width
    )
    rows = rows_of_map(output, values)
    for b, y, x, a, k in [(0, 0, 0, 0, 0), (1, 3, 6, 2, 4), (1, 2, 5, 1, 3)]:
        row = (y * width + x) * priors + a
        assert rows[b, row, k] == output[b, a * values + k, y, x]


def test_channels_last_memory_is_viewed_and_not_copied():
    output = torch.zeros(2, 12, 4, 6).contiguous(memory_format=torch.channels_last)
    assert rows_of_map(output, 4).data_ptr() == output.data_ptr()
