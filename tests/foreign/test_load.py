"""Models of every make predict what they predicted where they were made; what does not fit is one line."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from tests.foreign.conftest import FEATURES, MakeTask, numbers
from torch import Tensor, nn

from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.task import TaskData
from holdfast.foreign import load


class Linear(nn.Module):
    """Logits of two classes from three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x)
        return logits


def scripted(network: nn.Module, path: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are files of TorchScript all the same
        torch.jit.save(torch.jit.script(network), path)  # type: ignore[no-untyped-call]


def rows_of(task: TaskData) -> Any:
    return task.splits[0].data


def probabilities(task: TaskData, path: str, **options: Any) -> np.ndarray:
    logits = load(path, task, **options).predictor.predict(rows_of(task)).logits
    assert logits is not None
    return logits.softmax(1).numpy()


@pytest.mark.parametrize("named", [True, False])
def test_an_estimator_of_skops(tmp_path: Path, table: MakeTask, named: bool) -> None:
    frame = numbers()
    x = frame[FEATURES[::-1]] if named else frame[FEATURES].to_numpy()
    model = RandomForestClassifier(20, random_state=0).fit(x, frame["ill"])
    skops.io.dump(model, tmp_path / "m.skops")
    np.testing.assert_allclose(probabilities(table(), str(tmp_path / "m.skops")), model.predict_proba(x), atol=1e-6)


def test_altered_raw_rows_are_predicted_too(tmp_path: Path, table: MakeTask) -> None:
    frame = numbers()
    model = LogisticRegression().fit(frame[FEATURES], frame["ill"])
    skops.io.dump(model, tmp_path / "m.skops")
    task = table()
    assert task.raw is not None
    raw = task.raw.rows(rows_of(task).index).assign(a=0.0)
    logits = load(str(tmp_path / "m.skops"), task).predictor.predict(raw).logits
    assert logits is not None
    expected = model.predict_proba(frame[FEATURES].assign(a=0.0))
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=1e-6)


def test_classes_are_matched_by_their_text(tmp_path: Path, table: MakeTask) -> None:
    frame = numbers().assign(ill=lambda f: (f["a"] > 0).astype(int))
    model = LogisticRegression().fit(frame[FEATURES], frame["ill"] == 1)
    skops.io.dump(model, tmp_path / "m.skops")
    task = table(frame)
    assert task.classes == ("0", "1")
    np.testing.assert_allclose(
        probabilities(task, str(tmp_path / "m.skops")), model.predict_proba(frame[FEATURES]), atol=1e-6
    )


def test_codes_of_classes_are_read_in_their_order_and_that_is_noted(tmp_path: Path, table: MakeTask) -> None:
    frame = numbers()
    model = LogisticRegression().fit(frame[FEATURES], (frame["ill"] == "yes").astype(int))
    skops.io.dump(model, tmp_path / "m.skops")
    said = probabilities(table(), str(tmp_path / "m.skops"))
    np.testing.assert_allclose(said, model.predict_proba(frame[FEATURES]), atol=1e-6)
    assert "the model's classes 0 … 1 are read as no, yes" in load(str(tmp_path / "m.skops"), table()).notes


@pytest.mark.parametrize(("model", "note"), [(LinearSVC(), ""), (RidgeClassifier(), "")])
def test_decision_functions_are_logits(tmp_path: Path, table: MakeTask, model: Any, note: str) -> None:
    frame = numbers()
    model.fit(frame[FEATURES], frame["ill"])
    skops.io.dump(model, tmp_path / "m.skops")
    said = probabilities(table(), str(tmp_path / "m.skops")).argmax(1)
    assert np.array_equal(np.array(["no", "yes"])[said], model.predict(frame[FEATURES]))


