"""Classifies iris flowers with an ONNX model. Concurrent calls share a run of the model: batching is Upon's work."""

from typing import TypedDict

import numpy as np

import upon

SPECIES = ("setosa", "versicolor", "virginica")
iris = upon.Model("iris", "models/iris.onnx")


class Flower(TypedDict):
    """Measurements in centimetres."""

    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


class Prediction(TypedDict):
    label: str
    probabilities: dict[str, float]


@upon.http("POST /classify")
def classify(flower: Flower) -> Prediction:
    cells = [flower["sepal_length"], flower["sepal_width"], flower["petal_length"], flower["petal_width"]]
    outputs = iris(measurements=np.array(cells, np.float32))  # one item in, one item out
    return {
        "label": SPECIES[int(outputs["label"])],
        "probabilities": dict(zip(SPECIES, map(float, outputs["probabilities"]), strict=True)),
    }
