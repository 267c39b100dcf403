import os

import upon
from upon import Event

mlp = upon.Model("mlp", os.environ["MLP"])


@upon.http("POST /predict")
def predict(event: Event) -> dict:
    return {"scores": mlp(x=event.data["x"])["scores"]}
