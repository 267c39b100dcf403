"""64 requests at once share model runs, and a bad one among them fails alone."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.func import running
from support.models import mlp
from support.services_on_disk import service_in

CLIENTS = 64
CODE = """
    import upon

    model = upon.Model("mlp", "mlp.onnx")

    @upon.http("POST /score")
    def score(event: upon.Event) -> dict[str, list[float]]:
        return {"scores": model(x=event.data["x"])["logits"]}
"""


@pytest.mark.timeout(120)
def test_concurrent_requests_are_batched_and_a_bad_one_fails_alone(tmp_path: Path) -> None:
    folder = service_in(tmp_path / "p", CODE)
    mlp(folder / "mlp.onnx", (256, 512, 10))
    rows = np.random.default_rng(7).standard_normal((CLIENTS, 256), np.float32)
    rounds = 5
    with running(cwd=folder) as run:
        address = run.url.removeprefix("http://")
        bodies = [json.dumps({"x": row.tolist()}) for row in rows]
        bodies[13] = json.dumps({"x": [1.0, 2.0]})  # malformed: the model wants 256
        answers = [post_at_once(address, bodies) for _ in range(rounds)]
        sizes = batch_sizes(address)
        assert 0 == run.stop()
    expected = one_by_one(folder / "mlp.onnx", rows)
    for answer in answers:
        assert [500 if index == 13 else 200 for index in range(CLIENTS)] == [status for status, _ in answer]
        assert "256" in answer[13][1]["detail"]
        for index in set(range(CLIENTS)) - {13}:
            np.testing.assert_allclose(expected[index], answer[index][1]["scores"], rtol=1e-4, atol=1e-5)
    runs, inferred = sizes
    assert inferred >= rounds * (CLIENTS - 1)
    assert runs < inferred / 2  # they shared runs


def post_at_once(address: str, bodies: list[str]) -> list[tuple[int, Any]]:
    """All on connections of their own, let go together."""
    gate = threading.Barrier(len(bodies))

    def post(body: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.connect()
        gate.wait(30)
        connection.request("POST", "/score", body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(post, bodies))


def batch_sizes(address: str) -> tuple[float, float]:
    """(model runs, rows in all of them) from the histogram of /metrics."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        if family.name == "upon_inference_batch_size"
        for sample in family.samples
    }
    return samples["upon_inference_batch_size_count"], samples["upon_inference_batch_size_sum"]


def one_by_one(path: Path, rows: np.ndarray[Any, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": row[None]})[0][0] for row in rows]
