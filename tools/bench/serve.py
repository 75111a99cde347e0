#!/usr/bin/env python3
"""Load on `asvtk serve`: clients that post clips, or streams at real time.

    taskset -c 0,1 python tools/bench/serve.py --model M --speech F.flac --clients 32 --seconds 60
    taskset -c 0,1 python tools/bench/serve.py --model M --speech F.flac --streams 50 --seconds 60
    taskset -c 0,1 python tools/bench/serve.py --model M --speech F.flac --streams 1 --seconds 600 --speed 20

It starts a server of its own, on the same CPUs, and hands it all other options. Without a model and a file,
a small system of random weights hears what is like speech. A client posts a 4 s clip
of it, and the next one when it has the answer; 429 is waited out and counted. A stream sends pieces of
0.1 s of audio, as they are spoken or --speed times as fast; its delay is from when a window's last sample is
due to the answer. Streams begin spread over a hop; one that is more than a hop late in the end has fallen
behind. `--batch 1` scores each recording's windows alone. Where the machine has other work, the CPU time of
the server says more than times do. Never run as a test.
"""

import argparse
import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import figures
import numpy as np
import soundfile
import websockets
from export import write_example

RATE, CLIP, PIECE = 16_000, 4, 1_600


def start(words: list[str]) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "asvtk", "serve", "--port", "0", *words], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if (facts := json.loads(line)).get("message") == "listening":
            return process, facts["url"]
    raise SystemExit("the server did not start")


def drain(process: subprocess.Popen) -> None:
    """Read its log, as somebody must."""
    for _ in process.stderr:
        pass


def usage(pid: int) -> tuple[float, float]:
    """MiB of a process and its children, shared pages shared out, and their CPU seconds so far."""
    pids, kilobytes, ticks = [pid], 0, 0
    while pids:
        pid = pids.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += int(rollup.partition("\nPss:")[2].split()[0])
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return kilobytes / 1024, ticks / os.sysconf("SC_CLK_TCK")


def metric(url: str, name: str) -> float:
    text = urllib.request.urlopen(f"{url}metrics").read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0] == name)


def form(wav: bytes) -> bytes:
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="clip.wav"\r\n\r\n'
    return head + wav + b"\r\n--B--\r\n"


