"""Captioning through a server: requests per second of our client beside a bare load generator, same server, in one run.

    python benchmarks/caption_server.py --requests 2000 --window 64 --latency 0.25

The server answers after `--latency` seconds, as many at a time as ask, in a process of its own, so that the client is what is
measured. `bare` is an asyncio loop on plain sockets: fixed bytes out, answer in, nothing parsed but its length. `ours` builds
every request from encoded pictures, parses and checks the answers and writes each to a journal before it counts as done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ANSWER = {
    "choices": [{"message": {"content": "A picture of one red circle on grey ground."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 12},
}


async def _client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    body = json.dumps(ANSWER).encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            await asyncio.sleep(latency)
            writer.write(reply)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(latency: float, port: Any) -> None:
    """A server that answers everything alike."""

    async def run() -> None:
        server = await asyncio.start_server(lambda r, w: _client(r, w, latency), "127.0.0.1", 0, backlog=512)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


async def bare(port: int, bodies: list[bytes], window: int) -> None:
    """The bodies over `window` connections, as fast as they go."""
    waiting = iter(bodies)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(window)))


def ours(spec: Any, requests: list[Any], folder: Path) -> Counter[str]:
    """The requests through an endpoint, each answer kept on disk."""
    from curation.neural.journal import Journal

    counts: Counter[str] = Counter()
    journal = Journal(folder, "bench")
    for number, caption in spec.load().answers(requests, beat=lambda _: None, counts=counts):
        journal.put(requests[number].key("bench"), caption.text.encode())
    assert len(journal) == len(requests), f"{len(journal)} of {len(requests)} answers"
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.25, help="seconds that the server takes for an answer")
    parser.add_argument("--picture", type=int, default=45_000, help="bytes of a picture")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    from curation.neural import Endpoint, Request
    from curation.neural.chat_protocol import body_of

    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    server = context.Process(target=serve, args=(options.latency, port), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.05)
    spec = Endpoint(url=f"http://127.0.0.1:{port.value}/v1", model="bench", window=options.window, stream=False)
    pictures = [number.to_bytes(4, "big") * (options.picture // 4) for number in range(options.requests)]
    requests = [Request(text="Describe the image.", media=(("image", "jpeg", data),)) for data in pictures]
    bodies = [body_of(request, spec) for request in requests]
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    try:
        for round_number in range(options.rounds):
            start = time.perf_counter()
            asyncio.run(bare(port.value, bodies, options.window))
            rates["bare"].append(options.requests / (time.perf_counter() - start))
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                ours(spec, requests, Path(folder))
                rates["ours"].append(options.requests / (time.perf_counter() - start))
            print(
                f"round {round_number + 1}: bare {rates['bare'][-1]:.1f}/s, ours {rates['ours'][-1]:.1f}/s", flush=True
            )
    finally:
        server.terminate()
    shares = [mine / theirs for mine, theirs in zip(rates["ours"], rates["bare"], strict=True)]
    ceiling = options.window / options.latency
    print(f"ours / bare: median {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}); "
          f"window over latency allows {ceiling:.0f}/s")  # fmt: skip


if __name__ == "__main__":
    main()
