"""Options of a stage and of a run: what each of them does to the weights, or to OUT."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_gradients import made_pack

from model import ModelConfig, Processor, VideoLLaMA3
from model.torchvision_repair import repair_torchvision
from trainer.bench import bench
from trainer.checkpoint import read_progress
from trainer.cli import main
from trainer.errors import UsageError
from trainer.lora import add_lora, merge_lora
from trainer.optimizer import make_optimizer, round_at_random, set_trainable
from trainer.parallelize import Parallel, parallelize
from trainer.stages import SMALL_STAGES, with_changes
from trainer.start import adopt_vision, fresh_model, read_model, start
from trainer.train import Settings, train
from trainer.update import SPIKE_WINDOW, Guard, apply_update, gradient_squares
from trainer.upkeep import Upkeep
from trainer.world import World

CPU = torch.device("cpu")
ALONE = World(rank=0, size=1, device=CPU, mesh=None)
SMALL: dict[str, Any] = {"pack_tokens": 256, "pack_patches": 512, "step_packs": 1}
STAGE = SMALL_STAGES["stage3"]


def settings(shards: Path, out: Path, **changes: Any) -> Settings:
    values = {"stage": "stage3", "shards": (shards,), "out": out, "steps": 4, "changes": SMALL, **changes}
    return Settings(**values)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_spike_is_refused_once_enough_steps_are_known_and_never_without_sigmas() -> None:
    watching, idle = Guard(device=CPU, sigmas=6.0), Guard(device=CPU)
    random = torch.Generator().manual_seed(0)

    def both(loss: float, norm: float) -> tuple[bool, bool]:
        now = torch.tensor([loss, norm], dtype=torch.float64)
        return bool(watching.refuses(*now)), bool(idle.refuses(*now))

    assert both(1000.0, 1.0) == (False, False)  # the first steps are wild
    for _ in range(2 * SPIKE_WINDOW):
        loss, norm = (2 + 0.1 * torch.randn(2, generator=random)).tolist()
        assert both(loss, norm) == (False, False)
    assert both(2.0, 4.0) == (True, False)
    assert both(4.0, 2.0) == (True, False)
    assert both(2.1, 2.1) == (False, False)
    assert both(float("nan"), 2.0) == (True, True)
    assert both(2.0, float("inf")) == (True, True)
    assert watching.history.isfinite().all()


@pytest.mark.parametrize("each", [False, True])
def test_clipping_by_component_bounds_each_of_them(each: bool) -> None:
    torch.manual_seed(0)
    model = VideoLLaMA3(ModelConfig.preset("tiny"))
    optimizer = make_optimizer(model, replace(STAGE, betas=(0.0, 0.999)))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    norms = gradient_squares(optimizer, CPU).sqrt()
    never = torch.zeros((), dtype=torch.bool)
    apply_update(
        optimizer, correction=torch.tensor(1.0, dtype=torch.float64), norms=norms, clip=0.5, each=each, skip=never
    )
    clipped = [
        torch.cat([optimizer.state[p]["exp_avg"].flatten().double() for p in group["params"]]).norm().item()
        for group in optimizer.param_groups
    ]
    whole = sum(norm**2 for norm in clipped) ** 0.5
    assert clipped == pytest.approx([0.5] * 3, rel=1e-4) if each else whole == pytest.approx(0.5, rel=1e-4)


def test_rounding_at_random_keeps_the_mean() -> None:
    value = torch.full((200_000,), 1.0 + 1 / 512)  # half way between two bf16 numbers
    rounded = round_at_random(value, torch.Generator().manual_seed(0)).float()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 1 / 128}
    assert rounded.mean().item() == pytest.approx(1.0 + 1 / 512, abs=1e-4)
    exact = torch.tensor([0.0, 1.5, -2.0])
    assert torch.equal(round_at_random(exact, torch.Generator()).float(), exact)


@pytest.mark.slow
def test_half_moments_follow_whole_ones(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path / "whole", steps=14))
    half = settings(mixed, tmp_path / "half", steps=14, save_every=5, keep=9, changes={**SMALL, "half_moments": True})
    train(half)
    ours, reference = ([line["loss"] for line in metrics(tmp_path / out)] for out in ("half", "whole"))
    assert ours != reference
    assert ours[-1] == pytest.approx(reference[-1], rel=0.05)
    (tmp_path / "half" / "checkpoints" / "LATEST").write_text("step_10\n")
    train(half)
    assert [line["loss"] for line in metrics(tmp_path / "half")] == ours  # the rounding is seeded by the step


def test_low_rank_additions_train_alone_and_merge(mixed: Path, tmp_path: Path) -> None:
    run = settings(mixed, tmp_path, steps=6, save_every=3, keep=9, changes={**SMALL, "lora": 4})
    train(run)
    before, (after, _) = dict(fresh_model("tiny", seed=0)[0].named_parameters()), read_model(tmp_path)
    changed = {name for name, p in after.named_parameters() if not torch.equal(p, before[name])}
    language = {name for name in changed if "language_model" in name}
    assert language
    assert all(name.endswith("_proj.weight") for name in language)  # no embedding, norm or bias
    assert any("projector" in name for name in changed)
    for name in language:
        assert torch.linalg.matrix_rank(after.get_parameter(name) - before[name], atol=1e-5) <= 4
    exported = VideoLLaMA3.from_pretrained(tmp_path / "model")
    assert set(dict(exported.named_parameters())) == set(before)
    first = metrics(tmp_path)
    (tmp_path / "checkpoints" / "LATEST").write_text("step_3\n")
    train(run)
    assert [line["loss"] for line in metrics(tmp_path)] == [line["loss"] for line in first]
    with pytest.raises(UsageError, match="was trained with lora 4"):
        train(settings(mixed, tmp_path, steps=8))


def test_merged_additions_give_the_same_states() -> None:
    torch.manual_seed(1)
    model = VideoLLaMA3(ModelConfig.preset("tiny"))
    add_lora(model, 3)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.1)
    set_trainable(model, replace(STAGE, lora=3))
    assert {n.rpartition(".")[2] for n, p in model.named_parameters() if p.requires_grad and "language" in n} == {
        "lora_a",
        "lora_b",
    }
    layer, x = model.language.layers[0].mlp.up_proj, torch.randn(5, 128)
    apart = layer(x)
    merge_lora(model)
    torch.testing.assert_close(layer(x), apart)


@pytest.mark.slow
def test_the_averaged_weights_are_what_is_handed_over(mixed: Path, tmp_path: Path) -> None:
    decay = 0.5
    run = settings(mixed, tmp_path, save_every=1, keep=9, changes={**SMALL, "average": decay})
    train(run)
    plain_run = tmp_path / "plain"
    train(settings(mixed, plain_run, save_every=1, keep=9))
    expected = {name: p.detach().clone() for name, p in fresh_model("tiny", seed=0)[0].named_parameters()}
    for step in range(1, 5):
        reached, _ = read_model(plain_run / "checkpoints" / f"step_{step}")
        for name, parameter in reached.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    averaged, _ = read_model(tmp_path)
    for name, parameter in averaged.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], msg=name)
    lines = metrics(tmp_path)
    (tmp_path / "checkpoints" / "LATEST").write_text("step_2\n")
    train(run)
    assert [line["loss"] for line in metrics(tmp_path)] == [line["loss"] for line in lines]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor")
def test_blocks_are_compiled_once_and_not_for_every_pack() -> None:
    graphs: list[Any] = []

    def count(module: Any, _: Any) -> Any:
        graphs.append(module)
        return module

    torch.manual_seed(0)
    model, plain = (fresh_model("tiny", seed=0)[0] for _ in range(2))
    parallelize(model, ALONE, Parallel(compile=True, backend=count))
    batches = [made_pack(number) for number in (0, 3, 6, 9)]
    counts = []
    for batch in batches:
        found, wanted = model.loss(batch)[0], plain.loss(batch)[0]
        torch.testing.assert_close(found, wanted)
        found.backward()
        counts.append(len(graphs))
    assert counts[0] > 0
    assert counts[-1] == counts[1]  # the second pack may make sizes dynamic; no later one compiles anything


def test_milestones_stay(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path, steps=7, save_every=1, keep=2, milestones=3))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("step_*"))
    assert kept == ["step_3", "step_5", "step_6", "step_7"]  # the last two that are none, and the milestones


@pytest.mark.slow
def test_a_step_holds_the_tokens_or_samples_asked_for(mixed: Path, tmp_path: Path) -> None:
    for name, column, wanted in (("step_tokens", "tokens", 1000), ("step_samples", "samples", 16)):
        changes = {"pack_tokens": 256, "pack_patches": 512, name: wanted}
        train(settings(mixed, tmp_path / name, changes=changes))
        values = [line[column] for line in metrics(tmp_path / name)]
        assert sum(values) / len(values) == pytest.approx(wanted, rel=0.35)
    with pytest.raises(UsageError, match="give one of them"):
        replace(STAGE, step_tokens=1, step_samples=1)


def test_profiles_and_determinism_are_set_for_a_run_only(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path, steps=6, upkeep=Upkeep(profile=2, deterministic=True, collect_every=2)))
    trace = json.loads((tmp_path / "profile" / "rank_0.json").read_text())
    assert any("backward" in str(event.get("name")) for event in trace["traceEvents"])
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(UsageError, match="found no GPU"):
        train(settings(mixed, tmp_path / "other", upkeep=Upkeep(memory=True)))


def test_progress_names_what_a_run_was_asked_for(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path, steps=1, changes={**SMALL, "lora": 2, "average": 0.9}))
    progress = read_progress(tmp_path / "checkpoints" / "step_1")
    assert (progress.lora, progress.averaged) == (2, True)


def test_the_bench_measures_every_kind_of_pack() -> None:
    rows = bench("tiny", steps=1, pack_tokens=256, parallel=Parallel())
    assert [row["kind"] for row in rows] == ["text", "image", "video"]
    assert all(row["tokens_per_second"] > 0 and row["mfu"] > 0 and row["memory_bytes"] > 0 for row in rows)
    assert rows[0]["patches"] == 0 < rows[1]["patches"] <= rows[2]["patches"]


def test_the_vision_encoder_of_another_checkpoint_is_taken_over_and_nothing_else(tmp_path: Path) -> None:
    other, processor = fresh_model("tiny", seed=1)
    other.save_pretrained(tmp_path, processor)
    built, _ = start("tiny", vision=str(tmp_path), joined=False, seed=0)
    own = dict(fresh_model("tiny", seed=0)[0].named_parameters())
    for name, parameter in built.named_parameters():
        source = dict(other.named_parameters()) if name.startswith("model.vision_model.") else own
        assert torch.equal(parameter, source[name]), name
    narrow = VideoLLaMA3(replace(built.config, vision=replace(built.config.vision, layers=1)))
    with pytest.raises(UsageError, match=r"--vision .*: its encoder is VisionConfig"):
        adopt_vision(narrow, tmp_path)


@pytest.mark.slow
def test_stage_1_starts_from_a_plain_language_model_and_an_encoder(mixed: Path, tmp_path: Path) -> None:
    repair_torchvision()
    from transformers import Qwen2Config, Qwen2ForCausalLM

    language, vision, processor = tmp_path / "qwen", tmp_path / "encoder", Processor.tiny()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    qwen = Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=1, vocab_size=4096, max_position_embeddings=4096))
    qwen.save_pretrained(language)
    processor.tokenizer.save(language, image_token="<|image_pad|>", video_token="<|video_pad|>")
    other, _ = fresh_model("tiny", seed=1)
    other.save_pretrained(vision, processor)
    asked = ["--language", str(language), "--vision", str(vision), "--shards", str(mixed)]
    assert main(["plan", "stage1", *asked]) == 0
    assert main(["run", "stage1", *asked, "--out", str(tmp_path / "run"), "--steps", "1"]) == 0
    trained = VideoLLaMA3.from_pretrained(tmp_path / "run" / "model")
    for name, parameter in qwen.model.named_parameters():  # the published first stage leaves it as it is
        assert torch.equal(trained.state_dict()[f"model.language_model.{name}"], parameter), name
    before = other.vision.state_dict()  # adapted, but still the encoder that was given
    assert all(torch.allclose(now, before[name], atol=5e-3) for name, now in trained.vision.state_dict().items())
    assert not all(torch.equal(now, before[name]) for name, now in trained.vision.state_dict().items())
    assert main(["plan", "stage1", "--language", str(language), "--shards", str(mixed)]) == 2
    assert main(["plan", "stage1", *asked, "--model", "tiny"]) == 2


def test_a_rate_changes_one_component_and_rates_replace_all() -> None:
    assert with_changes(STAGE, {"rate": {"language": 1e-4}}).rates == {**STAGE.rates, "language": 1e-4}
    assert set(with_changes(STAGE, {"rate": {"vision": 0.0}}).rates) == {"language", "projector"}
    assert with_changes(STAGE, {"rates": {"language": 1e-4}, "clip": 0.5}).rates == {"language": 1e-4}
    with pytest.raises(UsageError, match="components are vision, projector, language"):
        with_changes(STAGE, {"rate": {"encoder": 1e-4}})


@pytest.mark.parametrize(
    "asked",
    [
        "--steps 0",
        "--steps -1",
        "--workers -1",
        "--save-every -1",
        "--keep 0",
        "--timeout nan",
        "--clip -1",
        "--spike -1",
        "--lora -4",
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    mixed: Path, tmp_path: Path, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["run", "stage1", "--shards", str(mixed), "--out", str(tmp_path / "run"), *asked.split()])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert "at least" in capsys.readouterr().err
    assert not (tmp_path / "run" / "model").exists()
