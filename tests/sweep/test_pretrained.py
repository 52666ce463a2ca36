"""Pretrained encoders: off, a file, or published weights; never silently none."""

from __future__ import annotations

import pytest
import torch
import torchvision

from dgfnet.errors import InputError
from dgfnet.sweep.pretrained import resolve


def with_pretrained(settings, choice):
    return settings.changed({"network.pretrained": choice})


def test_pretrained_off_is_off(project):
    assert resolve(with_pretrained(project, "off"), "resnet18") is None


def test_a_path_may_name_each_encoder(project):
    for name in ("resnet18", "inception_v3"):
        (project.root / f"{name}.pt").touch()
    settings = with_pretrained(project, "{encoder}.pt")
    for name in ("resnet18", "inception_v3"):
        assert resolve(settings, name) == str(project.root / f"{name}.pt")
    with pytest.raises(InputError, match=r"resnet34\.pt does not exist; it is needed for resnet34"):
        resolve(settings, "resnet34")


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_published_weights_come_from_torchs_cache_and_are_kept_by_the_driver(
    project, tmp_path, monkeypatch, name
):
    cache = tmp_path / "torch"
    monkeypatch.setenv("TORCH_HOME", str(cache))
    weights = getattr(torchvision.models, name)(weights=None).state_dict()
    file = (
        cache
        / "hub"
        / "checkpoints"
        / torchvision.models.get_model_weights(name).IMAGENET1K_V1.url.rsplit("/", 1)[1]
    )
    file.parent.mkdir(parents=True)
    torch.save(weights, file)
    settings = with_pretrained(project, "imagenet")
    path = resolve(settings, name)
    assert path == str(settings.work / "pretrained" / f"{name}.pt")
    kept = torch.load(path, weights_only=True)
    assert all(torch.equal(value, kept[key]) for key, value in weights.items())
    file.unlink()
    assert resolve(settings, name) == path  # a second call needs no cache


def test_weights_that_cannot_be_had_say_what_to_do(project, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(InputError, match="neither in torch's cache nor downloadable") as caught:
        resolve(with_pretrained(project, "imagenet"), "resnet18")
    assert "set it to off" in str(caught.value)
    assert not list(project.work.glob("**/*"))
