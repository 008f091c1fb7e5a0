from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from model import ModelConfig, Processor, VideoLLaMA3, pack
from model.batch import IGNORED
from trainer.dataset import open_shards
from trainer.encode import StageEncoder
from trainer.flops import FlopModel
from trainer.loader import LoadedPack, PackReader, empty_batch, load_packs
from trainer.optimizer import component_of, make_optimizer, rate_share, set_trainable
from trainer.plan import Plan, make_plan
from trainer.stages import SMALL_STAGES, Stage, stage_for
from trainer.step import train_step
from trainer.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"), mesh=None)
STAGE = replace(SMALL_STAGES["stage3"], pack_tokens=256, pack_patches=512, step_packs=4, clip=0.0)


@pytest.fixture(scope="module")
def plan(mixed: Path) -> Plan:
    flops = FlopModel(config=ModelConfig.preset("tiny"), trains=("language",))
    return make_plan(open_shards([mixed], STAGE.rules), STAGE, flops, seed=0, epoch=0)


def loaded(plan: Plan, numbers: list[int]) -> list[LoadedPack]:
    return list(load_packs(PackReader(plan, StageEncoder(Processor.tiny(), STAGE.rules)), numbers, workers=0))


def tiny(stage: Stage = STAGE) -> VideoLLaMA3:
    torch.manual_seed(0)
    model = VideoLLaMA3(ModelConfig.preset("tiny")).train()
    set_trainable(model, stage)
    return model


def weights(model: VideoLLaMA3) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_a_step_equals_plain_cross_entropy_over_all_its_tokens(plan: Plan) -> None:
    packs = loaded(plan, [0, 1, 2, 3])
    model, reference = tiny(), tiny()
    optimizer = make_optimizer(model, STAGE)
    outcome = train_step(model, optimizer, packs, planned=plan.loss_tokens(0), branches=2, clip=0.0, world=ALONE).read()
    logits = torch.cat([reference.logits(one.batch)[one.batch.predictors] for one in packs])
    targets = torch.cat([one.batch.labels[one.batch.predictors + 1] for one in packs])
    mean = F.cross_entropy(logits, targets)
    mean.backward()
    expected = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    assert outcome.loss == pytest.approx(mean.item(), rel=1e-5)
    assert outcome.grad_norm == pytest.approx(
        torch.cat([gradient.double().flatten() for gradient in expected.values()]).norm().item(), rel=1e-5
    )
    assert outcome.loss_tokens == len(targets) == plan.loss_tokens(0)
    for name, parameter in model.named_parameters():  # Adam's first moment is 0.1 of the first gradient
        torch.testing.assert_close(
            optimizer.state[parameter]["exp_avg"] * 10, expected[name], rtol=1e-3, atol=1e-6, msg=name
        )


def gradients(model: VideoLLaMA3, packs: list[LoadedPack], planned: int) -> tuple[float, dict[str, torch.Tensor]]:
    """What the optimizer is given: read from its first moment after one step, (1 - beta1) g."""
    optimizer = make_optimizer(model, STAGE)
    outcome = train_step(model, optimizer, packs, planned=planned, branches=2, clip=0.0, world=ALONE).read()
    return outcome.loss, {
        n: optimizer.state[p]["exp_avg"] * 10 for n, p in model.named_parameters() if p in optimizer.state
    }


def test_accumulation_and_wrong_plans_do_not_change_the_gradient(plan: Plan) -> None:
    reader = PackReader(plan, StageEncoder(Processor.tiny(), STAGE.rules))
    encoded = [reader.encoder(stored) for number in range(4) for _, stored, _ in reader._read(plan.pack(number))]
    packs = loaded(plan, [0, 1, 2, 3])
    together = replace(packs[0], batch=pack(encoded), branches=torch.cat([one.branches for one in packs]))
    loss, one = gradients(tiny(), [together], plan.loss_tokens(0))
    for planned in (plan.loss_tokens(0), 17):  # 17: samples failed, so that fewer or more came than planned
        again_loss, again = gradients(tiny(), packs, planned)
        assert again_loss == pytest.approx(loss, rel=1e-6)
        for name, gradient in one.items():
            torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_losses_by_branch_add_up_to_the_loss(plan: Plan) -> None:
    packs = loaded(plan, [0, 1, 2, 3])
    model = tiny()
    outcome = train_step(
        model, make_optimizer(model, STAGE), packs, planned=1, branches=2, clip=0.0, world=ALONE
    ).read()
    assert sum(outcome.branch_tokens) == outcome.loss_tokens
    assert sum(outcome.branch_losses) == pytest.approx(outcome.loss * outcome.loss_tokens)
    assert min(outcome.branch_tokens) > 0
    text = plan.dataset.branches.index("text")
    samples = plan.samples[: plan.bounds[4]]
    assert outcome.branch_tokens[text] == plan.dataset.loss_tokens[samples[plan.dataset.branch[samples] == text]].sum()