def test_regression(tmp_path: Path, table: MakeTask) -> None:
    frame = numbers()
    model = LinearRegression().fit(frame[FEATURES], frame["cost"])
    skops.io.dump(model, tmp_path / "m.skops")
    task = table(label="cost")
    mean = load(str(tmp_path / "m.skops"), task).predictor.predict(rows_of(task)).mean
    assert mean is not None
    np.testing.assert_allclose(mean.numpy(), model.predict(frame[FEATURES]), atol=1e-5)


@pytest.mark.parametrize("make", ["torchscript", "export", "fixed export"])
def test_networks_in_files(tmp_path: Path, table: MakeTask, make: str) -> None:
    network, path = Linear().eval(), tmp_path / "m.bin"
    if make == "torchscript":
        scripted(network, path)
    else:
        dynamic = None if make == "fixed export" else ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, (torch.zeros(7, 3),), dynamic_shapes=dynamic)
        torch.export.save(program, tmp_path / "m.pt2")
        path = tmp_path / "m.pt2"
    frame = numbers()
    expected = network(torch.tensor(frame[FEATURES].to_numpy())).softmax(1).detach().numpy()
    np.testing.assert_allclose(probabilities(table(), str(path)), expected, atol=1e-6)


def test_a_network_on_pictures_keeps_its_module(pictures: TaskData, own_module: Any) -> None:
    own_module("import torch\nnetwork = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)).double()")
    found = load("own:network", pictures)
    assert isinstance(found.predictor.module, nn.Module)
    assert found.predictor.predict(rows_of(pictures)).outputs.shape == (40, 2)
    assert found.notes == ("the model's outputs are read as logits",)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write ``own.py`` into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own", raising=False)

    def write(text: str) -> None:
        (tmp_path / "own.py").write_text(text, encoding="utf-8")

    yield write
    sys.modules.pop("own", None)


