"""Tests that read back from a figure what it shows."""

import struct
from itertools import pairwise

import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import rgb_to_hsv, to_rgb

from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.figure import (
    PlotOptions,
    draw,
    draw_against,
    draw_facets,
    save,
)
from nlstm_jax.analysis.group_style import DESIGNS, OTHER_COLORS, group_styles
from nlstm_jax.errors import ConfigError

FLOOR = {"data": {"floor": {"valid": {"log_loss": 1.9}}}}


@pytest.fixture
def comparison(make_run):
    """Return two groups of two seeds, one with a test curve. The first evaluation is far above the others."""
    plunge = [9.0, *(2.5 - 0.05 * n for n in range(9))]
    runs = [
        make_run("lstm", 0, valid=plunge, train=plunge, test=plunge, environment=FLOOR),
        make_run("lstm", 1, valid=[value + 0.1 for value in plunge], train=plunge, test=plunge, environment=FLOOR),
        make_run("nlstm", 0, valid=[value + 0.5 for value in plunge], environment=FLOOR),
        make_run("nlstm", 1, valid=[value + 0.7 for value in plunge], environment=FLOOR),
    ]
    return compare(runs)


def lines(figure):
    return {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid()}


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_validation_is_solid_and_test_dotted(comparison) -> None:
    drawn = lines(draw(comparison, PlotOptions("log_loss")))
    assert {"valid 0", "valid 1", "test 0"} <= drawn.keys()
    assert "test 1" not in drawn
    assert "train 0" not in drawn
    assert (drawn["valid 0"].get_linestyle(), drawn["test 0"].get_linestyle()) == ("-", ":")


def test_the_legend_says_what_the_lines_mean(comparison) -> None:
    (legend,) = draw(comparison, PlotOptions("log_loss")).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["valid", "test", "95 % t-interval over seeds"]
    assert legend.get_lines()[1].get_linestyle() == ":"


def test_legends_and_labels_cover_no_curve(comparison, make_run) -> None:
    look = PlotOptions("log_loss", show_train=True)
    facets = {}
    for length in (5, 9):
        run = make_run("lstm", 0, valid=[length], config={"data": {"length": length}})
        facets[f"data.length={length}"] = compare([run])
    for figure in (draw(comparison, look), draw_facets(facets, look), draw_against(facets, "data.length", look)):
        figure.draw_without_rendering()
        labels = [text for axes in figure.axes for text in axes.texts if text.get_text() in ("lstm", "nlstm")]
        assert figure.legends
        for axes in figure.axes:
            assert axes.get_legend() is None
            panel = axes.get_window_extent()
            assert not any(panel.overlaps(item.get_window_extent()) for item in [*figure.legends, *labels])


def test_one_seed_of_validation_alone_needs_no_legend(make_run) -> None:
    figure = draw(compare([make_run("lstm", 0, valid=[3.0, 2.0])]), PlotOptions("log_loss"))
    assert figure.legends == []
    axes = figure.axes[0]
    assert axes.get_ylabel() == "valid log_loss (nats)"


@pytest.mark.parametrize("evaluations", [3, 15, 120])
def test_steps_begin_at_0_and_have_ticks_enough(make_run, evaluations) -> None:
    run = make_run("lstm", 0, valid=[3.0 - n / evaluations for n in range(evaluations)])
    axes = draw(compare([run]), PlotOptions("log_loss")).axes[0]
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= axes.get_xlim()[1]]
    assert axes.get_xlim()[0] == ticks[0] == 0
    assert 4 <= len(ticks) <= 9


def test_training_is_thin_and_faint_where_it_is_asked_for(comparison) -> None:
    drawn = lines(draw(comparison, PlotOptions("log_loss", show_train=True)))
    assert drawn["train 0"].get_linewidth() < drawn["valid 0"].get_linewidth() / 2
    assert drawn["train 0"].get_alpha() < 0.5


def test_curves_are_the_means_and_bands_the_intervals(comparison) -> None:
    figure = draw(comparison, PlotOptions("log_loss"))
    curve = comparison.groups[1].curve("valid", "log_loss")
    assert tuple(lines(figure)["valid 1"].get_xdata()) == curve.steps
    assert tuple(lines(figure)["valid 1"].get_ydata()) == curve.mean
    band = [item for item in figure.axes[0].collections if isinstance(item, PolyCollection)][1]
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(curve.mean[-1] - curve.half_width[-1])
    assert heights.max() == pytest.approx(curve.mean[0] + curve.half_width[0])


def test_groups_differ_in_color_and_in_marker(make_run) -> None:
    cells = {"lstm": {"name": "lstm"}, "nlstm": {"name": "nlstm", "depth": 2}}
    runs = [make_run(name, 0, valid=[3.0, 2.0], config={"cell": cell}) for name, cell in cells.items()]
    first, second = (lines(draw(compare(runs), PlotOptions("log_loss")))[f"valid {index}"] for index in (0, 1))
    assert (first.get_color(), first.get_marker()) == ("#0072b2", "o")
    assert (second.get_color(), second.get_marker()) == ("#d55e00", "s")


