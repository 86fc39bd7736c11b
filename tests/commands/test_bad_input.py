"""Whatever a user gets wrong is one line with the mend and exit code 2, and leaves nothing on disk."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Call = Callable[..., Any]
Tree = Callable[[], dict[str, int]]
ROLES = ("--label", "died", "--environment", "ward")


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def assert_refused(called: Any, *texts: str, code: int = 2) -> None:
    """One line on stderr, nothing on stdout."""
    assert called.err.startswith("holdfast: "), called.err
    assert called.err.count("\n") == 1, called.err
    assert called.err.endswith("\n")
    assert called.out == ""
    assert called.code == code
    for text in texts:
        assert text in called.err


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("t.csv", b"", "empty"),
        ("t.parquet", b"", "empty"),
        ("t.csv", b"age,ward,died\n", "no rows"),
        ("t.csv", b"just some words\nand more\n", "not a table"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "PNG"),
        ("t.csv", b'{"age": 1}', "JSON"),
        ("t.csv", b"<!doctype html><html>", "web page"),
        ("t.parquet", b"age,ward,died\n1,a,0\n", "Parquet"),
        ("t.csv", bytes(range(256)), "neither text nor Parquet"),
        ("t.csv", b'age,ward,died\n1,"a,0\n', "t.csv"),
        ("t.csv", b"age,age,ward,died\n1,2,a,0\n", "more than one column named 'age'"),
    ],
    ids=str,
)
def test_a_file_that_is_no_table(call: Call, tree: Tree, name: str, content: bytes, text: str) -> None:
    Path(name).write_bytes(content)
    before = tree()
    assert_refused(call("run", name, *ROLES, "--method", "erm"), text)
    assert tree() == before


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_parquet_file(call: Call, tree: Tree, patients: pd.DataFrame, part: float) -> None:
    content = parquet(patients)
    Path("t.parquet").write_bytes(content[: int(part * len(content))])
    before = tree()
    assert_refused(call("run", "t.parquet", *ROLES), "truncated or damaged", "copy or write it again")
    assert tree() == before


def test_random_bytes_are_never_a_traceback(call: Call, tree: Tree, patients: pd.DataFrame) -> None:
    """Noise, and good files with noise in them; what can still be read is only planned, not trained."""
    rng = random.Random(0)
    good = {"t.csv": csv(patients), "t.parquet": parquet(patients)}
    for trial in range(60):
        name = ("t.csv", "t.parquet")[trial % 2]
        content = bytearray(good[name] if trial % 3 else rng.randbytes(rng.randrange(400)))
        for _ in range(rng.choice((1, 5, 50)) if content else 0):
            content[rng.randrange(len(content))] = rng.randrange(256)
        Path(name).write_bytes(content)
        before = tree()
        called = call("run", name, *ROLES, "--dry-run")
        if called.code:
            assert_refused(called)
        assert tree() == before


@pytest.mark.parametrize(
    ("name", "near"), [("patient.csv", "patients.csv"), ("patients.parquet", "patients.csv"), ("no/where.csv", "no")]
)
def test_a_missing_file(call: Call, tree: Tree, patients: pd.DataFrame, name: str, near: str) -> None:
    Path("patients.csv").write_bytes(csv(patients))
    before = tree()
    assert_refused(call("run", name, *ROLES), near)
    assert tree() == before


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (("--label", "dead", "--environment", "ward"), ["unknown label column 'dead'", "'died'"]),
        (("--label", "died", "--environment", "wards"), ["unknown environment column 'wards'", "'ward'"]),
        ((*ROLES, "--group", "Sex"), ["unknown group column 'Sex'", "'sex'"]),
        ((*ROLES, "--unit", "patient"), ["unknown unit column 'patient'"]),
        ((*ROLES, "--weight", "wight"), ["unknown weight column 'wight'"]),
        ((*ROLES, "--split", "splt"), ["unknown split column 'splt'"]),
        ((*ROLES, "--drop", "agee"), ["unknown column 'agee'", "'age'"]),
        ((*ROLES, "--holdout-environment", "nord"), ["'nord'", "'north'"]),
        ((*ROLES, "--holdout-environment", "north", "--holdout-environment", "south"), ["hold out fewer environments"]),
        (("--label", "died"), ["--environment COLUMN", "patients.csv has age, dose, ward, sex, died"]),
        (("--environment", "ward"), ["--label COLUMN"]),
        (("--label", "died", "--environment", "died"), ["--label", "--environment"]),
        ((*ROLES, "--split", "sex", "--holdout-environment", "north"), ["--split and --holdout-environment"]),
        ((*ROLES, "--split", "sex"), ["unknown value of the split column 'f'"]),
        ((*ROLES, "--weight", "sex"), ["weight 'sex'"]),
        ((*ROLES, "--weight", "dose"), ["weight 'dose' is negative"]),
        (("--label", "sex", "--environment", "ward", "--kind", "regression"), ["--kind classification"]),
        ((*ROLES, "--kind", "ranking"), ["--kind", "ranking"]),
        ((*ROLES, "--min-environment-rows", "0"), ["--min-environment-rows"]),
        ((*ROLES, "--min-environment-rows", "-3"), ["--min-environment-rows"]),
        ((*ROLES, "--min-environment-rows", "1000"), ["fewer than 1,000 rows"]),
        ((*ROLES, "--drop", "age", "--drop", "dose", "--drop", "sex"), ["feature"]),
        ((*ROLES, "--drop", "died"), ["column 'died' is both --label and --drop"]),
        ((*ROLES, "--drop", "ward"), ["column 'ward' is both --environment and --drop"]),
        ((*ROLES, "--method", "group-dro:groups=label*sx"), ["'sx'", "'sex'", "--group COLUMN"]),
        ((*ROLES, "--method", "group-dro:groups=label*sex"), ["'sex' is no group yet: add --group sex"]),
        ((*ROLES, "--method", "erm+dfr:groups=ward"), ["'ward' is called environment", "write environment"]),
        ((*ROLES, "--method", "balanced:groups=died*ward"), ["'died' is called label", "write label"]),
    ],
    ids=" ".join,
)
def test_columns_that_cannot_play_their_parts(
    call: Call, tree: Tree, patients: pd.DataFrame, words: tuple[str, ...], texts: list[str]
) -> None:
    Path("patients.csv").write_bytes(csv(patients))
    before = tree()
    assert_refused(call("run", "patients.csv", *words), *texts)
    assert tree() == before


def many_classes(frame: pd.DataFrame) -> pd.DataFrame:
    rows = 10_000
    return frame.sample(rows, replace=True, random_state=0).assign(died=np.arange(rows), ward=["a", "b"] * (rows // 2))


@pytest.mark.parametrize(
    ("change", "words", "texts"),
    [
        (lambda f: f.assign(died=1), (), ["label 'died' has one value only", "--label"]),
        (lambda f: f.assign(died=np.nan), (), ["label 'died'"]),
        (lambda f: f.assign(ward="north"), (), ["environment 'ward' has one value only", "--environment"]),
        (
            lambda f: f.assign(died=f["died"].where(f["age"] > 55)),
            (),
            ["label 'died' is missing in", "drop these rows"],
        ),
        (lambda f: f.assign(age=f["age"].where(f["age"] > 55, np.inf)), (), ["'age'", "infinit"]),
        (lambda f: f.assign(age=f["age"].where(f["age"] > 55, -np.inf)), (), ["'age'", "infinit"]),
        (lambda f: f.assign(died=f["age"].where(f["age"] > 55, np.inf)), (), ["label 'died' is infinite"]),
        (lambda f: f.assign(died=f["age"] * 1e300), (), ["'died' has values beyond 1e+18", "divide it"]),
        (lambda f: f.assign(w=1e200), ("--weight", "w"), ["'w' has values beyond 1e+18"]),
        (many_classes, ("--kind", "classification"), ["10,000 classes", "try --kind regression"]),
        (
            lambda f: many_classes(f).astype({"died": str}).assign(died=lambda g: "x" + g["died"]),
            (),
            ["10,000 classes"],
        ),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("write", [csv, parquet])
def test_values_that_cannot_be_learnt_from(
    call: Call,
    tree: Tree,
    patients: pd.DataFrame,
    write: Callable[[pd.DataFrame], bytes],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    words: tuple[str, ...],
    texts: list[str],
) -> None:
    name = f"t.{write.__name__}"
    Path(name).write_bytes(write(change(patients)))
    before = tree()
    assert_refused(call("run", name, *ROLES, *words), *texts)
    assert tree() == before


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ((), ["TASK|FILE", "run --help"]),
        (("",), ["TASK|FILE", "empty"]),
        (("colored-digits", "--output", ""), ["--output", "empty"]),
        (("x.csv", "--label", ""), ["--label", "empty"]),
        (("./data/x.csv",), ["data/x.csv cannot be found"]),
        (("../x.parquet", *ROLES), ["'x.parquet'"]),
        (("https://example.org/x.csv", *ROLES), ["an address on the web", "download"]),
        (("--", "x.csv", "--label", "y"), ["unrecognized arguments: --label y"]),
        (("patients", *ROLES), ["--label, --environment", "patients is no file"]),
        (("table:path=patients.csv",), ["needs the option 'label'"]),
        (("./patients", *ROLES), ["file in ./ 'patients'"]),
        (("colored-digit",), ["unknown task 'colored-digit'", "'colored-digits'"]),
        (("colored-digits", "extra"), ["extra"]),
        (("colored-digits:strengt=[1]",), ["'strengt'", "'strengths'"]),
        (("colored-digits:strengths=[2]",), ["strengths", "[0, 1]"]),
        (("colored-digits:strengths=x",), ["strengths=x", "a number"]),
        (("colored-digits:palette=gray",), ["palette=gray", "grey"]),
        (("colored-digits", "--label", "x", "--unit", "u"), ["--label, --unit", "colored-digits is a task"]),
        (("colored-digits", "--method", "erm+dfr:strengths=[]"), ["strengths=[]", "name one at least"]),
        (("colored-digits", "--holdout-environment", "x"), ["--holdout-environment"]),
        (("linreg-patchwork", "--select", "validation"), ["'validation'", "--select last"]),
        (("x" * 300,), ["unknown task"]),
        (("x/" * 5000,), []),
        (("colored-digits", "--sed", "3"), ["unknown option '--sed'", "--seeds"]),
        (("colored-digits", "--seed=3"), ["unknown option '--seed'", "--seeds"]),
        (("colored-digits", "--seeds"), ["--seeds"]),
        (("colored-digits", "--seeds", "abc"), ["--seeds", "'abc'"]),
        (("colored-digits", "--seeds", "1.5"), ["--seeds", "'1.5'"]),
        (("colored-digits", "--seeds", "0"), ["--seeds is 0: it must be at least 1"]),
        (("colored-digits", "--seeds", "-1"), ["--seeds is -1"]),
        (("colored-digits", "--seeds", "1000000000000"), ["--seeds is 1000000000000", "at most"]),
        (("colored-digits", "--seeds", "2", "--seeds", "3"), ["--seeds", "twice"]),
        (("colored-digits", "--steps", "0"), ["--steps is 0"]),
        (("colored-digits", "--steps", "-5"), ["--steps is -5"]),
        (("colored-digits", "--batch-size", "0"), ["--batch-size is 0"]),
        (("colored-digits", "--threads", "0"), ["--threads is 0"]),
        (("colored-digits", "--threads", "100000000000"), ["--threads", "at most"]),
        (("colored-digits", "--device", "abacus"), ["--device abacus", "cpu"]),
        (("colored-digits", "--precision", "8"), ["--precision", "32-true"]),
        (("colored-digits", "--executor", "slurm"), ["--executor", "inline"]),
        (("colored-digits", "--model", "mpl"), ["unknown model 'mpl'", "'mlp'"]),
        (("colored-digits", "--model", "mlp:hiden=[3]"), ["'hiden'", "'hidden'"]),
        (("colored-digits", "--model", "mlp:hidden=[0]"), ["hidden", "[1, inf]"]),
        (("colored-digits", "--model", "mlp:hidden=[a]"), ["hidden=[a]", "a whole number"]),
        (("linreg-patchwork", "--select", "last", "--model", "cnn"), ["cnn", "use mlp"]),
        (("colored-digits", "--select", "validaton"), ["unknown rule 'validaton'", "'validation'"]),
        (("colored-digits", "--select", ""), ["NAME"]),
        (("colored-digits", "--select", "last,oracle"), ["unknown rule"]),
        (("colored-digits", "--evaluate", "performnce"), ["unknown evaluation 'performnce'", "'performance'"]),
        (("colored-digits", "--evaluate", "performance:levl=0.9"), ["'levl'", "'level'"]),
        (("colored-digits", "--evaluate", "performance:level=2"), ["level", "0.999"]),
        (("colored-digits", "--evaluate", "performance+confusion"), ["','"]),
        (("colored-digits", "--evaluate", ""), ["NAME"]),
        (("colored-digits", "--method", ""), ["NAME"]),
        (("colored-digits", "--method", " "), ["NAME"]),
        (("colored-digits", "--method", ",,"), ["NAME"]),
        (("colored-digits", "--method", ":"), ["no name in ':'"]),
        (("colored-digits", "--method", "erm:"), ["cannot read ''"]),
        (("colored-digits", "--method", "erm:=3"), ["cannot read '=3'"]),
        (("colored-digits", "--method", "erm:x"), ["cannot read 'x'"]),
        (("colored-digits", "--method", "erm+"), ["no name in"]),
        (("colored-digits", "--method", "+erm"), ["no name in"]),
        (("colored-digits", "--method", "+"), ["no name in"]),
        (("colored-digits", "--method", "emr"), ["unknown method 'emr'", "'erm'"]),
        (("colored-digits", "--method", "erm,and-msk"), ["unknown method 'and-msk'", "'and-mask'"]),
        (("colored-digits", "--method", "erm\nx"), ["unknown method"]),
        (("colored-digits", "--method", "and-mask:treshold=1"), ["'treshold'", "'threshold'"]),
        (("colored-digits", "--method", "and-mask:threshold=1.5"), ["threshold=1.5", "[0, 1]"]),
        (("colored-digits", "--method", "and-mask:threshold=nan"), ["threshold=nan"]),
        (("colored-digits", "--method", "and-mask:threshold=.nan"), ["threshold"]),
        (("colored-digits", "--method", "and-mask:threshold=high"), ["threshold=high is not a number"]),
        (("colored-digits", "--method", "and-mask:threshold=1:threshold=1"), ["'threshold' is given twice"]),
        (("colored-digits", "--method", "erm:optimizer=Adm"), ["optimizer=Adm"]),
        (("colored-digits", "--method", "erm:optimizer.lr=-1"), ["optimizer.lr", "[0, inf]"]),
        (("colored-digits", "--method", "erm:optimizer.rate=1"), ["'optimizer.rate'"]),
        (("colored-digits", "--method", "erm:optimizer.lr.x=1"), ["optimizer.lr.x"]),
        (("colored-digits", "--method", "dfr"), ["erm+dfr"]),
        (("colored-digits", "--method", "erm+logistic"), ["logistic", "cannot be part of a chain"]),
        (("colored-digits", "--method", "gradient-boosting+erm"), ["gradient-boosting", "cannot be part of a chain"]),
        (("spirals-shortcuts", "--select", "worst-group"), ["worst-group", "--group"]),
        (("linreg-patchwork", "--method", "erm", "--evaluate", "calibration"), ["calibration", "regression"]),
        (("colored-digits", "--method", "group-dro:groups=colour"), ["'colour'", "'color'"]),
        (("colored-digits", "--method", "group-dro:groups="), []),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_mistakes_on_the_command_line(call: Call, tree: Tree, words: tuple[str, ...], texts: list[str]) -> None:
    assert_refused(call("run", *words), *texts)
    assert tree() == {}


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (("runn",), ["unknown verb 'runn'", "'run'"]),
        (("--jsn",), ["unknown option '--jsn'"]),
        (("list", "method"), []),
        (("list", "methds"), ["unknown family 'methds'", "'methods'"]),
        (("show",), ["NAME|CELL"]),
        (("show", "and-msk"), ["unknown plug-in or cell 'and-msk'", "'and-mask'"]),
        (("show", ""), ["NAME|CELL", "empty"]),
        (("show", "erm", "--output", ""), ["--output", "empty"]),
        (("list", "--output", ""), ["--output", "empty"]),
        (("report", ""), ["FOLDER", "empty"]),
        (("report",), ["FOLDER"]),
        (("report", "nowhere"), ["nowhere is not the folder of a run", "name one that holdfast run printed"]),
        (("reproduce",), ["ilc/linreg", "--all"]),
        (("reproduce", "ilc/linrg"), ["unknown reproduction 'ilc/linrg'", "'ilc/linreg'"]),
        (("reproduce", "ilc/linreg", "--all"), ["--all"]),
        (("reproduce", "ilc/linreg", "--threads", "0"), ["--threads is 0", "at least 1"]),
        (("reproduce", "ilc/linreg:seeds=1"), ["seeds=1", "[2, inf]"]),
        (("sweep", "colored-digits", "--trials", "0"), ["--trials is 0"]),
        (("sweep", "colored-digits", "--trials", "1000000000000"), ["--trials", "at most"]),
        (("sweep", "colored-digits", "--sampler", "sobel"), ["unknown sampler 'sobel'", "did you mean 'sobol'"]),
        (("sweep", "colored-digits", "--seconds", "0"), ["--seconds is 0", "above 0"]),
        (("sweep", "colored-digits", "--seconds", "nan"), ["--seconds is nan", "above 0"]),
        (("sweep", "colored-digits", "--seconds", "soon"), ["--seconds", "soon"]),
        (("sweep", "colored-digits", "--select", "last"), ["--select validation"]),
        (("sweep", "colored-digits", "--select", "last", "--dry-run"), ["--select validation"]),
    ],
    ids=" ".join,
)
def test_mistakes_with_other_verbs(call: Call, tree: Tree, words: tuple[str, ...], texts: list[str]) -> None:
    if words == ("list", "method"):
        assert call(*words).code == 0
        return
    assert_refused(call(*words), *texts)
    assert tree() == {}


def test_a_damaged_cell_is_named_with_the_mend(run: Call) -> None:
    assert run().code == 0
    (cell,) = Path("runs/cells").iterdir()
    (cell / "ledger.json").write_text("{")
    for called in (run(), run("--json")):
        assert_refused(called, f"{cell} is damaged (ledger.json): remove it and run again")


@pytest.mark.parametrize("verb", [("show",), ("report",)])
def test_other_verbs_refuse_a_damaged_cell_too(run: Call, call: Call, verb: tuple[str, ...]) -> None:
    folder = Path(run("--json").json["report"]).parent
    (cell,) = Path("runs/cells").iterdir()
    (cell / "provenance.json").unlink()
    what = {"show": [cell.name], "report": [folder]}.get(verb[0], [])
    assert_refused(call(*verb, *what), str(cell), "damaged", "run again")


@pytest.mark.filterwarnings("always")
def test_the_list_of_cells_names_what_is_none_and_lists_the_others(run: Call, call: Call) -> None:
    run(method="erm,irm")
    damaged, whole = sorted(Path("runs/cells").iterdir())
    (damaged / "provenance.json").write_text("{")
    Path("runs/cells/notes").mkdir()
    called = call("list", "cells")
    assert called.code == 0
    assert called.err.splitlines() == [
        f"holdfast: warning: left out: cell {damaged} is damaged (provenance.json): remove it and run again",
        "holdfast: warning: left out: runs/cells/notes is no cell: move it elsewhere",
    ]
    assert whole.name in called.out
    assert damaged.name not in called.out
    assert [cell["cell"] for cell in call("list", "cells", "--json").json["cells"]] == [whole.name]


def test_a_stray_folder_among_the_cells_is_in_nobodys_way(run: Call) -> None:
    Path("runs/cells/notes").mkdir(parents=True)
    assert run().code == 0


def test_the_list_of_cells_of_a_folder_that_cannot_be_written(
    run: Call, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    before = call("list", "cells").out

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("holdfast.core.files._flush", forbidden)
    called = call("list", "cells")
    assert (called.code, called.out, called.err) == (0, before, "")


@pytest.mark.parametrize("name", ["1", "null", "true", "a:b", "a=b", "a,b", "ä ö", "[x]", "label", "environment"])
def test_columns_of_any_name_can_play_any_part(call: Call, patients: pd.DataFrame, name: str) -> None:
    """Nothing that is a column's name is read as a number, a word of YAML or an option."""
    Path("t.csv").write_bytes(csv(patients.rename(columns={"died": name})))
    called = call("run", "t.csv", "--label", name, "--environment", "ward", "--method", "erm", "--dry-run")
    assert called.code == 0, called.err
    Path("t.csv").write_bytes(csv(patients.rename(columns={"ward": name})))
    called = call("run", "t.csv", "--label", "died", "--environment", name, "--group", "sex", "--dry-run")
    assert called.code == 0, called.err


