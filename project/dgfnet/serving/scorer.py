"""The registered model: pictures with masks in, answers out. MLflow stores this file ("models from code").

No object of ours is pickled: weights are ONNX graphs and safetensors, everything else is JSON. Neither torch
nor Ray nor DVC is needed to load it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

MOST_CASES = 64  # in one request
META = "registered_model_meta"  # MLflow writes it beside a model that it fetches from the registry


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Answers for nodules from US and CT images with nodule masks; docs/how-to/serve.md."""

    _skip_type_hint_validation = True  # images are text or matrices: MLflow's type hints cannot say so

    def load_context(self, context: Any) -> None:
        """Opens the bundle; `threads` of the model config is for one network (1)."""
        from dgfnet.bundle.model import Served
        from dgfnet.serving.cases import clear_folders

        clear_folders()

        folder = Path(context.artifacts["bundle"])
        self.served = Served.open(folder, int((context.model_config or {}).get("threads", 1)))
        self.origin = _origin(folder)

    # a type hint on model_input would be taken for a schema
    def predict(self, context: Any, model_input, params: Any = None) -> list[dict[str, Any]]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Answers for cases, a dictionary each.

        Args:
            context: not used after `load_context`.
            model_input: a table (or a list of dictionaries) with `nodule`, a text that comes back with the
                answer, and `us`, `us_mask`, `ct`, `ct_mask`; see `serving.cases.decode_case`.
            params: not used.

        Returns:
            `nodule`, what `serving.answers.answer` says, `model`, `version`.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE (400 of a server) with one sentence, when a case cannot
                be scored.
        """
        from dgfnet.errors import InputError
        from dgfnet.serving.answers import answer
        from dgfnet.serving.cases import NAME, decode_case

        try:
            records, cases = _records(model_input), []
            for place, record in enumerate(records):
                try:
                    cases.append(decode_case(record, self.served.preprocess, self.served.usable))
                except InputError as error:
                    raise InputError(f"case {place}: {error}") from None
            rows = answer(self.served, cases)
            for place, row in enumerate(rows):
                if row["probability"] is None:
                    raise InputError(f"case {place}: {row['statement']}")
        except InputError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        return [{NAME: one[NAME]} | row | self.origin for one, row in zip(records, rows, strict=True)]


def _records(given: Any) -> list[dict[str, Any]]:
    """One dictionary per case.

    Raises:
        InputError: when there is none, or something else was given.
    """
    from dgfnet.errors import InputError
    from dgfnet.serving.cases import FIELDS, NAME

    if isinstance(given, pd.DataFrame | list) and len(given) > MOST_CASES:
        raise InputError(f"{len(given)} cases; expected at most {MOST_CASES} in a request")
    records: Any = given.to_dict("records") if isinstance(given, pd.DataFrame) else given
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise InputError(f"found {type(given).__name__}; expected cases with {', '.join((NAME, *FIELDS))}")
    if not any(name in FIELDS for one in records for name in one):
        raise InputError(f"none of the fields {', '.join(FIELDS)} in the request; expected one case or more")
    for place, one in enumerate(records):
        # MLflow turns some forms of a request into columns; a case that kept no name of its own is none
        if not isinstance(one.get(NAME), str) or not one[NAME]:
            raise InputError(
                f"case {place}: found {type(one.get(NAME)).__name__} in {NAME}; expected a text, one per "
                "case; send the cases as dataframe_records"
            )
    return list(records)


def _origin(folder: Path) -> dict[str, str]:
    """Name and version in the registry; empty when the model was not fetched from one."""
    for parent in folder.parents:
        if (parent / META).is_file():
            told = yaml.safe_load((parent / META).read_text(encoding="utf-8"))
            return {"model": str(told["model_name"]), "version": str(told["model_version"])}
        if (parent / "MLmodel").is_file():
            break
    return {"model": "", "version": ""}


mlflow.models.set_model(Scorer())
