"""FastStream with its aiokafka or its confluent adapter, committing after the handler: one by one, or in batches."""

import asyncio

from faststream import AckPolicy
from meter import BOOTSTRAP, GROUP, TOPIC, VARIANT, meter

if VARIANT.startswith("aiokafka"):
    from faststream.kafka import KafkaBroker, KafkaMessage
else:
    from faststream.confluent import KafkaBroker, KafkaMessage

broker = KafkaBroker(BOOTSTRAP, logger=None)
settings = {"group_id": GROUP, "auto_offset_reset": "earliest", "ack_policy": AckPolicy.NACK_ON_ERROR}

if VARIANT.endswith("batch"):

    @broker.subscriber(TOPIC, batch=True, max_records=500, **settings)
    async def handle(rows: list[dict], message: KafkaMessage) -> None:
        meter.add(len(message.raw_message))

else:

    @broker.subscriber(TOPIC, **settings)
    async def handle(message: KafkaMessage) -> None:
        meter.add(1)


async def main() -> None:
    async with broker:
        await broker.start()
        while not meter.done.is_set():
            await asyncio.sleep(0.1)


asyncio.run(main())
