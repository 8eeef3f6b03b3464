"""A web server on the loopback interface that can do everything wrong, and counts what it is asked for."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Every content: long enough not to fit into one chunk of a download.
CONTENT = bytes(k * k % 251 for k in range(300_000))


class Server:
    """Answers GET by the function of the first part of the path, see `Handler`; `with` starts and stops it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []  #: path and Range of each
        self.sent = 0  #: bytes of bodies
        self.content = CONTENT
        self.tag: str | None = '"1"'
        self.date: str | None = None
        self.ranges = True
        self.cuts = 0  #: how many of the next bodies end in the middle
        self.promise = True  #: whether lengths are told
        self.stop_at: int | None = None  #: after so many bytes of a body it waits for `go`
        self.go = threading.Event()
        self.before: Callable[[], None] = lambda: None

    def __enter__(self) -> "Server":
        server = self

        class Bound(Handler):
            state = server

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.go.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    @property
    def ranges_asked(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


class Handler(BaseHTTPRequestHandler):
    """/ok/… the content · /moved/… another address · /503/…, /404/… that status · /odd/… a range nobody asked for."""

    state: Server

    def do_GET(self) -> None:
        kind, asked = self.path.split("/")[1], self.headers.get("Range")
        self.state.requests.append((self.path, asked))
        self.state.before()
        if kind == "moved":
            self.answer(302, {"Location": self.path.replace("/moved/", "/ok/"), "Content-Length": "0"})
        elif kind == "odd" and asked:
            self.answer(206, {"Content-Range": "bytes 7-9/10", "Content-Length": "3"}, b"abc")
        elif kind.isdecimal():
            self.answer(int(kind), {"Content-Length": "5"}, b"sorry")
        else:
            self.content(asked)

    def content(self, asked: str | None) -> None:
        state, head = self.state, {}
        body, status = state.content, 200
        if state.tag is not None:
            head["ETag"] = state.tag
        if state.date is not None:
            head["Last-Modified"] = state.date
        if asked and state.ranges and self.headers.get("If-Range") in (state.tag, state.date):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.answer(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            status, head["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:]
        if state.promise:
            head["Content-Length"] = str(len(body))
        if state.cuts:
            state.cuts -= 1
            body = body[: len(body) // 2]
        return self.answer(status, head, body)

    def answer(self, status: int, head: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for start in range(0, len(body), 50_000):
                if self.state.stop_at is not None and start >= self.state.stop_at:
                    self.state.go.wait(60)
                self.wfile.write(body[start : start + 50_000])
                self.state.sent += len(body[start : start + 50_000])
        except ConnectionError:  # whoever asked has gone
            pass

    def log_message(self, *args: Any) -> None:
        pass