@pytest.mark.parametrize("name", list(SMALL_STAGES))
def test_a_stage_changes_what_it_trains_and_nothing_else(plan: Plan, name: str) -> None:
    stage = replace(STAGE, name=name, rates=SMALL_STAGES[name].rates)
    model = tiny(stage)
    before = weights(model)
    optimizer = make_optimizer(model, stage)
    assert [group["component"] for group in optimizer.param_groups] == [
        c for c in ("vision", "projector", "language") if c in stage.rates
    ]
    train_step(model, optimizer, loaded(plan, [0, 1]), planned=1, branches=2, clip=1.0, world=ALONE)
    changed = {component_of(key) for key, value in weights(model).items() if not torch.equal(value, before[key])}
    assert changed == set(stage.rates)


def test_text_alone_under_a_frozen_language_model_teaches_nothing(plan: Plan) -> None:
    stage = replace(STAGE, rates=SMALL_STAGES["stage1"].rates)
    model = tiny(stage)
    before = weights(model)
    batch = empty_batch()
    batch = replace(
        batch, tokens=torch.tensor([70, 71, 72]), labels=torch.tensor([IGNORED, 71, 72]), positions=torch.arange(3)
    )
    batch = replace(
        batch,
        cu_seqlens=torch.tensor([0, 3], dtype=torch.int32),
        sequence_lengths=(3,),
        predictors=torch.tensor([0, 1]),
    )
    text = LoadedPack(
        number=0, batch=batch, branches=torch.zeros(1, dtype=torch.int64), keys=("a",), failures=(), seconds=0.0
    )
    outcome = train_step(
        model, make_optimizer(model, stage), [text], planned=2, branches=1, clip=1.0, world=ALONE
    ).read()
    assert outcome.loss > 0
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_a_gradient_that_is_not_finite_changes_nothing(plan: Plan) -> None:
    model = tiny()
    optimizer = make_optimizer(model, STAGE)
    packs = loaded(plan, [0])
    with torch.no_grad():
        model.language.norm.weight[3] = torch.nan
    before = weights(model)
    outcome = train_step(model, optimizer, packs, planned=1, branches=2, clip=1.0, world=ALONE).read()
    assert outcome.skipped
    for name, value in weights(model).items():
        assert torch.equal(value, before[name]) or name.endswith("language_model.norm.weight")
    assert all(not state["step"].item() for state in optimizer.state.values())


def test_clipping_bounds_the_gradient_and_reports_its_norm_before(plan: Plan) -> None:
    packs = loaded(plan, [0])
    planned = packs[0].batch.num_supervised
    model = tiny()
    optimizer = make_optimizer(model, STAGE)
    outcome = train_step(model, optimizer, packs, planned=planned, branches=2, clip=0.01, world=ALONE).read()
    clipped = torch.nn.utils.get_total_norm([state["exp_avg"] * 10 for state in optimizer.state.values()])
    assert outcome.grad_norm > 0.1
    assert float(clipped) == pytest.approx(0.01, rel=1e-3)


def test_rates_rise_linearly_and_fall_as_a_cosine_to_zero() -> None:
    shares = [rate_share(step, total=100, warmup=0.03) for step in range(101)]
    assert shares[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert shares[3] == 1.0
    assert shares[3 + 97 // 2] == pytest.approx(0.5, abs=0.02)
    assert shares[100] == pytest.approx(0.0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(shares[3:]))


@pytest.mark.parametrize(("source", "trains"), [("tiny", True), ("2b", True), ("runs/stage1", False)])
def test_the_first_stage_keeps_only_a_trained_language_model_frozen(source: str, trains: bool) -> None:
    for width in (128, 1536):
        assert stage_for("stage1", width=width, source=source).trains("language") == trains
