"""Python's own client: `client.py CHECK URL 1.2|1.3 [CA]`. Without a CA every certificate will do. Status 0 if the check holds."""

import http.client
import ssl
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

check, url, version, *ca = sys.argv[1:]
parts = urlsplit(url)

context = ssl.create_default_context(cafile=ca[0] if ca else None)
if not ca:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, "TLSv" + version.replace(".", "_"))
context.set_alpn_protocols(["http/1.1"])


def connect():
    connection = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=20, context=context)
    connection.connect()
    assert connection.sock.version() == f"TLSv{version}", connection.sock.version()
    return connection


def ask(connection):
    connection.request("GET", parts.path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, response.status
    return body


def urllib_reads():
    with urllib.request.urlopen(url, timeout=20, context=context) as response:
        assert response.status == 200, response.status
        assert response.read(), "no body"


def goodbye():
    """The client says close_notify first; unwrap returns when the server has said it too."""
    connection = connect()
    socket = connection.sock
    connection.request("GET", parts.path)
    # What is asked for after the answer is the end of TLS, not of TCP.
    response = http.client.HTTPResponse(socket, method="GET")
    response.begin()
    assert response.read() and response.status == 200
    socket.unwrap()


def many():
    with ThreadPoolExecutor(20) as threads:
        bodies = set(threads.map(lambda _: ask(connect()), range(100)))
    assert b"" not in bodies, "an empty answer"
    assert parts.path != "/plaintext" or bodies == {b"Hello, World!"}, f"{len(bodies)} different answers"


{"urllib": urllib_reads, "goodbye": goodbye, "many": many}[check]()
