"""The caption server and its client: the protocol with a real model behind it, and every way in which a server fails."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from curation.batch import Batch
from curation.neural import BRIEF, Caption, Endpoint, OwnModel, Request
from curation.neural import endpoint as endpoint_module
from curation.operator import OperatorError, RecipeError
from curation.sample import SampleError
from curation.transforms import Recaption
from pipelines.caption_server import CaptionServer
from tests.curation import encoder_models as tiny
from tests.pipelines.faulty_server import Fault, FaultyServer, words_for


@contextmanager
def serving(fault: Fault = lambda _: "", **options: float) -> Iterator[FaultyServer]:
    server = FaultyServer(fault, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.kill()


def requests(count: int) -> list[Request]:
    return [Request(text="Describe.", media=(("image", "jpeg", b"picture %d" % n),)) for n in range(count)]


def endpoint(server: CaptionServer, **fields: object) -> Endpoint:
    settings = {"window": 8, "stall": 10.0, "deadline": 20.0, "patience": 30.0, **fields}
    return Endpoint(url=server.url, model="parrot", **settings)  # type: ignore[arg-type]


def answered(spec: Endpoint, asked: list[Request]) -> dict[int, Caption | SampleError]:
    return dict(spec.load().answers(asked, beat=lambda _: None, counts=Counter()))


def assert_all_answered_once(server: FaultyServer, spec: Endpoint, asked: list[Request]) -> None:
    found = answered(spec, asked)
    assert {n: a.text for n, a in found.items() if isinstance(a, Caption)} == {
        n: words_for(request) for n, request in enumerate(asked)
    }
    assert server.paid == Counter(words_for(request) for request in asked)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from model.config import ModelConfig
    from model.processor import Processor
    from model.videollama3 import VideoLLaMA3

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    model = VideoLLaMA3(ModelConfig.preset("tiny"))
    with torch.no_grad():
        for block in model.language.layers.parameters():
            block.mul_(8)  # at its first size a random model says the same special token again and again
    model.save_pretrained(folder, Processor.tiny(max_tokens=64))
    return folder


@pytest.mark.parametrize("stream", [True, False])
def test_own_checkpoint_answers_over_the_protocol_as_in_process(checkpoint: Path, stream: bool) -> None:
    own = OwnModel(path=str(checkpoint), batch=4)
    asked = [Request(text="Describe.", media=(("image", "jpeg", tiny.jpeg(n)),), max_tokens=6 + n) for n in range(5)]
    wanted = dict(own.load().answers(asked, beat=lambda _: None, counts=Counter()))
    assert len({answer.text for answer in wanted.values() if isinstance(answer, Caption)}) > 1
    server = CaptionServer(own.load())
    try:
        counts: Counter[str] = Counter()
        spec = Endpoint(url=server.url, model="vl3", window=3, stream=stream, input_price=2.0, output_price=10.0)
        found = dict(spec.load().answers(asked, beat=lambda _: None, counts=counts))
    finally:
        server.close()
    assert found == wanted
    tokens = [(a.input_tokens, a.output_tokens) for a in wanted.values() if isinstance(a, Caption)]
    assert counts["caption_output_tokens"] == sum(out for _, out in tokens)
    assert counts["caption_cost_millionths"] == sum(2 * given + 10 * out for given, out in tokens)


@pytest.mark.parametrize("kind", ["busy", "broken", "garbage", "nonsense", "stalls", "drips", "hangs", "cuts"])
def test_failing_server_loses_nothing_and_is_paid_once(kind: str) -> None:
    with serving(lambda number: kind if number in (0, 1, 5, 6, 7) else "") as server:
        slow = {"stall": 0.5, "deadline": 2.0} if kind in ("stalls", "drips", "hangs") else {}
        assert_all_answered_once(server, endpoint(server, **slow), requests(30))
        assert server.kinds[kind] == 5


@pytest.mark.parametrize("stream", [True, False])
def test_healthy_server_sees_every_request_once(stream: bool) -> None:
    with serving() as server:
        spec, asked, counts = endpoint(server, stream=stream), requests(50), Counter[str]()
        list(spec.load().answers(asked, beat=lambda _: None, counts=counts))
        assert server.paid == Counter(words_for(request) for request in asked)
        assert (server.kinds["answered"], counts["caption_retries"]) == (50, 0)
        assert len(server.sockets) <= spec.window  # connections are kept alive


def test_few_bodies_are_made_at_once_however_many_requests_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    making, most, real = [0], [0], endpoint_module.body_of

    def body_of(request: Request, spec: Endpoint) -> bytes:
        making[0] += 1
        most[0] = max(most[0], making[0])
        time.sleep(0.005)
        making[0] -= 1
        return real(request, spec)

    monkeypatch.setattr(endpoint_module, "body_of", body_of)
    with serving() as server:
        assert_all_answered_once(server, endpoint(server, window=16), requests(60))
    assert most[0] == endpoint_module.MAKING


def test_server_that_fails_for_everybody_is_waited_for() -> None:
    start = time.monotonic()
    with serving(lambda _: "broken" if time.monotonic() - start < 2.0 else "") as server:
        assert_all_answered_once(server, endpoint(server, retries=1), requests(16))


def test_killed_server_is_used_again_at_once() -> None:
    spec_of = endpoint
    first = FaultyServer(seconds=0.1)
    port = first.server_address[1]
    spec, asked = spec_of(first), requests(200)
    found: dict[int, Caption | SampleError] = {}

    def work() -> None:
        found.update(answered(spec, asked))

    thread = threading.Thread(target=work)
    thread.start()
    while sum(first.paid.values()) < 40:
        time.sleep(0.01)
    first.kill()
    time.sleep(0.5)
    back = time.monotonic()
    with serving(seconds=0.02, port=port) as second:
        thread.join(30)
        assert second.times[0] - back < 2.0
        # The whole window is there again, not one request after the other: eight at a time take 20 ms.
        assert second.times[39] - second.times[0] < 40 * 0.02
        assert [a.text for _, a in sorted(found.items()) if isinstance(a, Caption)] == [words_for(r) for r in asked]
        twice = [words for words, times in (first.paid + second.paid).items() if times > 1]
        assert len(twice) <= spec.window  # only what was on its way when it died


def test_poison_request_costs_itself() -> None:
    asked = requests(20)

    def fault(number: int) -> str:
        return "refuses" if number == 3 else ""

    with serving(fault) as server:
        found = answered(endpoint(server), asked)
        (bad,) = [a for a in found.values() if isinstance(a, SampleError)]
        assert "image too large" in str(bad)
        assert not bad.retryable
        assert sum(server.paid.values()) == 19


def test_request_that_always_breaks_the_server_is_given_up_and_can_be_retried() -> None:
    asked = requests(40)

    class Choosy(FaultyServer):
        pass

    server = Choosy(seconds=0.01)
    original = server.RequestHandlerClass

    class Handler(original):  # type: ignore[misc,valid-type]
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.peek(length) if length < 4096 else b""
            if b"cGljdHVyZSA3" in body:  # "picture 7"
                self.rfile.read(length)
                self.fault_broken(asked[7])
                return
            super().do_POST()

    server.RequestHandlerClass = Handler
    try:
        found = answered(endpoint(server, retries=1, window=4), asked)
    finally:
        server.kill()
    bad = {n: a for n, a in found.items() if isinstance(a, SampleError)}
    assert list(bad) == [7]
    assert bad[7].retryable
    assert "out of memory" in str(bad[7])


def test_wrong_key_and_dead_server_stop_the_run() -> None:
    with serving(lambda _: "locked") as server, pytest.raises(OperatorError, match="401"):
        answered(endpoint(server), requests(3))
    dead = FaultyServer()
    spec = endpoint(dead, patience=0.5)
    dead.kill()
    with pytest.raises(OperatorError, match="start the server and run again"):
        answered(spec, requests(3))


def test_rate_limit_is_kept() -> None:
    with serving() as server:
        answered(endpoint(server, requests_per_minute=1200.0), requests(11))
        assert server.times[-1] - server.times[0] >= 0.45  # ten gaps of 50 ms


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://user:pw@host/v1", "http:///v1"])
def test_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(RecipeError, match="wanted http"):
        Endpoint(url=url, model="m")


def test_key_comes_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VL3_TEST_KEY", raising=False)
    spec = Endpoint(url="http://127.0.0.1:1/v1", model="m", key_variable="VL3_TEST_KEY")
    with pytest.raises(RecipeError, match="VL3_TEST_KEY"):
        spec.load()


CRASH = """
import sys
from pathlib import Path
from curation.batch import Batch
from curation.neural import BRIEF, Endpoint
from curation.transforms import Recaption
from tests.curation import encoder_models as tiny
spec = Endpoint(url=sys.argv[1], model="parrot", window=4)
samples = [tiny.image_sample(n) for n in range(60)]
Recaption(captioner=spec, prompt=BRIEF).open()(Batch(samples, keep=Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_killed_worker_never_pays_twice_for_what_it_was_given(tmp_path: Path) -> None:
    with serving(seconds=0.05) as server:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        worker = subprocess.Popen([sys.executable, "-c", CRASH, server.url, str(tmp_path)], env=environment)
        while sum(server.paid.values()) < 20:
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        time.sleep(0.2)
        samples = [tiny.image_sample(n) for n in range(60)]
        batch = Batch(samples, keep=tmp_path)
        renewed = Recaption(captioner=replace(endpoint(server), window=4), prompt=BRIEF).open()(batch)
        assert not batch.errors
        assert all(sample.answers().startswith("A picture of") for sample in renewed)
        assert len(server.paid) == 60
        assert batch.counters["captions_reused"] >= 16
        assert sum(times > 1 for times in server.paid.values()) <= 4  # on their way when it was killed
        again = Batch(samples, keep=tmp_path)
        Recaption(captioner=endpoint(server), prompt=BRIEF).open()(again)
        assert again.counters["captions_asked"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1]", "wanted an object"),
        (b"{", "no JSON"),
        (b'{"messages": 3}', "malformed"),
        (b'{"messages": [{"content": [{"type": "video_url"}]}]}', "wanted text or image_url"),
        (
            b'{"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://x/y.jpg"}}]}]}',
            "fetches nothing",
        ),
        (
            b'{"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}]}]}',
            "base64",
        ),
        (b'{"messages": [], "max_tokens": 99999999}', "max_tokens"),
    ],
)
def test_malformed_request_is_refused_with_a_reason(body: bytes, words: str) -> None:
    import http.client

    from tests.pipelines.faulty_server import Parrot

    server = CaptionServer(Parrot())
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
    try:
        connection.request("POST", "/v1/chat/completions", body)
        response = connection.getresponse()
        assert response.status == 400
        assert words in response.read().decode()
    finally:
        connection.close()
        server.close()
