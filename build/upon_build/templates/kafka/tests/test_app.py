from upon.testing import Client


def test_prices_an_order(upon_client: Client) -> None:
    upon_client.kafka.publish("orders", {"item": "apple", "count": 4}, key="7")
    upon_client.settle(timeout=10)

    assert [event.data for event in upon_client.kafka.records("orders.priced")] == [{"item": "apple", "total": 2.0}]


def test_an_unknown_item_goes_to_the_dead_letter(upon_client: Client) -> None:
    upon_client.kafka.publish("orders", {"item": "car", "count": 1})
    upon_client.settle(timeout=10)

    assert len(upon_client.dead("orders")) == 1
    assert not upon_client.kafka.records("orders.priced")
