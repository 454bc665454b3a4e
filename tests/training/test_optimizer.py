from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from chatgpt2.training.optimizer import MuonAdamW, orthogonalise, parameter_groups


def small_model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=64, n_layer=2, n_head=1))


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((2, 64, 128), (3, 64, 256), (1, 256, 64)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_the_muon_update_of_one_matrix_equals_torchs() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 256)
    mine, theirs = torch.nn.Parameter(weight.clone()), torch.nn.Parameter(weight.clone())
    ours = MuonAdamW([{"params": [mine], "muon": True}], lr=0.02)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(64, 256)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    moved = (theirs - weight).norm()
    assert (mine - theirs).norm() / moved < 0.03  # both orthogonalise in bf16


def test_the_adamw_update_equals_torchs() -> None:
    torch.manual_seed(0)
    weight = torch.randn(30, 7)
    mine, theirs = torch.nn.Parameter(weight.clone()), torch.nn.Parameter(weight.clone())
    ours = MuonAdamW([{"params": [mine], "weight_decay": 0.1}], lr=0.01)
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(30, 7)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs)


def test_query_key_and_value_are_orthogonalised_apart() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(64, 192))
    optimizer = MuonAdamW([{"params": [weight], "muon": True, "parts": 3}], lr=1.0)
    weight.grad = torch.randn(64, 192)
    weight.grad[:, :64] *= 1000  # a loud query must not drown the key and the value
    optimizer.step()
    norms = [part.norm().item() for part in weight.detach().chunk(3, dim=1)]
    assert max(norms) / min(norms) < 1.2


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_every_trainable_parameter_is_in_one_group(name: str) -> None:
    model = small_model()
    model.transformer.wpe.requires_grad_(False)
    groups = parameter_groups(model, name, 1e-3)
    grouped = [id(p) for group in groups for p in group["params"]]
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    assert sorted(grouped) == sorted(wanted)
    muon = [p for group in groups if group.get("muon") for p in group["params"]]
    assert len(muon) == (8 if name == "muon" else 0)


def test_state_survives_saving_and_loading() -> None:
    def run(interrupted: bool) -> list[torch.Tensor]:
        model = small_model()
        optimizer = MuonAdamW(parameter_groups(model, "muon", 1e-2), lr=1e-2)
        for step in range(4):
            torch.manual_seed(step)
            ids = torch.randint(0, 50, (2, 8))
            model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if interrupted and step == 1:
                state = optimizer.state_dict()
                optimizer = MuonAdamW(parameter_groups(model, "muon", 1e-2), lr=1e-2)
                optimizer.load_state_dict(state)
        return [p.detach() for p in model.parameters()]

    for a, b in zip(run(False), run(True), strict=True):
        assert torch.equal(a, b)