async def post(host: str, port: int, body: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own, in as little of this machine's time as can be."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"POST /detect HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    writer.write(body)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer


async def post_clips(url: str, pid: int, clips: list[bytes], clients: int, seconds: float) -> float:
    """Prints what became of the requests; returns CPU milliseconds of the server a request."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    times, statuses, memory = [], Counter(), []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            try:
                status, _ = await post(host, int(port), clips[(number + len(times)) % len(clips)])
            except OSError:
                status = 0
            statuses[status] += 1
            if status == 200:
                times.append(time.perf_counter() - began)
            else:
                await asyncio.sleep(0.2)

    async def watch() -> None:
        while True:
            memory.append(usage(pid)[0])
            await asyncio.sleep(5)

    await post(host, int(port), clips[0])
    watcher = asyncio.create_task(watch())
    began, spent = time.perf_counter(), usage(pid)[1]
    await asyncio.gather(*map(client, range(clients)))
    took, spent = time.perf_counter() - began, usage(pid)[1] - spent
    watcher.cancel()
    p50, p95 = np.percentile(times, [50, 95])
    lost = sum(count for status, count in statuses.items() if status not in (200, 429))
    windows, batches = (metric(url, f"asvtk_batch_windows_{what}") for what in ("sum", "count"))
    print(
        f"{clients} clients, {CLIP} s clips, {took:.0f} s: {len(times) / took:.1f} requests/s, "
        f"p50 {p50:.2f} s, p95 {p95:.2f} s, 429 {statuses[429]}, lost {lost}; "
        f"{1000 * spent / len(times):.0f} ms of CPU a request, {windows / batches:.1f} windows a batch; "
        f"MiB at first {memory[0]:.0f}, midway {memory[len(memory) // 2]:.0f}, at last {memory[-1]:.0f}"
    )
    return 1000 * spent / len(times)


async def run_streams(
    url: str, pid: int, speech: np.ndarray, count: int, seconds: float, speed: float
) -> float:
    """Prints what became of the streams; returns CPU milliseconds of the server a second of one."""
    address = url.replace("http", "ws") + "stream"
    delays, behind, finals = [], 0, Counter()

    async def stream(number: int) -> None:
        nonlocal behind
        await asyncio.sleep(number / count / speed)
        audio = (np.roll(speech, -number * 5 * RATE) * 32767).astype("<i2")
        audio = np.resize(audio, round(seconds * RATE))
        async with websockets.connect(
            address, compression=None, open_timeout=30, ping_interval=None
        ) as socket:
            began, last = time.perf_counter(), 0.0

            async def listen() -> None:
                nonlocal last
                async for message in socket:
                    answer = json.loads(message)
                    if "t" in answer:
                        last = time.perf_counter() - began - answer["t"] / speed
                        delays.append(last)
                    else:
                        finals[answer.get("verdict", answer.get("error"))] += 1

            listener = asyncio.create_task(listen())
            for place in range(0, len(audio), PIECE):
                piece = audio[place : place + PIECE]
                due = began + (place + len(piece)) / RATE / speed  # when its last sample was spoken
                await asyncio.sleep(max(0, due - time.perf_counter()))
                await socket.send(piece.tobytes())
            await socket.send("end")
            await listener
            behind += last > 1 / speed

    spent = usage(pid)[1]
    await asyncio.gather(*map(stream, range(count)))
    memory, spent = usage(pid)[0], usage(pid)[1] - spent
    p50, p95, most = np.percentile(delays, [50, 95, 100])
    windows, batches = (metric(url, f"asvtk_batch_windows_{what}") for what in ("sum", "count"))
    print(
        f"{count} streams of {seconds:.0f} s at {speed:g} times real time: {len(delays)} answers, "
        f"delay p50 {p50:.2f} s, p95 {p95:.2f} s, longest {most:.2f} s; fell behind: {behind}; "
        f"{1000 * spent / count / seconds:.1f} ms of CPU a second of a stream, "
        f"{windows / batches:.1f} windows a batch; ended {dict(finals)}; "
        f"{memory:.0f} MiB"
    )
    return 1000 * spent / count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model")
    parser.add_argument("--speech", help="16 kHz, mono")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--streams", type=int, help="streams, instead of clients")
    parser.add_argument("--speed", type=float, default=1, help="of streams, in times of real time")
    parser.add_argument("--seconds", type=float, default=60)
    figures.add_option(parser)
    args, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        if not (args.model and args.speech):
            args.model, args.speech = write_example(Path(folder))
        measure(args, more)


def measure(args, more: list[str]) -> None:
    speech, _ = soundfile.read(args.speech, dtype="float32")
    words = ["--model", args.model, "--streams", str(args.streams or 1), "--queue", str(args.clients), *more]
    process, url = start(words)
    threading.Thread(target=drain, args=(process,), daemon=True).start()
    try:
        if args.streams:
            spent = asyncio.run(run_streams(url, process.pid, speech, args.streams, args.seconds, args.speed))
            args.figures.add("CPU a second of a stream", spent, "ms", higher_is_better=False)
        else:
            clips = []
            for k in range(16):
                clip = np.roll(speech, -2 * k * RATE)[: CLIP * RATE]
                file = io.BytesIO()
                soundfile.write(file, clip, RATE, format="WAV", subtype="PCM_16")
                clips.append(form(file.getvalue()))
            spent = asyncio.run(post_clips(url, process.pid, clips, args.clients, args.seconds))
            args.figures.add("CPU a request", spent, "ms", higher_is_better=False)
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"{len(os.sched_getaffinity(0))} CPUs; the server ended with status {process.wait()}")


if __name__ == "__main__":
    main()
