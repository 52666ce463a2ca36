"""params.yaml becomes frozen, validated settings.

params.yaml is the only source of defaults: no field of a section has one, but for the alternatives of a
`Range`. The text under a field is the only description of a setting: `make docs` copies it to
docs/reference/settings.md. The fields of each section are in the room `sections`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, Field, ValidationError, model_validator

from dgfnet.errors import InputError
from dgfnet.params import advice, assign, explain, read
from dgfnet.sections.data import Audit, Base, CohortSettings, Phantom, Preprocess, Resources
from dgfnet.sections.fits import Crossval, Holdout, Sweep, Tune
from dgfnet.sections.networks import Network, OutlineSettings, Pretrain, Training
from dgfnet.sections.results import Applicability, Attribute, Compare, External, Register, Report
from dgfnet.sections.section import Section
from dgfnet.vocabulary import RECORD_FUSIONS, Variant, is_stacked


class Settings(Section):
    """All of params.yaml, with the folder its paths are relative to."""

    root: Path
    overrides: tuple[str, ...]
    base: Base
    resources: Resources
    phantom: Phantom
    cohort: CohortSettings
    audit: Audit
    preprocess: Preprocess
    network: Network
    training: Training
    outline: OutlineSettings
    pretrain: Pretrain
    tune: Tune
    crossval: Crossval
    sweep: Sweep
    compare: Compare
    register_: Register = Field(alias="register")
    external: External
    holdout: Holdout
    attribute: Attribute
    applicability: Applicability
    report: Report

    @property
    def reads_masks(self) -> bool:
        """True where an answer depends on the nodule's outline, and not only on the square around it."""
        network = self.network
        return network.mask_channel or network.pooling == "regions" or self.crossval.stacked is not None

    @model_validator(mode="after")
    def centres_are_named(self) -> Settings:
        """Refuses leave-one-centre-out without a column that tells the centre."""
        if self.cohort.split == "centres" and self.cohort.centre is None:
            raise ValueError("cohort.split: centres needs the column in cohort.centre, found null")
        return self

    @model_validator(mode="after")
    def stack_is_cross_validated(self) -> Settings:
        """Refuses to register a stack of no network, or one that reads the record of no column."""
        variant = self.register_.variant
        if is_stacked(variant) and self.crossval.stacked is None:
            raise ValueError(f"register.variant: {variant} needs a variant in crossval.stacked, found null")
        if variant == "record_stack" and not self.crossval.record:
            raise ValueError("register.variant: record_stack needs columns in crossval.record, found []")
        return self

    @model_validator(mode="after")
    def record_is_named(self) -> Settings:
        """Refuses networks that read the record of no column."""
        named: dict[str, Sequence[str | None]] = {
            "crossval.variants": self.crossval.variants,
            "tune.variants": self.tune.variants,
            "register.variant": (self.register_.variant,),
            "holdout.variant": (self.holdout.variant,),
            "attribute.variant": (self.attribute.variant,),
        }
        for key, variants in named.items():
            wanting = [name for name in variants if name in RECORD_FUSIONS and not self.crossval.record]
            if wanting:
                raise ValueError(f"{key}: {wanting[0]} needs columns in crossval.record, found []")
        return self

    @model_validator(mode="after")
    def holdout_is_a_fold(self) -> Settings:
        """Refuses a validation part that is no fold, before anything is trained."""
        of_patients = self.cohort.split == "patients"  # how many centres there are, only the cohort tells
        if self.holdout.variant is not None and of_patients and self.holdout.fold >= self.cohort.folds:
            raise ValueError(
                f"holdout.fold: the folds are 0 to {self.cohort.folds - 1}, found {self.holdout.fold}"
            )
        return self

    @model_validator(mode="after")
    def search_finds_settings(self) -> Settings:
        """Refuses a search space that names no setting, or holds a value that a setting does not take."""
        for name, limits in self.tune.space.items():
            self._check_change("tune.space", name, limits.choices or (limits.low, limits.high))
        return self

    @model_validator(mode="after")
    def ablations_find_settings(self) -> Settings:
        """Refuses the same of ablations."""
        for title, values in self.crossval.ablations.items():
            for name, value in values.items():
                self._check_change(f"crossval.ablations.{title}", name, (value,))
        return self

    def _check_change(self, where: str, name: str, values: Sequence[Any]) -> None:
        known = known_settings()
        if name not in known:
            raise ValueError(f"{where}.{name}: no such setting; {advice(name, known)}")
        if any(other.startswith(f"{name}.") for other in known):
            raise ValueError(f"{where}.{name}: a section, and no setting; name one of its settings")
        section, *keys = name.split(".")
        model: BaseModel = getattr(self, section)
        for value in values:
            tree = model.model_dump(by_alias=True)
            assign(tree, keys, list(value) if isinstance(value, tuple) else value)
            try:
                type(model).model_validate(tree)
            except ValidationError as error:
                why = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"{where}.{name}: {value!r} cannot be tried: {why}") from None

    def artifacts(self, *parts: str) -> Path:
        """Returns an absolute path below the artifacts folder."""
        return self.root / self.base.artifacts / Path(*parts)

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """Returns a copy with some settings changed, `section.key` to value, validated like the file.

        Raises:
            InputError: for an unknown key or a value out of range.
        """
        tree = self.model_dump(by_alias=True)
        for name, value in values.items():
            assign(tree, name.split("."), value)
        try:
            return Settings.model_validate(tree)
        except ValidationError as error:
            raise InputError(explain("search", error, known_settings())) from None

    @property
    def registered_network(self) -> Variant:
        """Returns the variant whose networks are in the registered model."""
        if not is_stacked(self.register_.variant):
            return cast("Variant", self.register_.variant)
        assert self.crossval.stacked is not None  # checked above
        return self.crossval.stacked

    @property
    def data(self) -> Path:
        """Returns the absolute path of the cohort folder."""
        return self.root / self.base.data

    @property
    def home(self) -> Path:
        """Returns the project folder, where store, key and resumable work lie.

        It is `root` but in the temporary copy of a project in which DVC runs an experiment: there it is the
        folder that was copied.
        """
        return _copied_from(self.root) or self.root

    @property
    def work(self) -> Path:
        """Returns the absolute path of the folder of resumable work."""
        return self.home / self.base.work


