"""Upon: event-driven functions for machine learning. Decorate a function; run it anywhere."""

from upon._decorators import batched, cloudevent, cron, http, kafka, options
from upon._errors import (
    Busy,
    DataError,
    DeadlineExceeded,
    Draining,
    InputError,
    MalformedEvent,
    MissingExtra,
    ModelError,
    Overloaded,
    TooLarge,
    UponError,
    UsageError,
)
from upon._event import Event, HttpInfo, KafkaInfo, Upload
from upon._function import Function
from upon._model import Model, Pad
from upon._outcome import Done, Failed, Outcome, Reject, Retry
from upon._resource import Resource, resource
from upon._response import Response
from upon._topic import Topic

__version__ = "0.1.0"

__all__ = [
    "Busy",
    "DataError",
    "DeadlineExceeded",
    "Done",
    "Draining",
    "Event",
    "Failed",
    "Function",
    "HttpInfo",
    "InputError",
    "KafkaInfo",
    "MalformedEvent",
    "MissingExtra",
    "Model",
    "ModelError",
    "Outcome",
    "Overloaded",
    "Pad",
    "Reject",
    "Resource",
    "Response",
    "Retry",
    "TooLarge",
    "Topic",
    "Upload",
    "UponError",
    "UsageError",
    "__version__",
    "batched",
    "cloudevent",
    "cron",
    "http",
    "kafka",
    "options",
    "resource",
]
