import functions_framework


@functions_framework.cloud_event
def handle(event):
    assert event.data["n"] == 42