def _copied_from(root: Path) -> Path | None:
    """Returns the project folder of which DVC made a temporary copy for an experiment, or None elsewhere."""
    for copies in root.parents:
        if copies.parts[-3:] == (".dvc", "tmp", "exps"):
            top = next(
                (place for place in (root, *root.parents) if (place / ".git").exists() or place == copies),
                root,
            )
            project, inside = copies.parents[2], root.relative_to(top)
            # DVC may have been set up below the top of the repository, which is what is copied
            places = (place / inside for place in (project, *project.parents))
            return next((place for place in places if (place / "params.yaml").is_file()), None)
    return None


def known_settings(section: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Returns the names of all sections and settings, `section.key`."""
    names = []
    for field_name, entry in section.model_fields.items():
        if section is Settings and field_name in ("root", "overrides"):
            continue
        name = prefix + (entry.alias or field_name)
        names.append(name)
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            names += known_settings(entry.annotation, f"{name}.")
    return names


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads params.yaml, merges its profile and the overrides, and validates the result.

    Args:
        path: params.yaml.
        overrides: `section.key=value` strings; the value is read as YAML.

    Raises:
        InputError: for a missing file, an unknown key, a value out of range or an unknown profile.
    """
    path = path.resolve()
    merged = read(path, overrides)
    try:
        return Settings.model_validate({**merged, "root": path.parent, "overrides": tuple(overrides)})
    except ValidationError as error:
        raise InputError(explain(path.name, error, known_settings())) from None


def fingerprint(*parts: Any) -> str:
    """Returns the sha256 of settings, numbers and strings in a canonical JSON form."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
