"""Hostile clients: whatever comes, the service answers the next request as ever and writes nothing."""

import base64
import bz2
import io
import os
import socket
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
from tiny_service import RATE, form

RNG = np.random.default_rng(0)
JUNK = RNG.bytes(5_000)


def flac(seconds: int) -> bytes:
    """Silence: an hour of it is a few kilobytes."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(seconds * RATE, np.int16), RATE, format="FLAC")
    return file.getvalue()


def wav(rate=RATE, channels=1, bits=16, size=None, kind=1, data=bytes(8_000)) -> bytes:
    """As its header has it, which may be a lie."""
    size = len(data) if size is None else size
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block % 2**16, bits)
    length = struct.pack("<I", (size + 36) % 2**32)
    return b"RIFF" + length + b"WAVEfmt \x10\0\0\0" + head + b"data" + struct.pack("<I", size) + data


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("../../etc/cron.d/x.wav", bytes(20 << 20))
    return file.getvalue()


CONTENTS = {
    "one byte": b"\0",
    "text": b"hello\n" * 50,
    "junk": JUNK,
    "zip bomb": archive(),
    "gzip bomb": zlib.compress(bytes(50 << 20), 9),
    "bzip2 bomb": bz2.compress(bytes(50 << 20)),
    "flac of a minute of silence": flac(60),
    "flac cut": flac(5)[:60],
    "flac header alone": b"fLaC\0\0\0\x22" + bytes(34),
    "flac that says 2^36 samples": b"fLaC\x80\0\0\x22\x10\0\x10\0" + bytes(6) + b"\3\xe8\0" + b"\xff" * 21,
    "wav rate 0": wav(rate=0),
    "wav rate 4 GHz": wav(rate=2**32 - 1),
    "wav without channels": wav(channels=0),
    "wav of 65535 channels": wav(channels=65_535),
    "wav of 32 channels": wav(channels=32),
    "wav of 0 bits": wav(bits=0),
    "wav of 64 bits": wav(bits=64),
    "wav of 4 GiB": wav(size=2**32 - 1),
    "wav not a number": wav(bits=32, kind=3, data=np.full(4_000, np.nan, "<f4").tobytes()),
    "wav infinite": wav(bits=32, kind=3, data=np.full(4_000, np.inf, "<f4").tobytes()),
    "wav of odd bytes": wav(data=bytes(8_001)),
    "wav of an unknown kind": wav(kind=0x9999),
    "wav without data": wav(data=b""),
    "silence": wav(data=bytes(2 * RATE)),
    "full scale": wav(data=np.full(RATE, 32_767, "<i2").tobytes()),
    "noise": wav(data=RNG.bytes(4 * RATE)),
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "playlist of the net": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:1/x.m3u8\n",
    "concat script": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    "dash": b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "entities": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "pickle": b"cos\nsystem\n(S'touch pwned'\ntR.",
    "program": b"\x7fELF" + JUNK,
    "png": b"\x89PNG\r\n\x1a\n" + JUNK,
    "ogg": b"OggS" + JUNK,
    "ogg pages": (b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis" + bytes(23)) * 40,
    "mp3": b"\xff\xfb\x90\x00" * 1_000,
    "id3 of 256 MiB": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + JUNK,
    "mp4": b"\0\0\0\x18ftypmp42" + bytes(12) + b"\xff\xff\xff\xffmoov" + JUNK,
    "mp4 atoms in each other": b"".join(struct.pack(">I4s", 8 * (200 - k), b"moov") for k in range(200)),
    "matroska": b"\x1aE\xdf\xa3\x01" + b"\xff" * 7 + JUNK,
    "avi": b"RIFF\xff\xff\xff\xffAVI LIST" + JUNK,
    "au": b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\3\0\0\x3e\x80\0\0\0\1" + bytes(8_000),
    "sphere": b"NIST_1A\n   1024\nsample_count -i 999999999999\nend_head\n" + bytes(2_000),
    "aiff": b"FORM\0\0\0\x20AIFFCOMM\0\0\0\x12\0\0\xff\xff\xff\xff\0\x10" + b"\xff" * 10,
    "caf": b"caff\0\1\0\0desc" + b"\xff" * 40,
}  # fmt: skip
NAMES = [
    "../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "a" * 3_000, "", ".", "..", "x\0y.wav",
    "\u202egpj.wav", "<script>alert(1)</script>.wav", "x\r\nSet-Cookie: a=b", "\xff\xfe", "CON", "%2e%2e%2fx",
    '"; filename="y.wav', "a;b=c.wav", "\U0001f600.wav", "~root/.ssh/id", "$(touch pwned)", "|touch pwned",
]  # fmt: skip
QUERIES = [
    "prior=nan", "prior=inf", "prior=-1", "prior=2", "prior=", "prior=0.5&prior=x", "prior=1e400",
    "hop=0", "hop=1e9", "hop=-1", "window=0", "window=1e9", "window=nan", "pooling=max", "pooling=__class__",
    "channel=0", "channel=-1", "channel=99", "channel=99999999999999999999", "min_speech=1e300",
    "threshold=inf", "file=/etc/passwd", "url=http://127.0.0.1:1/", "a" * 9_000 + "=1", "%00=%ff",
    "&".join(f"k{k}=1" for k in range(2_000)),
]  # fmt: skip
HEAD = b"POST /detect HTTP/1.1\r\nHost: x\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=B\r\n"


def sized(body: bytes, head: bytes = HEAD + FORM) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FIELD = b'--B\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
END = b"\r\n--B--\r\n"
PART = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
REQUESTS = {
    "nothing": b"",
    "no request": b"\r\n\r\n",
    "junk": JUNK,
    "tls": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + JUNK[:500],
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 0.9": b"GET /\r\n",
    "http 9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "header of 1 MiB": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "10000 headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "header with nul": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "target of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "traversal": b"GET /static/../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded traversal": b"GET /static/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
    "doubly encoded": b"GET /static/%252e%252e/serve.js HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad escapes": b"GET /%zz%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute target": b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    "put": b"PUT /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    "delete": b"DELETE /model HTTP/1.1\r\nHost: x\r\n\r\n",
    "method of junk": b"\xff\xfe / HTTP/1.1\r\nHost: x\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -5\r\n\r\nx",
    "length of 20 digits": HEAD + b"Content-Length: 99999999999999999999\r\n\r\nx",
    "length of words": HEAD + b"Content-Length: ten\r\n\r\nx",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    "length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk of 2^63": CHUNKED + b"7fffffffffffffff\r\nx",
    "chunk of junk": CHUNKED + b"zz\r\nx",
    "chunks above the limit": CHUNKED + (b"10000\r\n" + bytes(65_536) + b"\r\n") * 40,
    "gzip transfer": HEAD + b"Transfer-Encoding: gzip\r\n\r\nx",
    "gzip content": sized(zlib.compress(bytes(1 << 20)), HEAD + b"Content-Encoding: gzip\r\n"),
    "60 at once": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 60,
    "form without boundary": sized(b"x", HEAD + b"Content-Type: multipart/form-data\r\n"),
    "form of another boundary": sized(b"--C\r\n\r\nx\r\n--C--\r\n"),
    "boundary of 9000": sized(b"x", HEAD + FORM.replace(b"B", b"b" * 9_000)),
    "form without end": sized(PART + b"\r\nabc"),
    "empty form": sized(b"--B--\r\n"),
    "form of newlines": sized(b"\n" * 10_000),
    "form of text": sized(FIELD.replace(b"x", b"file") + b"http://127.0.0.1:1/" + END),
    "form with url": sized(FIELD.replace(b"x", b"url") + b"http://x/" + END),
    "two files": sized((PART + b"\r\nabc\r\n") * 2 + b"--B--\r\n"),
    "500 fields": sized((FIELD + b"y\r\n") * 500 + b"--B--\r\n"),
    "field of 100 kB": sized(FIELD + b"y" * 100_000 + END),
    "part without a name": sized(b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n"),
    "part without headers": sized(b"--B\r\n\r\nx\r\n--B--\r\n"),
    "part header of 1 MiB": sized(b"--B\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\nx\r\n--B--\r\n"),
    "1000 part headers": sized(b"--B\r\n" + b"X: y\r\n" * 1_000 + b"\r\nx\r\n--B--\r\n"),
    "form in form": sized(PART + FORM.replace(b"B", b"C") + b"\r\n--C\r\n\r\nx\r\n--C--" + END),
    "unknown charset": sized(PART + b"\r\nx" + END, HEAD + FORM.replace(b"=B", b"=B; charset=x")),
    "cut in the body": HEAD + b"Content-Length: 5000\r\n\r\nabc",
    "expects to continue": HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    "upgrade to junk": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
}  # fmt: skip
KEY = base64.b64encode(bytes(16))
SOCKET = b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
OPEN = SOCKET + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"


def frame(content: bytes, code: int, fin=True, reserved=0, masked=True, size: int | None = None) -> bytes:
    """A frame of RFC 6455; ``size``: what it says instead of the truth."""
    first = bytes([fin << 7 | reserved << 4 | code])
    size, mask = len(content) if size is None else size, masked << 7
    if size < 126:
        length = bytes([mask | size])
    elif size < 65_536:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    return first + length + (bytes(4) if masked else b"") + content


FRAMES = {
    "version 1": SOCKET + b"Sec-WebSocket-Version: 1\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n",
    "no key": SOCKET + b"Sec-WebSocket-Version: 13\r\n\r\n",
    "short key": SOCKET + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n",
    "another path": OPEN.replace(b"/stream", b"/detect"),
    "post": OPEN.replace(b"GET", b"POST"),
    "nothing": OPEN,
    "junk": OPEN + JUNK,
    "not masked": OPEN + frame(b"ab", 2, masked=False),
    "odd bytes": OPEN + frame(b"abc", 2) + frame(b"end", 1),
    "2 MiB": OPEN + frame(bytes(2 << 20), 2),
    "says 2^63 - 1": OPEN + frame(b"ab", 2, size=2**63 - 1),
    "says 2^64 - 1": OPEN + frame(b"ab", 2, size=2**64 - 1),
    "many pieces of one": OPEN + frame(b"", 2, fin=False) + frame(bytes(60_000), 0, fin=False) * 40,
    "bad text": OPEN + frame(b"\xff\xfe", 1),
    "text": OPEN + frame(b"hello", 1),
    "json": OPEN + frame(b'{"token": {"a": [1]}}', 1),
    "end at once": OPEN + frame(b"end", 1),
    "end twice": OPEN + frame(bytes(6_400), 2) + frame(b"end", 1) * 2,
    "audio after the end": OPEN + frame(b"end", 1) + frame(bytes(6_400), 2) * 50,
    "5000 empty ones": OPEN + frame(b"", 2) * 5_000,
    "3000 of 2 bytes": OPEN + frame(b"ab", 2) * 3_000 + frame(b"end", 1),
    "minus full scale": OPEN + frame(b"\0\x80" * 40_000, 2) + frame(b"end", 1),
    "continuation of nothing": OPEN + frame(b"ab", 0),
    "interleaved": OPEN + frame(b"ab", 2, fin=False) + frame(b"ab", 2),
    "ping of 200": OPEN + frame(bytes(200), 9),
    "ping in pieces": OPEN + frame(b"", 9, fin=False),
    "3000 pings": OPEN + frame(bytes(100), 9) * 3_000,
    "pong unasked": OPEN + frame(b"x", 10) * 100,
    "close of 1": OPEN + frame(b"x", 8),
    "close 999": OPEN + frame(struct.pack(">H", 999), 8),
    "close bad text": OPEN + frame(struct.pack(">H", 1000) + b"\xff", 8),
    "close, then audio": OPEN + frame(struct.pack(">H", 1000), 8) + frame(bytes(6_400), 2),
    "compressed": OPEN.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    + frame(zlib.compress(bytes(1 << 22)), 2, reserved=4),
    "subprotocols": OPEN.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: " + b"a, " * 500 + b"b\r\n\r\n"),
    "query of junk": OPEN.replace(b"/stream", b"/stream?hop=nan&x=%00"),
    **{f"reserved bit {bit}": OPEN + frame(b"ab", 2, reserved=bit) for bit in (1, 2, 4)},
    **{f"code {code}": OPEN + frame(b"ab", code) for code in (3, 7, 11, 15)},
}  # fmt: skip


@pytest.fixture(scope="module")
def judged(service, clip):
    """Asks what an honest client asks, and wants the same answer each time."""
    body, kind = form(clip.read_bytes())
    expected = service.ask("detect", body, Content_Type=kind).json

    def check() -> None:
        end = time.monotonic() + 20
        while (answer := service.ask("detect", body, Content_Type=kind)).status == 429:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert answer.status == 200 and answer.json["verdict"] == expected["verdict"]
        assert answer.json["score"] == pytest.approx(expected["score"], abs=2e-5)
        assert service.process.poll() is None

    return check


def send(service, *pieces: bytes, wait: float = 0.5, abruptly=False) -> bytes:
    """What comes back until the server closes, or is silent for a while."""
    answer = b""
    with service.connect() as client:
        client.settimeout(wait)
        try:
            for piece in pieces:
                client.sendall(piece)
            while not abruptly and (block := client.recv(1 << 16)):
                answer += block
        except (TimeoutError, ConnectionError):
            pass
        if abruptly:  # RST instead of FIN
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize("name", CONTENTS)
def test_contents(service, name):
    for body, kind in (form(CONTENTS[name], f"{name}.wav"), (CONTENTS[name], "audio/wav")):
        answer = service.ask("detect", body, Content_Type=kind)
        assert answer.status in (200, 413, 422), answer
        if answer.status == 200:
            assert answer.json["verdict"] == "no_speech"
        else:
            assert "\n" not in answer.json["error"] and "/proc" not in answer.json["error"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names(service, clip, name):
    body, kind = form(clip.read_bytes(), name)
    answer = service.ask("detect", body, Content_Type=kind, Accept="text/html")
    assert answer.status in (200, 422) and b"<script>alert" not in answer.body
    assert answer.headers["Set-Cookie"] is None
    if answer.status == 200:
        file = service.ask("detect", body, Content_Type=kind).json["file"]
        assert file.isprintable() and "/" not in file and len(file) < 130


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_queries(service, clip, query):
    answer = service.ask(f"detect?{query}", clip.read_bytes())
    assert answer.status in (200, 400, 422) and (answer.status == 200) == (
        query in ("hop=60", "min_speech=6")
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(service, name):
    answer = send(service, REQUESTS[name])
    status = status_of(answer)
    assert status < 500 and b"root:" not in answer
    if name in ("60 at once",):
        assert answer.count(b"HTTP/1.1 200") == 60


@pytest.mark.parametrize("name", FRAMES)
def test_frames(service, name):
    answer = send(service, FRAMES[name])
    assert status_of(answer) in (0, 101, 400, 403, 404, 405, 426), answer[:200]


@pytest.mark.parametrize("case", ["cut", "reset", "slow", "idle", "streams", "uploads", "endless"])
def test_sockets(service, clip, judged, case):
    if case == "cut":
        for size in range(0, 40_000, 2_000):
            send(service, HEAD + b"Content-Length: 90000\r\n\r\n" + bytes(size), wait=0.01)
    elif case == "reset":
        for content in (sized(clip.read_bytes(), HEAD), OPEN + frame(bytes(64_000), 2) * 2, OPEN):
            for _ in range(8):
                send(service, content, abruptly=True)
    elif case == "slow":
        with service.connect() as client:
            client.settimeout(0.05)
            client.sendall(HEAD + b"Content-Length: 9000\r\n\r\n")
            answer, end = b"", time.monotonic() + 15
            while not answer and time.monotonic() < end:
                client.sendall(b"x")
                try:
                    answer = client.recv(100)
                except TimeoutError:
                    continue
            assert status_of(answer) == 408
    elif case == "idle":
        clients = [service.connect() for _ in range(300)]
        judged()
        for client in clients:
            client.close()
    elif case == "streams":
        clients = [service.connect() for _ in range(60)]
        for client in clients:
            client.sendall(OPEN + frame(bytes(6_400), 2))
        judged()
        assert service.metric("asvtk_streams") <= 3
        for client in clients:
            client.close()
    elif case == "uploads":
        clients = [service.connect() for _ in range(60)]
        statuses = []
        for client in clients:
            client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        assert service.ask("healthz").status == 200
        for client in clients:
            statuses.append(status_of(client.recv(100)))
            client.close()
        assert set(statuses) == {408, 429} and statuses.count(408) <= 20
    else:
        with service.connect() as client:
            client.settimeout(20)
            with pytest.raises(ConnectionError):
                client.sendall(HEAD + b"Content-Length: 5000000000\r\n\r\n")
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    client.sendall(bytes(1 << 16))
                    time.sleep(0.01)
    judged()


def test_after_all_of_it_nothing_is_left(service, judged):
    judged()
    end = time.monotonic() + 15
    while service.metric("asvtk_streams") + service.metric("asvtk_recordings") and time.monotonic() < end:
        time.sleep(0.2)
    assert service.metric("asvtk_streams") == service.metric("asvtk_recordings") == 0
    files = os.listdir(f"/proc/{service.process.pid}/fd")
    assert len(files) < 120 and not [line for line in service.log if line.get("status", 0) == 500]
    assert not os.path.exists("pwned") and service.written() == []
