"""docs/reference/paper-setting.md, item by item, against what `base.profile: paper` gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from dgfnet.adam import Adam
from dgfnet.dataset.batch import Batch
from dgfnet.network.variants import DGFNet
from dgfnet.settings import load
from dgfnet.training import loop
from dgfnet.training.hardware import choose
from dgfnet.training.loop import Schedule, cosine, train

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "paper-setting.md"


def rows(columns):
    """The body of the page's table of so many columns."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [cells for cells in table if len(cells) == columns][2:]


ROWS = [row for row in rows(4) if row[2]]
PROFILES = ("demo", "paper", "paper_size")


@pytest.fixture(scope="module")
def paper():
    return load(Path(__file__).parents[1] / "params.yaml", ["base.profile=paper"])


def test_the_table_is_read_whole():
    assert len(ROWS) == 39
    assert len(rows(4)) == 47


def flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_every_difference_between_the_profiles_is_a_row(params):
    found = {}
    for profile in PROFILES:
        settings = load(params, [f"base.profile={profile}"]).model_dump(by_alias=True, mode="json")
        for key, value in flat(settings):
            found.setdefault(key, {})[profile] = value
    differ = {
        key: values
        for key, values in found.items()
        if len({str(value) for value in values.values()}) > 1 and key not in ("overrides", "base.profile")
    }
    said = {}
    for key, *cells, why in rows(5):
        values = dict(zip(PROFILES, cells, strict=True))
        values = {name: values.get(cell.removeprefix("as "), cell) for name, cell in values.items()}
        said[key.strip("`")] = {name: plain(value) for name, value in values.items()}
        assert why
    assert said == differ


def plain(cell):
    """A word is a word, also `off`."""
    return cell if cell == "off" else yaml.safe_load(cell)


@pytest.mark.parametrize(("item", "said", "key", "value"), ROWS, ids=[row[2].strip("`") for row in ROWS])
def test_the_profile_has_the_papers_number(paper, item, said, key, value):
    found = dict(flat(paper.model_dump(by_alias=True, mode="json")))
    assert found[key.strip("`")] == yaml.safe_load(value), item


def test_one_switch_is_enough(params, tmp_path):
    """Whatever a user changed in the file, the profile brings the paper's numbers back."""
    tree = yaml.safe_load(params.read_text(encoding="utf-8"))
    tree["preprocess"].update(us_dilations=3, canny_low=1)
    tree["training"].update(batch=4)
    tree["base"]["profile"] = "paper"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    changed = load(tmp_path / "params.yaml")
    assert (changed.preprocess.us_dilations, changed.preprocess.canny_low, changed.training.batch) == (
        40,
        -100,
        30,
    )


def test_layers_of_the_papers_networks(paper):
    with torch.device("meta"):  # shapes only
        model = DGFNet("dgf", "resnet34", paper.network)
    stream = model.streams["us"]
    assert len(stream.nodule.blocks) == len(stream.boundary.blocks) == 5
    linear = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
    assert len(linear) == 2
    assert (linear[0].in_features, linear[-1].out_features) == (512, 1)
    depth = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in stream.encoder.modules())
    assert depth + 2 == 34  # the stem before, the classifier of ImageNet after
    assert stream.encoder.layer4[-1].conv2.out_channels == 512


def test_a_step_is_adams_with_the_papers_cosine(paper, tiny, monkeypatch):
    made = []

    class Watched(Adam):
        def __init__(self, groups, **how):
            super().__init__(groups, **how)
            made.append(self)

    monkeypatch.setattr(loop, "Adam", Watched)
    model = DGFNet("us_resnet", "resnet18", tiny.network)

    def batches(epoch):
        image = torch.zeros(2, 32, 32).byte()
        yield Batch(
            {"us": image}, {"us": torch.zeros(2, 2, 32, 32).byte()}, torch.tensor([0.0, 1]), torch.arange(2)
        )

    history = train(
        model, Schedule(4, 1, batches, 4, True), paper.training, choose("auto"), None, lambda _: None
    )
    (optimiser,) = made
    assert {group["weight_decay"] for group in optimiser.param_groups} == {1e-5}
    # 1e-4 (1 + cos(pi e / 4)) / 2 by hand
    expected = [1e-4, 0.8535533905932737e-4, 0.5e-4, 0.14644660940672627e-4]
    assert [record["learning_rate"] for record in history] == pytest.approx(expected)
    assert cosine(1.0, 199, 200) < 1e-4
