"""Endpoint: a captioner behind an OpenAI-compatible chat server (vLLM, SGLang, any other), kept busy and never trusted."""

from __future__ import annotations

import os
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from curation.neural.captioner import Caption, CaptionerSpec, Request
from curation.neural.chat_protocol import ServerFault, body_of
from curation.neural.connection import Connection, Gate, Rate, Watch
from curation.operator import OperatorError, RecipeError
from curation.sample import SampleError

# Requests whose bodies are made at once: a clip's frames are decoded for it, and a worker has one core however many requests are in flight.
MAKING = 2


@dataclass(frozen=True, kw_only=True)
class Endpoint(CaptionerSpec):
    """A chat server and how it is asked. Only `model`, `temperature`, `seed` and `frames` are part of a caption's identity.

    url: up to the version, as "http://host:8000/v1". key_variable: environment variable that holds the key, if it wants one.
    window: requests in flight. stream: read tokens as they come, so that a standstill is noticed
    after `stall` seconds.
    deadline: seconds for one try; retries: how often a request is tried again while others succeed; patience: seconds that
    the server may answer nobody before the run stops (and can be resumed). requests_per_minute: never faster than that.
    frames: how many frames of a video are shown, as pictures. input_price, output_price: per million tokens, for the report.
    """

    url: str
    model: str
    key_variable: str = ""
    temperature: float = 0.0
    seed: int = 0
    frames: int = 16
    window: int = 64
    stream: bool = True
    stall: float = 30.0
    deadline: float = 180.0
    retries: int = 4
    patience: float = 600.0
    requests_per_minute: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise RecipeError(
                f"endpoint {self.url!r}: wanted http(s)://host[:port]/v1, without user, password or query"
            )
        if self.window < 1 or min(self.stall, self.deadline, self.patience) <= 0 or self.retries < 0:
            raise RecipeError(f"endpoint {self.url}: window, stall, deadline and patience must be positive")

    def identity(self) -> dict[str, Any]:
        """The model and how it chooses, wherever it is served."""
        return {"model": self.model, "temperature": self.temperature, "seed": self.seed, "frames": self.frames}

    def load(self) -> EndpointCaptioner:
        """The captioner with its threads; one per process and spec."""
        return _load(self)


@lru_cache(maxsize=4)
def _load(spec: Endpoint) -> EndpointCaptioner:
    key = ""
    if spec.key_variable:
        key = os.environ.get(spec.key_variable, "")
        if not key:
            raise RecipeError(
                f"endpoint {spec.url}: the environment variable {spec.key_variable} is not set: set it to the key"
            )
    return EndpointCaptioner(spec, key)


class EndpointCaptioner:
    """Keeps `window` requests in flight over as many kept-alive connections; one outage holds them all, one success frees them."""

    def __init__(self, spec: Endpoint, key: str) -> None:
        self.spec, self._key = spec, key
        self._threads = ThreadPoolExecutor(spec.window, thread_name_prefix="caption")
        self._making = threading.BoundedSemaphore(MAKING)
        self._local = threading.local()
        self._watch = Watch()
        self._gate = Gate(spec.url, spec.patience)
        self._rate = Rate(spec.requests_per_minute)

    def answers(
        self, requests: Sequence[Request], *, beat: Callable[[int], None], counts: Counter[str]
    ) -> Iterator[tuple[int, Caption | SampleError]]:
        """Answers as they come. Raises OperatorError when the server refuses us, or answers nobody for `patience` seconds."""
        done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        stop = threading.Event()

        def work(number: int) -> None:
            try:
                done.put((number, self._answer(requests[number], counts, stop)))
            except (OperatorError, SampleError) as error:
                done.put((number, error))
            except BaseException as error:  # an error of ours: it must reach the caller, not die with its thread
                done.put((number, error))
                raise

        # A next one is asked when the caller has taken an answer: never more than `window` are paid for and not yet kept.
        numbers = iter(range(len(requests)))
        for number in islice(numbers, self.spec.window):
            self._threads.submit(work, number)
        try:
            left = len(requests)
            while left:
                try:
                    number, answer = done.get(timeout=1.0)
                except queue.Empty:
                    beat(0)
                    continue
                left -= 1
                beat(0)
                if isinstance(answer, Caption):
                    self._charge(answer, counts)
                elif not isinstance(answer, SampleError):
                    raise answer
                yield number, answer
                for number in islice(numbers, 1):
                    self._threads.submit(work, number)
        finally:
            stop.set()

    def _charge(self, caption: Caption, counts: Counter[str]) -> None:
        counts["caption_input_tokens"] += caption.input_tokens
        counts["caption_output_tokens"] += caption.output_tokens
        cost = caption.input_tokens * self.spec.input_price + caption.output_tokens * self.spec.output_price
        counts["caption_cost_millionths"] += round(cost)

    def _answer(self, request: Request, counts: Counter[str], stop: threading.Event) -> Caption | SampleError:
        """One request until it is answered, or known to have no answer."""
        with self._making:
            body = body_of(request, self.spec)
        failures, tries, seen, why = 0, 0, -1, ""
        jitter = random.Random(request.key(""))
        while not stop.is_set():
            self._gate.wait(stop)
            self._rate.wait(stop)
            successes = self._gate.successes
            try:
                caption = self._connection().post(body)
            except ServerFault as fault:
                counts["caption_retries"] += 1
                why = str(fault)
                if fault.fatal:
                    raise OperatorError(f"endpoint {self.spec.url}: {fault}") from fault
                if fault.refused:
                    return SampleError(f"the caption server refused it: {fault}")
                self._gate.failed(fault)
                if fault.outage:
                    continue  # says nothing about this request
                # A failure weighs when the server served others since the last one; otherwise it may be the server's own.
                tries, failures, seen = tries + 1, failures + (successes != seen), successes
                if failures > self.spec.retries or tries > 4 * (self.spec.retries + 1):
                    return SampleError(f"no caption after {tries} tries: {why}", retryable=True)
                stop.wait(min(8.0, 0.125 * 2**tries) * jitter.uniform(0.5, 1.0))
                continue
            self._gate.succeeded()
            return caption
        return SampleError(f"stopped before it was answered ({why or 'not asked yet'})", retryable=True)

    def _connection(self) -> Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = Connection(self.spec, self._key, self._watch)
        return self._local.connection
