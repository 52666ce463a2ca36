"""docs/reference/paper-setting.md, item by item, against what `base.profile: paper` gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from dgfnet.dataset.batch import Batch
from dgfnet.network.variants import DGFNet
from dgfnet.settings import load
from dgfnet.training import loop
from dgfnet.training.hardware import choose
from dgfnet.training.loop import Schedule, cosine, train

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "paper-setting.md"


def rows():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if (
            line.startswith("| ")
            and len(cells) == 4
            and cells[0] not in ("---",)
            and "paper section" not in cells[0]
        ):
            yield cells


ROWS = [row for row in rows() if row[2]]


@pytest.fixture(scope="module")
def paper():
    return load(Path(__file__).parents[1] / "params.yaml", ["base.profile=paper"])


def test_the_table_is_read_whole():
    assert len(ROWS) == 32
    assert len(list(rows())) == 40


@pytest.mark.parametrize(("item", "said", "key", "value"), ROWS, ids=[row[2].strip("`") for row in ROWS])
def test_the_profile_has_the_papers_number(paper, item, said, key, value):
    found = paper
    for part in key.strip("`").split("."):
        found = getattr(found, part)
    expected = yaml.safe_load(value)
    assert found == (tuple(expected) if isinstance(expected, list) else expected), item


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

    class Watched(torch.optim.Adam):
        def __init__(self, groups, **how):
            super().__init__(groups, **how)
            made.append(self)

    monkeypatch.setattr(loop.torch.optim, "Adam", Watched)
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
