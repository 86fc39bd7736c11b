"""``holdfast audit``: what it prints and writes, its gates, and every mistake in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from PIL import Image
from sklearn.linear_model import LogisticRegression

Call = Callable[..., Any]
ROLES = ("--label", "ill", "--environment", "hospital")


@pytest.fixture
def audit(call: Call, tmp_path: Path) -> Call:
    """``holdfast audit`` of a model that relies on a scanner, which misleads in one of three hospitals."""
    rng = np.random.default_rng(0)
    ill = np.arange(900) % 2
    hospital = np.repeat(["North", "South", "West"], 300)
    follows = rng.random(900) < np.where(hospital == "West", 0.2, 0.95)
    frame = pd.DataFrame(
        {
            "scanner": np.where(follows, ill, 1 - ill),
            "marker": rng.normal(ill, 2.0),
            "sex": rng.choice(["f", "m"], 900),
            "hospital": hospital,
            "ill": np.array(["no", "yes"])[ill],
        }
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    model = LogisticRegression().fit(frame.loc[:599, ["scanner", "marker"]], frame.loc[:599, "ill"])
    skops.io.dump(model, tmp_path / "m.skops")

    def call_it(*words: object, model: str = "m.skops", data: str = "rows.csv") -> Any:
        return call("audit", model, "--data", data, *ROLES, *words)

    return call_it


def test_the_answer_is_printed_and_the_page_written(audit: Call) -> None:
    called = audit("--group", "sex")
    assert (called.code, called.err) == (0, "")
    assert re.search(r"^• It is right in .* worst in 'West'", called.out, re.MULTILINE)
    assert "• The model relies on 'scanner', which misleads it in 'West'" in called.out
    page = Path(re.findall(r"^report: (.*)$", called.out, re.MULTILINE)[0])
    assert "holdfast audit m.skops --data rows.csv" in page.read_text(encoding="utf-8")
    assert json.loads((page.parent / "audit.json").read_text())["alarms"][0]["subject"] == "scanner"


def test_json_is_one_object_and_the_same_again(audit: Call) -> None:
    first, again = (audit("--json", "--evaluate", "reliance,performance") for _ in range(2))
    content, other = first.json, again.json
    assert content["alarms"][0]["subject"] == "scanner"
    assert set(content["measurements"]) == {"reliance", "performance"}
    assert {**content, "seconds": None} == {**other, "seconds": None}


@pytest.mark.parametrize(
    ("gate", "code", "message"),
    [
        (("--fail-under", "worst-environment=0.1"), 0, ""),
        (("--fail-under", "worst-environment=0.9"), 3, "gate missed: worst-environment (West) is 0."),
        (("--fail-under", "accuracy=0.99", "--fail-over", "alarms=0"), 3, "alarms is 1, over 0"),
        (("--fail-over", "log-loss=0.01"), 3, "log-loss is"),
    ],
)
def test_gates(audit: Call, gate: tuple[str, ...], code: int, message: str) -> None:
    called = audit(*gate)
    assert called.code == code
    assert message in called.err
    assert "report: " in called.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fail-under", "worst-group"), "write METRIC=VALUE"),
        (("--fail-under", "=0.5"), "write METRIC=VALUE"),
        (("--fail-under", "accuracy=high"), "write METRIC=VALUE"),
        (("--fail-under", "acuracy=0.5"), "did you mean 'accuracy'"),
        (("--evaluate", "relaince"), "did you mean 'reliance'"),
        (("--threads", "0"), "--threads is 0"),
    ],
)
def test_mistakes_are_one_line(audit: Call, words: tuple[str, ...], message: str) -> None:
    called = audit(*words)
    assert (called.code, called.out) == (2, "")
    assert message in called.err
    assert called.err.count("\n") == 1


def test_a_model_or_data_that_are_not_there_are_one_line(audit: Call, call: Call) -> None:
    assert "there is no model 'n.skops'" in audit(model="n.skops").err
    assert "'no.csv'" in audit(data="no.csv").err
    called = call("audit", "m.skops")
    assert (called.code, called.out) == (2, "")
    assert "--data TASK|FILE" in called.err


def test_a_model_trained_here_is_audited_by_its_hash(call: Call, run: Call) -> None:
    run()
    (cell,) = (path.name for path in Path("runs/cells").iterdir() if path.is_dir())
    called = call("audit", cell[:8], "--evaluate", "performance")
    assert called.code == 0
    assert "on 32 rows" in called.out
    called = call("audit", cell[:8], "--data", "colored-digits")
    assert "leave out --data" in called.err
    assert "no finished cells" in call("audit", "00000000").err


def test_a_trained_cell_of_colored_digits_relies_on_color(call: Call) -> None:
    call("run", "colored-digits", "--method", "erm", "--seeds", 1, "--steps", 150, "--evaluate", "performance")
    (cell,) = (path.name for path in Path("runs/cells").iterdir() if path.is_dir())
    called = call("audit", cell[:10], "--json", "--evaluate", "reliance")
    assert called.code == 0
    assert [alarm["subject"] for alarm in called.json["alarms"]] == ["color"]


def test_a_folder_of_images(call: Call, tmp_path: Path) -> None:
    """The model looks at the color alone, which goes with the kind on two of three cameras."""
    rng, rows = np.random.default_rng(0), []
    for k in range(240):
        kind, camera = k % 2, "abc"[k // 2 % 3]
        pixels = rng.integers(100, 140, (6, 6, 3), dtype=np.uint8)
        red = kind if camera != "c" else 1 - kind
        pixels[..., 0] = 200 * red + 20
        name = f"{('cat', 'dog')[kind]}/{k}.png"
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pets" / name)
        rows.append((name, camera))
    pd.DataFrame(rows, columns=["file_name", "camera"]).to_csv(tmp_path / "pets" / "metadata.csv", index=False)
    (tmp_path / "looks.py").write_text("def red(x): return 8 * (x[:, 0].mean(dim=(1, 2)) - 0.5)")
    called = call("audit", "looks:red", "--data", "pets", "--environment", "camera")
    assert (called.code, called.err) == (0, "")
    assert "worst in 'c', 0.0 %" in called.out
    assert re.search("The model relies on '[^']*color[^']*', which misleads it in 'c'", called.out)
    (tmp_path / "pets" / "cat" / "0.png").write_bytes(b"")
    called = call("audit", "looks:red", "--data", "pets", "--environment", "camera")
    assert called.code == 2
    assert "cat/0.png: empty" in called.err
