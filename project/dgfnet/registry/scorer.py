"""The registered model: crops in, probabilities out. MLflow stores this file as code ("models from code").

No object of ours is pickled: the weights are safetensors, everything else is JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Scores nodules from the crops of one US and one CT image each."""

    _skip_type_hint_validation = True  # crops are tensors: the signature says so, MLflow's type hints cannot

    def load_context(self, context: Any) -> None:
        """Rebuilds the network from bundle.json and weights.safetensors."""
        from dgfnet.registry.bundle import Bundle

        self.bundle = Bundle.open(Path(context.artifacts["bundle"]))

    # a type hint on model_input would be taken for a schema
    def predict(self, context: Any, model_input, params: dict[str, Any] | None = None) -> pd.DataFrame:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Probability and decision per nodule.

        Args:
            context: not used after `load_context`.
            model_input: `us` and `ct`, (N, S, S) uint8 crops as the preprocessing settings in bundle.json
                make them.
            params: not used.

        Returns:
            One row per nodule: `probability` (corrected for the training prevalence) and `decision` (1 at or
            above the frozen threshold).
        """
        return self.bundle.score({name: np.asarray(crops) for name, crops in model_input.items()})


mlflow.models.set_model(Scorer())
