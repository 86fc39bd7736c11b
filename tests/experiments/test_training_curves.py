"""Curves of what a step reported."""

from holdfast.experiments.training_curves import training_curves


def line(step, stage="main", **scalars):
    return {"phase": 0, "stage": stage, "step": step, **scalars}


def test_every_scalar_is_a_point_of_the_curve_of_its_kind_and_stage():
    history = [
        line(1, "first", loss=3.0),
        line(1, **{"loss": 2.0, "kept a.weight": 0.5}),
        line(2, **{"loss": 1.0, "kept a.weight": 0.25, "kept a.bias": 1.0}),
    ]
    curves = {curve.name: curve.series for curve in training_curves(history)}
    assert curves == {
        "first: loss": {"loss": ((1,), (3.0,))},
        "main: loss": {"loss": ((1, 2), (2.0, 1.0))},
        "main: kept": {"a.bias": ((2,), (1.0,)), "a.weight": ((1, 2), (0.5, 0.25))},
    }


def test_losses_come_first_and_no_history_is_no_curve():
    names = [curve.name for curve in training_curves([line(1, **{"kept x": 1.0, "loss": 1.0})])]
    assert names == ["main: loss", "main: kept"]
    assert training_curves([]) == ()