def test_a_cell_has_the_same_color_in_every_picture(make_run) -> None:
    cells = {"gru": {"name": "gru"}, "mine": {"name": "mine:make"}, "lstm": {"name": "lstm", "layers": 1}}
    runs = {name: make_run(name, 0, valid=[3.0, 2.0], config={"cell": cell}) for name, cell in cells.items()}
    styles = group_styles(compare(list(runs.values())).groups)
    for name, run in runs.items():
        (alone,) = group_styles(compare([run]).groups).values()
        assert alone == styles[name]._replace(group_index=0)
    assert len({style.color for style in styles.values()}) == len(cells)
    # The color of a cell outside of `DESIGNS` is that of no cell in it.
    assert styles["mine"].color.upper() not in DESIGNS.values()
    assert len({*DESIGNS.values(), *OTHER_COLORS}) == len(DESIGNS) + len(OTHER_COLORS)


def test_groups_of_one_cell_share_its_hue_and_differ(make_run) -> None:
    for cell in ({"name": "lstm"}, {"name": "gru"}):
        runs = [make_run(f"{n}", 0, valid=[3.0, 2.0], config={"cell": cell}) for n in range(12)]
        styles = list(group_styles(compare(runs).groups).values())
        assert len({style[1:] for style in styles}) == 12
        hues = [rgb_to_hsv(to_rgb(style.color))[0] for style in styles]
        assert hues == pytest.approx([hues[0]] * 12, abs=0.02)

        first, second = (lines(draw(compare(runs), PlotOptions("log_loss")))[f"valid {n}"] for n in (0, 1))
        assert first.get_marker() == second.get_marker()
        assert first.get_color() != second.get_color()
        assert (first.get_markerfacecolor(), second.get_markerfacecolor()) == (first.get_color(), "white")


def test_the_first_evaluations_do_not_set_the_height(comparison) -> None:
    low, high = draw(comparison, PlotOptions("log_loss")).axes[0].get_ylim()
    assert low < 1.9 < 2.1  # the floor, and the lowest value
    assert 2.5 + 0.6 < high < 4.0


def test_the_floor_is_a_dashed_line_with_its_number(comparison) -> None:
    figure = draw(comparison, PlotOptions("log_loss"))
    assert lines(figure)["floor"].get_linestyle() == "--"
    assert set(lines(figure)["floor"].get_ydata()) == {1.9}
    assert "generator's own log-loss 1.900" in texts(figure)


def test_a_floor_far_below_is_named_and_flattens_nothing(make_run) -> None:
    environment = {"data": {"floor": {"valid": {"log_loss": 0.1}}}}
    figure = draw(
        compare([make_run("lstm", 0, valid=[2.2, 2.1, 2.0], environment=environment)]), PlotOptions("log_loss")
    )
    assert "floor" not in lines(figure)
    assert "generator's own log-loss 0.1000 ↓ below" in texts(figure)
    assert figure.axes[0].get_ylim()[0] > 1.9


def test_every_curve_is_named_beside_its_end_and_no_name_covers_another(comparison) -> None:
    figure = draw(comparison, PlotOptions("log_loss"))
    names = {text.get_text(): text for text in figure.axes[0].texts}
    assert names["lstm"].get_position()[1] < names["nlstm"].get_position()[1]
    figure.canvas.draw()
    lower, upper = (names[name].get_window_extent() for name in ("lstm", "nlstm"))
    assert lower.y1 <= upper.y0


def test_names_of_curves_that_end_together_are_pushed_apart(make_run) -> None:
    runs = [make_run(f"lstm {n}", 0, valid=[3.0, 2.0]) for n in range(12)]
    figure = draw(compare(runs), PlotOptions("log_loss"))
    figure.canvas.draw()
    extents = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(extents) == 12
    assert all(lower.y1 <= upper.y0 + 0.5 for lower, upper in pairwise(extents))


def test_a_logarithmic_axis_has_plain_numbers(comparison) -> None:
    axes = draw(comparison, PlotOptions("log_loss", log_y=True)).axes[0]
    axes.figure.canvas.draw()
    assert axes.get_yscale() == "log"
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len([text for text in shown if 1.8 < float(text) < 3.5]) >= 3


def test_training_is_drawn_where_nothing_was_validated(make_run) -> None:
    drawn = lines(draw(compare([make_run("lstm", 0, train=[3.0, 2.0])]), PlotOptions("log_loss")))
    assert tuple(drawn["train 0"].get_ydata()) == (3.0, 2.0)


def test_a_name_is_no_mathematics(make_run) -> None:
    figure = draw(compare([make_run("lstm $x_{$", 0, valid=[3.0, 2.0])]), PlotOptions("log_loss"))
    figure.canvas.draw()
    assert "lstm $x_{$" in texts(figure)