FUNCTIONS = {
    "frame": ("def f(rows): return (rows['a'] > 0).astype(float)", "probability of the second class"),
    "logit": ("def f(rows): return 9 * rows['a']", "logit of the second class"),
    "two columns": ("import numpy as np\ndef f(rows): return np.stack([-rows['a'], rows['a']], 1)", "as logits"),
    "one-hot": ("import numpy as np\ndef f(rows): return np.eye(2)[(rows['a'] > 0).astype(int)]", "labels only"),
    "factory": ("def f(): return lambda rows: 9 * rows['a']", "logit of the second class"),
    "prints": ("def f(rows):\n    print('hello')\n    return 9 * rows['a']", "logit of the second class"),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions_of_the_table(table: MakeTask, own_module: Any, capsys: Any, kind: str) -> None:
    text, note = FUNCTIONS[kind]
    own_module(text)
    task = table()
    found = load("own:f", task)
    logits = found.predictor.predict(rows_of(task)).logits
    assert logits is not None
    assert torch.equal(logits.argmax(1), rows_of(task).labels)
    assert any(note in line for line in found.notes)
    assert capsys.readouterr().out == ""


def test_what_depends_on_the_batch_or_on_chance_is_noted(table: MakeTask, own_module: Any) -> None:
    own_module(
        "import numpy as np\n"
        "def batch(rows): return 9 * (rows['a'] - rows['a'].mean())\n"
        "def chance(rows): return rows['a'] + np.random.rand(len(rows))"
    )
    assert any("other rows of its batch" in note for note in load("own:batch", table()).notes)
    assert any("asked again" in note for note in load("own:chance", table()).notes)


MISTAKES = {
    "raises": ("def f(rows): raise KeyError('age')", r"own:f raised KeyError: 'age' \(.*own.py, line 1\)"),
    "exits": ("import sys\ndef f(rows): sys.exit(1)", "own:f raised SystemExit"),
    "import": ("import nothing_like_it\ndef f(rows): pass", "importing own raised ModuleNotFoundError"),
    "exits at import": ("raise SystemExit", "importing own raised SystemExit"),
    "batch size": ("def f(rows): return rows['a'][:3]", r"own:f returned \(3,\) for 64 rows"),
    "text": ("def f(rows): return ['yes'] * len(rows)", "no array of numbers"),
    "three columns": ("import numpy as np\ndef f(rows): return np.ones((len(rows), 3))", "3 numbers per row, and the"),
    "not finite": ("def f(rows): return rows['a'] * float('nan')", "not finite"),
    "a number": ("f = 3", "own:f is of type int"),
    "label": ("def f(rows): return rows['ill'] == 'yes'", "KeyError: 'ill'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_function_that_does_not_fit_is_one_line(table: MakeTask, own_module: Any, mistake: str) -> None:
    text, message = MISTAKES[mistake]
    own_module(text)
    with pytest.raises(UserError, match=message):
        load("own:f", table())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:f", "no Python module 'nowhere' here"),
        ("own:g", "unknown object of own 'g'"),
        ("missing.onnx", "there is no model 'missing.onnx'"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(table: MakeTask, own_module: Any, name: str, message: str) -> None:
    own_module("f = 1")
    with pytest.raises(UserError, match=message):
        load(name, table())


def test_columns_that_do_not_fit_are_one_line(tmp_path: Path, table: MakeTask) -> None:
    frame, path = numbers(), str(tmp_path / "m.skops")
    skops.io.dump(LogisticRegression().fit(frame[FEATURES].rename(columns={"a": "age"}), frame["ill"]), path)
    with pytest.raises(UserError, match="reads the column 'age', which the table does not have"):
        load(path, table())
    skops.io.dump(LogisticRegression().fit(frame[["a"]].to_numpy(), frame["ill"]), path)
    with pytest.raises(UserError, match="reads 1 columns without names, and the table has 3 features"):
        load(path, table())
    skops.io.dump(LogisticRegression().fit(frame[FEATURES], frame["ward"]), path)
    with pytest.raises(UserError, match="knows the classes north, south, and the rows have no, yes"):
        load(path, table())
    scripted(Linear(), path)
    with pytest.raises(UserError, match="'place' holds 'x'"):
        load(path, table(frame.assign(place="x")))


@pytest.mark.parametrize("how", ["pickle", "protocol 0", "joblib", "joblib compressed", "torch"])
def test_a_pickle_is_opened_only_for_who_trusts_it(tmp_path: Path, table: MakeTask, how: str) -> None:
    frame, path = numbers(), tmp_path / "model.onnx"  # whatever its name says
    model = LogisticRegression().fit(frame[FEATURES], frame["ill"])
    if how.startswith("joblib"):
        joblib.dump(model, path, compress=3 if "compressed" in how else 0)
    elif how == "torch":
        torch.save(model, path)
    else:
        path.write_bytes(pickle.dumps(model, protocol=0 if "0" in how else 5))
    with pytest.raises(UserError, match="is a pickle, which can run any code"):
        load(str(path), table())
    said = probabilities(table(), str(path), trust_pickle=True)
    np.testing.assert_allclose(said, model.predict_proba(frame[FEATURES]), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, I am a text", "no model that can be opened"),
        (b"PK\x03\x04 and then nothing", "damaged archive"),
        (b"\x08\x07\x12\x04rest", "cannot read|onnxruntime is not installed"),
    ],
)
def test_files_that_are_no_models_are_one_line(tmp_path: Path, table: MakeTask, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(str(path), table())


def test_archives_and_folders_that_are_no_models_are_one_line(tmp_path: Path, table: MakeTask) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="no model that can be opened"):
        load(str(path), table())
    with pytest.raises(UserError, match=r"a folder without config\.json"):
        load(str(tmp_path), table())
    skops.io.dump({"a": 1}, path)
    with pytest.raises(UserError, match="holds dict, which cannot predict"):
        load(str(path), table())


def test_damaged_archives_of_torch_are_one_line(tmp_path: Path, table: MakeTask) -> None:
    path = tmp_path / "m.pt"
    scripted(Linear(), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, b"x" if name.endswith(".py") else content)
    with pytest.raises(UserError, match="cannot read"):
        load(str(path), table())


def test_onnx(tmp_path: Path, table: MakeTask) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    convert = pytest.importorskip("skl2onnx", reason="skl2onnx writes the model of this test")
    from skl2onnx.common.data_types import FloatTensorType

    frame, path = numbers(), tmp_path / "m.onnx"
    model = LogisticRegression().fit(frame[FEATURES].to_numpy(), frame["ill"])
    for initial, options in (
        ([("x", FloatTensorType([None, 3]))], {}),
        ([("x", FloatTensorType([None, 3]))], {id(model): {"zipmap": False}}),
    ):
        path.write_bytes(convert.convert_sklearn(model, initial_types=initial, options=options).SerializeToString())
        np.testing.assert_allclose(
            probabilities(table(), str(path)), model.predict_proba(frame[FEATURES].to_numpy()), atol=1e-5
        )


def test_a_hugging_face_classifier(tmp_path: Path, pictures: TaskData) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", id2label={0: "dog", 1: "cat"}
    )
    network = transformers.ResNetForImageClassification(config).eval()
    network.save_pretrained(tmp_path)
    found = load(str(tmp_path), pictures)
    x = rows_of(pictures).x
    expected = network((x - 0.5) / 0.5).logits.detach()[:, [1, 0]]
    torch.testing.assert_close(found.predictor.predict(rows_of(pictures)).outputs.float(), expected)
    settings = {"size": {"height": 16, "width": 16}, "image_mean": [0.2, 0.3, 0.4], "image_std": [0.3, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    mean, std = (torch.tensor(settings[name])[:, None, None] for name in ("image_mean", "image_std"))
    larger = nn.functional.interpolate(x, size=(16, 16), mode="bilinear", antialias=True)
    expected = network((larger - mean) / std).logits.detach()[:, [1, 0]]
    torch.testing.assert_close(
        load(str(tmp_path), pictures).predictor.predict(rows_of(pictures)).outputs.float(), expected
    )
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot read an image network"):
        load(str(tmp_path), pictures)


def test_a_hugging_face_classifier_of_text(
    tmp_path: Path, table: MakeTask, text_network: Callable[..., Path], pictures: TaskData
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    folder = text_network("clf", "DistilBertForSequenceClassification", id2label={0: "yes", 1: "no"})
    words = np.random.default_rng(0).choice(["the", "book", "was", "good", "very", "long"], (200, 6))
    data = table(numbers().assign(text=[" ".join(row) for row in words]))
    found = load(str(folder), data)
    network = transformers.DistilBertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [" ".join(words[k]) for k in rows_of(data).index.tolist()]
    expected = network(**tokenizer(texts, return_tensors="pt")).logits.detach()[:, [1, 0]]
    torch.testing.assert_close(found.predictor.predict(rows_of(data)).outputs.float(), expected)
    with pytest.raises(UserError, match="the table has no column of text"):
        load(str(folder), table())
    with pytest.raises(UserError, match="clf reads text"):
        load(str(folder), pictures)
    with pytest.raises(UserError, match="holds DistilBertModel, which is no classifier"):
        load(str(text_network()), data)


def test_a_hub_id_without_network_is_one_line(pictures: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers is an extra")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="name a local folder that save_pretrained wrote"):
        load("hub:nobody/nothing", pictures)


def test_an_absent_extra_is_named(tmp_path: Path, table: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07\x12\x04rest")
    with pytest.raises(MissingExtra, match=r"pip install 'holdfast\[onnx\]'"):
        load(str(tmp_path / "m.onnx"), table())


def test_missing_numbers_reach_the_model_as_nan(table: MakeTask, own_module: Any) -> None:
    frame = numbers()
    frame.loc[:9, "b"] = None
    own_module("def f(rows): return rows['a'] * 9 + rows['b'].isna()")
    assert load("own:f", table(frame)).predictor.predict(rows_of(table(frame))).outputs.isfinite().all()
    assert isinstance(frame, pd.DataFrame)
