"""One function with a model, as large as projects begin."""

import numpy as np

import upon

magika = upon.Model("magika", "models/model.onnx")


@upon.http("POST /identify")
def identify(event: upon.Event) -> dict[str, int]:
    row = np.resize(np.frombuffer(event.body, dtype=np.uint8), 2048).astype(np.int32)
    return {"label": int(magika(bytes=row)["target_label"].argmax())}
