from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.run.charts import POINTS, WIDTH, Dot, Line, _chunks, _pool, _ticks, interval_strip, line_chart, stacked_chart
from grpo.run.wording import plain

numbers = st.floats(-1e9, 1e9, allow_subnormal=False)
maybe = st.none() | numbers


def svg(figure: str) -> ElementTree.Element:
    """The drawing, which must be well-formed XML."""
    match = re.search(r"<svg.*</svg>", figure)
    assert match
    return ElementTree.fromstring(match[0])


def heights(drawing: ElementTree.Element, kind: str) -> list[float]:
    """The y of every point of the paths of one class."""
    paths = [path.get("d", "") for path in drawing.iter("path") if kind in (path.get("class") or "").split()]
    return [float(y) for path in paths for _, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


@given(st.lists(st.tuples(maybe, maybe), max_size=60), st.lists(numbers, max_size=5))
def test_whatever_is_drawn_stays_inside_the_plot(
    values: list[tuple[float | None, float | None]], at: list[float]
) -> None:
    steps = list(range(1, len(values) + 1))
    line = Line("a", [v for v, _ in values], spread=[abs(d) if d is not None else None for _, d in values])
    dots = [Dot(index * 7, value, value - 1, value + 1) for index, value in enumerate(at)]
    drawing = svg(line_chart("t", steps, [line], plain, dots=dots))
    for path in drawing.iter("path"):
        for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", "")):
            assert -0.1 <= float(x) <= WIDTH and 19.8 <= float(y) <= 154.2
    for circle in drawing.iter("circle"):
        assert 19.8 <= float(circle.get("cy", "nan")) <= 154.2


def test_a_larger_value_is_drawn_higher_and_a_missing_one_leaves_a_gap() -> None:
    drawing = svg(line_chart("t", [1, 2, 3, 4, 5], [Line("a", [0.0, 1.0, None, 2.0, 4.0])], plain))
    assert heights(drawing, "line") == [154.0, 120.5, 87.0, 20.0]  # 134 units for 0 … 4
    path = next(p.get("d", "") for p in drawing.iter("path") if p.get("class") == "line c1")
    assert path.count("M") == 2


def test_stacked_parts_of_a_chart_add_up() -> None:
    lines = [Line("sample", [1.0, 3.0], 1), Line("update", [1.0, 1.0], 2)]
    drawing = svg(stacked_chart("t", [1, 2], lines, plain))
    assert min(heights(drawing, "area")) == 20.0  # 3 + 1 = 4, the top of the axis
    assert sorted(heights(drawing, "c1")) == [53.5, 120.5, 154.0, 154.0]


def test_a_run_of_one_step_has_a_dot_and_a_block() -> None:
    assert len(list(svg(line_chart("t", [1], [Line("a", [0.5])], plain)).iter("circle"))) == 1
    assert set(heights(svg(stacked_chart("t", [1], [Line("a", [1.0])], plain)), "area")) == {154.0, 20.0}


def test_nothing_measured_is_an_empty_plot_not_an_error() -> None:
    for steps, values in (([], []), ([1, 2], [None, None])):
        drawing = svg(line_chart("t", steps, [Line("a", values, spread=values)], plain))
        assert heights(drawing, "line") == heights(drawing, "band") == []


@given(st.integers(0, 10 * POINTS))
def test_pooling_takes_every_step_once_in_few_chunks(count: int) -> None:
    chunks = _chunks(count)
    assert [i for chunk in chunks for i in chunk] == list(range(count))
    assert len(chunks) <= POINTS


def test_a_spike_survives_pooling_where_it_is_the_news() -> None:
    values = [0.0] * 1000
    values[137] = 9.0
    assert max(v for v in _pool(values, _chunks(1000), peak=True) if v is not None) == 9.0
    assert max(v for v in _pool(values, _chunks(1000)) if v is not None) == 0.9  # one of ten in its chunk


@given(numbers, numbers)
def test_ticks_hold_the_values_with_little_room_to_spare(a: float, b: float) -> None:
    low, high = sorted((a, b))
    ticks = _ticks(low, high)
    slack = (ticks[1] - ticks[0]) * 1e-6
    assert 2 <= len(ticks) <= 7
    assert ticks[0] <= low + slack and high - slack <= ticks[-1]


@pytest.mark.parametrize(("high", "expected"), [(0.93, [0.0, 0.25, 0.5, 0.75, 1.0]), (7.0, [0.0, 2.0, 4.0, 6.0, 8.0])])
def test_ticks_are_round_numbers(high: float, expected: list[float]) -> None:
    assert _ticks(0.0, high) == expected


def test_the_values_of_a_point_are_in_its_tip() -> None:
    drawing = svg(line_chart("t", [1, 2], [Line("mean", [0.5, 0.25]), Line("longest", [1.0, None])], plain))
    tips = [text.text for group in drawing.iter("g") for text in group.iter("text")]
    assert tips == ["step 1: mean 0.5 · longest 1", "step 2: mean 0.25 · longest –"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")))
def test_names_in_a_chart_are_escaped(name: str) -> None:
    figure = line_chart(name, [1, 2], [Line(name, [0.0, 1.0]), Line("b", [1.0, 1.0])], plain)
    drawing = svg(figure + interval_strip([(name, Dot(0, 0.5, 0.4, 0.6))], plain).replace("svg", "g"))
    assert drawing.get("aria-label") is not None
    assert "<" not in re.sub(
        r"</?(figure|figcaption|h3|p|span|i|b|svg|g|path|text|rect|circle)( [^<>]*)?/?>", "", figure
    )


def test_many_evaluations_are_thinned_and_the_last_is_kept() -> None:
    dots = [Dot(step, step / 1000) for step in range(1001)]
    drawing = svg(line_chart("t", [1, 1000], [Line("a", [0.0, 1.0])], plain, top=1.0, dots=dots, dots_name="held-out"))
    drawn = [float(circle.get("cy", "nan")) for circle in drawing.iter("circle")]
    assert len(drawn) <= POINTS and min(drawn) == 20.0
