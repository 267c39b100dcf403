"""Prices orders: each record of the topic `orders` becomes one of `orders.priced`, in order, at least once."""

from typing import TypedDict

import upon

PRICES = {"apple": 0.5, "pear": 0.75}


class Order(TypedDict):
    item: str
    count: int


@upon.kafka("orders", reply_to="orders.priced")
def price(order: Order) -> dict[str, str | float]:
    if order["item"] not in PRICES:
        raise upon.Reject(f"no price for {order['item']!r}")  # never tried again: orders.price.dead takes it
    return {"item": order["item"], "total": PRICES[order["item"]] * order["count"]}
