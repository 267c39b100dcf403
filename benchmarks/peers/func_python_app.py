import json

from func_python.cloudevent import serve


async def handle(scope, receive, send):
    data = scope["event"].get_data()
    if isinstance(data, (str, bytes)):
        data = json.loads(data)
    assert data["n"] == 42
    await send.http({"type": "http.response.start", "status": 204, "headers": []})
    await send.http({"type": "http.response.body", "body": b""})


serve(handle)
