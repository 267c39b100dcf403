from upon import Done, Event
from upon.testing import Client


def test_greets_over_http(upon_client: Client) -> None:
    response = upon_client.http.post("/greet", json={"name": "Ada"})

    assert response.status_code == 200
    assert response.json == {"greeting": "Hello, Ada!"}


def test_greets_an_event(upon_client: Client) -> None:
    outcome = upon_client.send(Event.of({"name": "Ada"}))

    assert isinstance(outcome, Done)
    assert isinstance(outcome.reply, Event)
    assert outcome.reply.data == {"greeting": "Hello, Ada!"}


def test_refuses_data_of_another_shape(upon_client: Client) -> None:
    assert upon_client.http.post("/greet", json={"nom": "Ada"}).status_code == 422
