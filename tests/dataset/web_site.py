"""A web server that misbehaves as it is told to, for tests of downloads."""

import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(
    handler,
    content,
    *,
    ranges=True,
    etag='"one"',
    heeds_etag=True,
    tells_size=True,
    only=None,
    content_type="application/octet-stream",
    then=None,
):
    """Answer a GET as a good server does, but for what the arguments say.

    `only` is the number of bytes that are sent before the line breaks, `then` is called there.
    """
    asked = handler.headers.get("Range") if ranges else None
    if heeds_etag and handler.headers.get("If-Range") not in (None, etag):
        asked = None
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
    if start >= len(content) and asked:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.end_headers()
        return
    handler.send_response(206 if asked else 200)
    handler.send_header("Content-Type", content_type)
    if etag:
        handler.send_header("ETag", etag)
    if tells_size:
        handler.send_header("Content-Length", str(len(content) - start))
    if asked:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.end_headers()
    body = content[start:]
    handler.wfile.write(body if only is None else body[:only])
    handler.wfile.flush()
    if then:
        then()


def refuse(handler, content, status=404):
    handler.send_error(status)


def redirect(handler, content, to):
    handler.send_response(302)
    handler.send_header("Location", to)
    handler.end_headers()


class Site:
    """A web server on this machine: path → how it answers, and the requests that came."""

    def __init__(self):
        self.ways = {}
        self.requests = []
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.requests.append((self.path, dict(self.headers)))
                way = site.ways.get(self.path, partial(refuse, content=b""))
                with suppress(BrokenPipeError, ConnectionResetError):  # the client had enough
                    way(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stall(self):
        """Send nothing more until the test is over."""
        self.closing.wait(30)

    def serve(self, path, content, way=answer, **options):
        """Serve content at a path; gives the address."""
        self.ways[path] = partial(way, content=content, **options)
        return self.address(path)

    def address(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def ranges(self, path):
        """What was asked for at a path: None for the whole file."""
        return [headers.get("Range") for asked, headers in self.requests if asked == path]

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