@pytest.mark.parametrize("value", ["1", "null", "true", "a|b", "a,b", "a:b"])
def test_environments_of_any_name_can_be_held_out(call: Call, patients: pd.DataFrame, value: str) -> None:
    Path("t.parquet").write_bytes(parquet(patients.assign(ward=patients["ward"].replace("north", value))))
    words = ("--label", "died", "--environment", "ward", "--holdout-environment", value, "--method", "erm")
    folds = {cell["fold"] for cell in call("run", "t.parquet", *words, "--dry-run", "--json").json["cells"]}
    assert folds == {value}


@pytest.mark.parametrize(
    ("died", "words", "texts"),
    [
        (lambda f: f["ward"] == "north", (), ["with north held out", "role 'train'", "class 'False'"]),
        (lambda f: f.index % 15 == 1, ("--method", "erm+dfr"), ["held out", "'holdout'", "class 'False'"]),
    ],
    ids=["train", "holdout"],
)
def test_rows_of_one_class_are_refused_before_anything_is_trained(
    call: Call,
    tree: Tree,
    patients: pd.DataFrame,
    died: Callable[[pd.DataFrame], Any],
    words: tuple[str, ...],
    texts: list[str],
) -> None:
    Path("t.csv").write_bytes(csv(patients.assign(died=died)))
    before = tree()
    assert_refused(call("run", "t.csv", *ROLES, *words), *texts, "nothing to learn")
    assert tree() == before


