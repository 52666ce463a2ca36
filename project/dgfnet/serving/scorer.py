"""The registered model for MLflow, which stores this file ("models from code") and runs it.

No object of ours is pickled: weights are ONNX graphs and safetensors, everything else is JSON. Neither torch
nor Ray nor DVC is needed to load it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

META = "registered_model_meta"  # MLflow writes it beside a model that it fetches from the registry


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Scores nodules from US and CT images with nodule masks; docs/how-to/serve.md."""

    _skip_type_hint_validation = True  # images are text or matrices: MLflow's type hints cannot say so

    def load_context(self, context: Any) -> None:
        """Opens the bundle; `threads` of the model config is the number of threads of each network (1)."""
        sys.path.insert(0, context.artifacts["code"])  # Python imports from a ZIP file
        from dgfnet.bundle.model import ScoringModel
        from dgfnet.bundle.packed import unpacked
        from dgfnet.serving.decode import clear_folders

        clear_folders()
        packed = Path(context.artifacts["bundle"])
        with unpacked(packed) as folder:
            self.model = ScoringModel.open(folder, int((context.model_config or {}).get("threads", 1)))
        self.origin = _origin(packed)

    # a type hint on model_input would be taken for a schema
    def predict(self, context: Any, model_input, params: Any = None) -> list[dict[str, Any]]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Scores cases.

        Args:
            context: not used after `load_context`.
            model_input: a table, or a list of dictionaries, with the fields of
                `serving.records.answer_records`.
            params: not used.

        Returns:
            The answers of `serving.records.answer_records`.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE (400 of a server) with one sentence, when a case cannot
                be scored.
        """
        from dgfnet.errors import InputError
        from dgfnet.serving.records import answer_records

        records = model_input.to_dict("records") if isinstance(model_input, pd.DataFrame) else model_input
        try:
            return answer_records(self.model, records, self.origin)
        except InputError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None


def _origin(packed: Path) -> dict[str, str]:
    """Returns name and version in the registry; empty when the model was not fetched from one."""
    for parent in packed.parents:
        if (parent / META).is_file():
            stored = yaml.safe_load((parent / META).read_text(encoding="utf-8"))
            return {"model": str(stored["model_name"]), "version": str(stored["model_version"])}
        if (parent / "MLmodel").is_file():
            break
    return {"model": "", "version": ""}


mlflow.models.set_model(Scorer())
