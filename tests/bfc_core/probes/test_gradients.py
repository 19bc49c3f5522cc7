"""Tangent kernels and gradient outer products of a stack, and what the measures on them mean."""

import pytest
import torch

from bfc_core.probes.agop import ansatz_alignment, neuron_gradients
from bfc_core.probes.sample_gradients import gradients, tangent_kernels
from bfc_core.probes.sensitivity import fourier_coefficients, synonym_sensitivity
from bfc_core.probes.tangent_kernel import kernel_alignment, kernel_change
from bfc_core.probes.two_layer import two_layer_predictions
from bfc_core.probes.weight_correlation import raw_cosine
from tests.bfc_core.probes.still import StillView


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("model", ["quadratic_densenet", "mlp"])
def test_a_stack_s_tangent_kernels_are_each_member_s_own(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = StillView(model, members=2)
    x = view.inputs("probe", 9)
    whole = tangent_kernels(view, x, "now")
    for k in range(2):
        leaves = {name: block.clone().requires_grad_() for name, block in view.weights().items()}
        rows = []
        for one in x:
            output = view.forward(leaves, one[None])[k].sum()
            # Heads of an mlp's lower layers have no part in its output.
            found = torch.autograd.grad(
                output, list(leaves.values()), allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([gradient[k].flatten() for gradient in found]))
        j = torch.stack(rows)
        torch.testing.assert_close(whole[k], j @ j.mT, rtol=1e-6, atol=1e-9)
    monkeypatch.setattr("bfc_core.probes.sample_gradients.BLOCK_NUMBERS", 1)
    torch.testing.assert_close(tangent_kernels(view, x, "now"), whole)


def test_the_gradient_at_a_neuron_is_read_from_its_weights_or_its_bias() -> None:
    view = StillView("quadratic_densenet", members=2)
    x = view.inputs("probe", 11)
    for layer in (2, 3):
        second = neuron_gradients(view, x, layer, "now")
        assert second is not None
        w = view.weights()[f"W{layer}"]
        # With δ gᵀ the gradient of W, E[δ δᵀ] is E[G Gᵀ/|g|²].
        (blocks,) = gradients(view, x, "now", [f"W{layer}"])
        g = blocks[f"W{layer}"].double()
        singular = torch.linalg.svdvals(g)
        assert singular[..., 1].max() < 1e-8 * singular.max()
        assert second.shape == (2, w.shape[1], w.shape[1])
        directions = torch.linalg.svd(g, full_matrices=False).U[..., 0]
        aligned = torch.einsum("nki,kij,nkj->nk", directions, second, directions)
        assert torch.all(aligned > 0)


def test_the_ansatz_holds_for_weights_made_of_gradients() -> None:
    w = draw(2, 4, 6)
    inverse = torch.linalg.inv(w @ w.mT)
    assert ansatz_alignment(w, torch.eye(4).double().expand(2, 4, 4)).tolist() == pytest.approx([1, 1])
    assert torch.all(ansatz_alignment(w, inverse @ inverse) < 0.999)


def test_a_kernel_has_not_changed_from_itself_or_its_multiple() -> None:
    j = draw(2, 10, 30)
    kernel = j @ j.mT
    assert kernel_change(kernel, 7 * kernel).abs().max() < 1e-12
    assert torch.all(kernel_change(kernel, torch.eye(10).double().expand(2, 10, 10)) > 0)


def test_the_kernel_of_the_target_is_fully_aligned_with_it() -> None:
    y = draw(20, 1)
    assert kernel_alignment((y @ y.mT)[None] + 5, 3 * y - 2).item() == pytest.approx(1)
    other = draw(1, 20, 400, seed=1)
    assert abs(kernel_alignment(other @ other.mT, y).item()) < 0.5


def test_fourier_coefficients_are_those_of_the_function() -> None:
    x = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]).double()
    outputs = (3 + 2 * x[:, 0] - x.prod(1))[None]
    characters = torch.stack([torch.ones(4).double(), x[:, 0], x[:, 1], x.prod(1)], dim=1)
    assert fourier_coefficients(outputs, characters)[0].tolist() == pytest.approx([3, 2, 0, -1])


def test_synonyms_matter_not_at_all_or_as_much_as_a_new_input() -> None:
    outputs, other = draw(1, 20_000, 3), draw(1, 20_000, 3, seed=1)
    assert synonym_sensitivity(outputs, outputs).item() == 0
    assert synonym_sensitivity(outputs, other).item() == pytest.approx(1, abs=0.05)


def test_a_two_layer_probe_finds_what_a_linear_one_cannot() -> None:
    z = draw(2, 3000, 4)
    y = z[0, :, :1].abs() - z[0, :, 1:2].abs()
    predicted = two_layer_predictions(z, y, 2000, 64, torch.Generator().manual_seed(1)).double()
    errors = (predicted - y[2000:]).square().mean((1, 2)) / y.var()
    assert errors[0] < 0.05
    assert errors[1] > 0.8


def test_a_still_view_has_not_moved() -> None:
    view = StillView("mlp", members=1)
    assert raw_cosine(view.weights()["W1"], view.weights("init")["W1"]).item() == pytest.approx(1)