def test_the_same_figure_is_the_same_file(comparison, tmp_path) -> None:
    for name in ("one.png", "two.png"):
        save(draw(comparison, PlotOptions("log_loss")), tmp_path / name)
    content = (tmp_path / "one.png").read_bytes()
    assert content == (tmp_path / "two.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert 1300 < width < 2200
    assert 700 < height < 1100


def test_long_labels_stand_in_several_lines_and_leave_the_axes_their_room(make_run, tmp_path) -> None:
    noisy = {"recurrent_dropout": [0.1, 0.2], "zoneout": [0.05], "input_dropout": [0.25], "weight_drop": [0.5]}
    plain = {name: [0.0] for name in noisy}
    runs = [
        make_run("nlstm", 0, valid=[3.0, value], config={"cell": cell}) for value, cell in ((2, noisy), (1, plain))
    ]
    figure = draw(compare(runs), PlotOptions("log_loss"))
    save(figure, tmp_path / "long.png")
    label = next(text for text in texts(figure) if "0.1,0.2" in text)
    assert label.split() == [
        "nlstm",
        "cell.recurrent_dropout=0.1,0.2",
        "cell.zoneout=0.05",
        "cell.input_dropout=0.25",
        "cell.weight_drop=0.5",
    ]
    assert max(map(len, label.splitlines())) <= 40
    axes = figure.axes[0]
    assert axes.get_position().width > 0.4
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def test_facets_share_the_looks_of_a_group(make_run) -> None:
    """A group that is missing in one panel does not change another's color."""
    runs = {name: make_run(name, 0, valid=[3.0, 2.0]) for name in ("lstm", "nlstm")}
    facets = {"data.window=1": compare([runs["lstm"], runs["nlstm"]]), "data.window=2": compare([runs["nlstm"]])}
    figure = draw_facets(facets, PlotOptions("log_loss"))
    assert [axes.get_title() for axes in figure.axes] == list(facets)
    first, second = (
        {line.get_gid(): line.get_color() for line in axes.get_lines() if line.get_gid()} for axes in figure.axes
    )
    assert second == {"valid 1": first["valid 1"]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lstm", "nlstm"]


def test_the_best_values_stand_against_the_setting_with_every_seed(make_run) -> None:
    facets = {}
    for length in (5, 20, 50):
        config = {"data": {"length": length}}
        runs = [
            make_run(name, seed, valid=[0.0, best + seed / 100], metric="accuracy", config=config)
            for name, best in (("lstm", 0.9), ("nlstm", 1 / length))
            for seed in range(2)
            if (name, length) != ("nlstm", 50)
        ]
        facets[f"data.length={length}"] = compare(runs)
    axes = draw_against(facets, "data.length", PlotOptions("accuracy")).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("data.length", "valid accuracy")
    drawn = lines(axes.figure)
    assert drawn["valid 0"].get_xdata().tolist() == [5, 20, 50]
    assert drawn["valid 0"].get_ydata() == pytest.approx([0.905] * 3)
    # What is not there for a value leaves a gap at its end, and no false point.
    assert drawn["valid 1"].get_xdata().tolist() == [5, 20]
    assert drawn["valid 1"].get_ydata() == pytest.approx([0.205, 0.055])
    assert {text.get_text() for text in axes.texts} == {"lstm", "nlstm"}
    seeds = drawn["seeds 0"]
    assert seeds.get_xdata().tolist() == [5, 5, 20, 20, 50, 50]
    assert seeds.get_ydata() == pytest.approx([0.9, 0.91] * 3)


def test_a_group_that_has_not_been_evaluated_is_left_out(make_run) -> None:
    facets = {}
    for length in (5, 20):
        config = {"data": {"length": length}}
        runs = [make_run("lstm", 0, valid=[1.0], config=config), make_run("nlstm", 0, valid=[], config=config)]
        facets[f"data.length={length}"] = compare(runs)
    axes = draw_against(facets, "data.length", PlotOptions("log_loss")).axes[0]
    assert [text.get_text() for text in axes.texts] == ["lstm"]


def test_a_setting_that_is_no_number_is_refused(make_run) -> None:
    facets = {"name=lstm": compare([make_run("lstm", 0, valid=[1.0])])}
    with pytest.raises(ConfigError, match=r"^--against=name: a setting that is a number expected, found 'lstm'$"):
        draw_against(facets, "name", PlotOptions("log_loss"))


def test_curves_along_another_axis(make_run) -> None:
    comparison = compare([make_run("lstm", 0, valid=[3.0, 2.0], environment={"tokens_per_step": 5})])
    axes = draw(comparison, PlotOptions("log_loss", axis="tokens")).axes[0]
    assert axes.get_xlabel() == "training tokens"
    assert lines(axes.figure)["valid 0"].get_xdata().tolist() == [50.0, 100.0]
