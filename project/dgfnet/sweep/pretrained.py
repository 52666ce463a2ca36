"""Resolves an encoder's pretrained weights: published, a file, or explicitly none. Never silently."""

from __future__ import annotations

from pathlib import Path

from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.settings import Settings
from dgfnet.vocabulary import Backbone


def resolve(settings: Settings, backbone: Backbone) -> str | None:
    """Returns the path of a checkpoint for a backbone, or None when `network.pretrained` is off.

    `imagenet` takes torchvision's published weights, downloaded once by the driver into the work folder.
    In a path, `{encoder}` stands for the backbone's name, so that sites with different encoders and `us_tlr`
    each find their own.

    Raises:
        InputError: when they cannot be downloaded, or the named file does not exist.
    """
    choice = settings.network.pretrained
    if choice == "off":
        return None
    if choice != "imagenet":
        path = settings.root / choice.replace("{encoder}", backbone)
        if not path.is_file():
            raise InputError(
                f"network.pretrained: {path} does not exist; it is needed for {backbone}. Give a checkpoint "
                "({encoder} in the path stands for its name), imagenet, or off"
            )
        return str(path)
    path = settings.work / "pretrained" / f"{backbone}.pt"
    if not path.is_file():
        _download(backbone, path)
    return str(path)


def _download(backbone: Backbone, path: Path) -> None:
    import torch  # seconds, and needed only here
    from torchvision.models import Inception_V3_Weights, ResNet18_Weights, ResNet34_Weights

    published = {
        "resnet18": ResNet18_Weights.IMAGENET1K_V1,
        "resnet34": ResNet34_Weights.IMAGENET1K_V1,
        "inception_v3": Inception_V3_Weights.IMAGENET1K_V1,
    }
    try:
        weights = published[backbone].get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"network.pretrained: imagenet weights of {backbone} are neither in torch's cache nor "
            f"downloadable ({error}); put torchvision's checkpoint at a path and name it in "
            "network.pretrained, or set it to off"
        ) from None
    with replacing(path) as temporary:
        torch.save(weights, temporary)
