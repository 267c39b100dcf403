import pytest
from upon.testing import Client

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VIRGINICA = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}


@pytest.mark.parametrize(("flower", "label"), [(SETOSA, "setosa"), (VIRGINICA, "virginica")])
def test_classifies(upon_client: Client, flower: dict[str, float], label: str) -> None:
    prediction = upon_client.http.post("/classify", json=flower).json

    assert prediction["label"] == label
    assert prediction["probabilities"][label] > 0.9
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_refuses_a_flower_without_petals(upon_client: Client) -> None:
    response = upon_client.http.post("/classify", json={"sepal_length": 5.1, "sepal_width": 3.5})

    assert response.status_code == 422