def test_a_holdout_of_one_class_is_no_matter_to_methods_that_do_not_look_at_it(
    call: Call, patients: pd.DataFrame
) -> None:
    Path("t.csv").write_bytes(csv(patients.assign(died=lambda f: f.index % 15 == 1)))
    assert call("run", "t.csv", *ROLES, "--method", "erm", "--dry-run").code == 0


def test_an_environment_without_weight_is_no_traceback(call: Call, patients: pd.DataFrame) -> None:
    weighed = pd.concat([patients, patients.assign(ward="west")]).assign(w=lambda f: (f["ward"] != "west").astype(int))
    Path("t.csv").write_bytes(csv(weighed))
    words = ("--weight", "w", "--method", "erm", "--steps", 2, "--seeds", 1, "--json")
    called = call("run", "t.csv", *ROLES, *words)
    assert called.code == 0, called.err
    assert sorted(called.json["folds"]) == ["north", "south"]


@pytest.mark.parametrize(
    ("inference", "message"),
    [
        ("eil", "unknown inference 'eil': did you mean 'eiil'?"),
        ("errors:first=2", "inference 'errors': first=2.0 is out of range: it must lie in [0.0001, 1]"),
        ("features:number=1", "inference 'features': number=1 is out of range: it must lie in [2, inf]"),
        ("features:number=30", "30 clusters of class 1 are more groups than its 15 rows: ask for fewer"),
        ("errors:frist=0.1", "unknown option of inference 'errors' 'frist': did you mean 'first'?"),
    ],
)
def test_group_inference_that_cannot_be(run: Call, inference: str, message: str) -> None:
    called = run("--infer-groups", inference, method="group-dro")
    assert (called.code, called.out, called.err.count("\n")) == (2, "", 1)
    assert message in called.err
