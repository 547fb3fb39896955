"""Charts as text: labels, marks, sentences, sizes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.terminal.text import width
from tracker.tui.axis import bounds, duration_label, label, step_label, x_label
from tracker.tui.chart import Chart, Curve, grid


def curve(values: list[float], **options: object) -> Curve:
    xs = [float(x) for x in range(len(values))]
    bad = [(x, 1) for x, value in zip(xs, values, strict=True) if not math.isfinite(value)]
    finite = [value if math.isfinite(value) else math.nan for value in values]
    ends = (xs[0], xs[-1]) if xs else ()
    return Curve(
        "run", "cyan", xs, finite, finite, finite, [1] * len(values), bad, values[-1] if values else None, ends
    )


def lines(chart: Chart, columns: int = 40, rows: int = 8) -> list[str]:
    return ["".join(text for text, _ in spans) for spans in chart.render(columns, rows)]


def test_a_chart_has_its_title_its_bounds_and_its_last_value() -> None:
    shown = lines(Chart("val.loss", [curve([1.0, 0.5, 0.25])]))
    assert shown[0].startswith("val.loss ") and shown[0].endswith(" 0.25")
    assert shown[1].startswith("1.000") and shown[-2].startswith("0.250")
    assert shown[-1].startswith("0 ") and shown[-1].endswith(" 2")


def test_nan_and_infinities_are_marked_where_they_are_and_counted() -> None:
    shown = lines(Chart("loss", [curve([1.0, math.nan, 2.0, 3.0, math.inf, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])]))
    assert shown[-1].count("×") == 2
    assert "2 NaN/inf" in shown[0]


def test_a_metric_that_is_only_nan_says_so() -> None:
    assert any("only NaN and infinities" in line for line in lines(Chart("loss", [curve([math.nan] * 3)])))


def test_a_log_axis_without_positive_values_says_so() -> None:
    assert any("no values above 0" in line for line in lines(Chart("loss", [curve([-1.0, -2.0])], log_y=True)))


def test_a_log_axis_is_labelled_with_values() -> None:
    shown = lines(Chart("loss", [curve([0.001, 1.0, 1000.0])], log_y=True))
    assert shown[1].startswith("1e+03") and shown[-2].startswith("0.001")


def test_a_long_name_keeps_its_end() -> None:
    shown = lines(Chart("layer." * 30 + "weight", [curve([1.0, 2.0])]))
    assert shown[0].startswith("…") and "layer.weight " in shown[0]


def test_escape_sequences_in_a_name_are_harmless() -> None:
    assert "\x1b" not in "".join(lines(Chart("\x1b[31mred", [curve([1.0, 2.0])])))


@given(
    st.lists(st.floats(width=64), max_size=30),
    st.integers(1, 120),
    st.integers(1, 30),
    st.sampled_from(["step", "relative", "time", "some.metric"]),
    st.booleans(),
)
def test_every_line_fits(values: list[float], columns: int, rows: int, x: str, log_y: bool) -> None:
    chart = Chart("été 数", [curve(values)], x=x, log_y=log_y)
    rendered = chart.render(columns, rows)
    assert len(rendered) == max(rows, 4)
    assert all(width("".join(text for text, _ in spans)) <= max(12, columns) for spans in rendered)


def test_charts_side_by_side() -> None:
    charts = [Chart(f"m{index}", [curve([1.0, 2.0])]) for index in range(5)]
    rows = ["".join(text for text, _ in spans) for spans in grid(charts, 80, 2, 6)]
    assert len(rows) == 3 * 7
    assert "m0" in rows[0] and "m1" in rows[0] and "m4" in rows[14]


@pytest.mark.parametrize(
    ("value", "spread", "expected"),
    [
        (0.5, 1.0, "0.50"),
        (1234.0, 5000.0, "1,234"),
        (1e300, 1e300, "1e+300"),
        (1e-9, 1e-9, "1e-09"),
        (1e9 + 0.5, 1.0, "1,000,000,000.50"),
        (math.inf, 1.0, "inf"),
    ],
)
def test_labels_of_values(value: float, spread: float, expected: str) -> None:
    assert label(value, spread) == expected


def test_labels_of_steps_and_times() -> None:
    assert [step_label(value) for value in (0, 750, 200_000, 1_500_000)] == ["0", "750", "200k", "1.5M"]
    assert [duration_label(value) for value in (4.5, 45, 200, 7500, 360_000)] == [
        "4.5s",
        "45s",
        "3m20s",
        "2h05m",
        "4d4h",
    ]
    assert x_label(1e30, "time", 1.0) == "1e+30"


def test_bounds() -> None:
    assert bounds([]) == (0.0, 1.0)
    assert bounds([math.nan, math.inf]) == (0.0, 1.0)
    assert bounds([4.0]) == (3.8, 4.2)
    assert bounds([0.0]) == (-0.5, 0.5)
    low, high = bounds([-1.7e308, 1.7e308])
    assert math.isfinite(high - low)
