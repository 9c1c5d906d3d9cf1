"""Each operation does what its formula says, alone, in an order, and by a function of one's own."""

import pytest
import torch
from by_hand import block_outputs, changed, close, logits
from conftest import some_vector

from steering_utils import SteeringVector, steer
from steering_utils.operations import ablate, add, add_and_keep_norm, set_projection

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])


@pytest.fixture
def h():
    return torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def v():
    return some_vector().values


def along(h, v):
    return h @ (v / v.norm())


def test_ablation_leaves_nothing_along_v_and_all_else(h, v):
    left = ablate(h, v)
    close(along(left, v), torch.zeros(3, 5), atol=1e-5)
    r = v / v.norm()
    close(left, h @ (torch.eye(32) - torch.outer(r, r)), atol=1e-5)
    close(ablate(left, v), left, atol=1e-6)
    close(ablate(h, -7 * v), left, atol=1e-5)


@pytest.mark.parametrize("value", [-2.5, 0, 3.0])
def test_the_projection_is_set_and_nothing_else_moves(h, v, value):
    moved = set_projection(value)(h, v)
    close(along(moved, v), torch.full((3, 5), float(value)), atol=1e-5)
    close(ablate(moved, v), ablate(h, v), atol=1e-5)
    close(set_projection(-value)(h, -v), moved, atol=1e-5)


def test_keeping_the_norm_turns_the_state_towards_v(h, v):
    moved = add_and_keep_norm(h, v)
    close(moved.norm(dim=-1), h.norm(dim=-1), atol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(moved, h + v, dim=-1)
    close(cosine, torch.ones(3, 5), atol=1e-5)


@pytest.mark.parametrize("operation", [add, ablate, set_projection(3.0), add_and_keep_norm])
def test_a_zero_vector_changes_nothing(h, operation):
    assert torch.equal(operation(h, torch.zeros(32)), h)
    assert torch.equal(operation(torch.zeros(1, 1, 32), torch.zeros(32)), torch.zeros(1, 1, 32))


@pytest.mark.parametrize("operation", [ablate, set_projection(3.0), add_and_keep_norm])
def test_half_precision_is_worked_in_float32(h, v, operation):
    rogue = h.clone()
    rogue[..., 7] = 3000.0  # as GPT-2's first position has it
    exact = operation(rogue.bfloat16().double(), v.bfloat16().double())
    found = operation(rogue.bfloat16(), v.bfloat16())
    assert found.dtype == torch.float32
    assert ((found - exact).abs() <= 1e-3 + 1e-6 * exact.abs()).all()


@pytest.mark.parametrize("operation", [add, ablate, set_projection(3.0), add_and_keep_norm])
def test_gradients_are_finite_also_where_alpha_is_zero(model, operation):
    embeddings = model.get_input_embeddings()(IDS).detach().requires_grad_()
    with steer(model, some_vector(), [0.0, 1.0], operation=operation):
        model(inputs_embeds=embeddings).logits.sum().backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1"])
def test_the_value_must_be_a_finite_number(value):
    with pytest.raises(ValueError, match=r"value must be a finite number such as 0.0, got"):
        set_projection(value)


def test_the_innermost_works_first_so_an_outer_ablation_holds(model):
    vector = some_vector(1)
    with steer(model, vector, operation=ablate):
        wanted = block_outputs(model, IDS[0].tolist())[1]
    with steer(model, vector, operation=ablate), steer(model, vector, 2.0):
        held = block_outputs(model, IDS[0].tolist())[1]
    with steer(model, vector, 2.0), steer(model, vector, operation=ablate):
        added_after = block_outputs(model, IDS[0].tolist())[1]
    close(held, wanted, atol=1e-5)
    close(added_after, wanted + 2.0 * vector.values, atol=1e-5)


def test_several_vectors_work_in_the_order_given(model):
    u, v = some_vector(1), some_vector(1, seed=1)
    before = block_outputs(model, IDS[0].tolist())[1]
    with steer(model, [u, v], operation=ablate):
        close(block_outputs(model, IDS[0].tolist())[1], ablate(ablate(before, u.values), v.values), atol=1e-5)
    assert changed(ablate(ablate(before, u.values), v.values), ablate(ablate(before, v.values), u.values))


def test_one_alpha_per_row_decides_row_by_row(model):
    before = block_outputs(model, IDS[0].tolist())[1]
    ids, seen = IDS[:1].expand(3, -1), []
    with (
        steer(model, some_vector(), [0.0, 1.0, -1.0], operation=set_projection(4.0)),
        model.get_submodule(
            next(n for n, m in model.named_modules() if n.endswith(".1"))
        ).register_forward_hook(
            lambda m, a, output: seen.append(output[0] if isinstance(output, tuple) else output)
        ),
    ):
        logits(model, ids)
    untouched, up, down = seen[0]
    r = some_vector().values / 5.0
    close(untouched, before, atol=1e-5)
    close(up @ r, torch.full((6,), 4.0), atol=1e-4)
    close(down @ r, torch.full((6,), -4.0), atol=1e-4)


def test_a_function_of_ones_own_is_an_operation(model):
    def double_where_it_agrees(h, v):
        return torch.where((h * v).sum(-1, keepdim=True) > 0, 2 * h, h)

    before = block_outputs(model, IDS[0].tolist())[1]
    with steer(model, some_vector(), 1.0, operation=double_where_it_agrees):
        after = block_outputs(model, IDS[0].tolist())[1]
    assert torch.equal(after, double_where_it_agrees(before, some_vector().values))
    assert changed(after, before)
    with steer(model, SteeringVector(some_vector().values, 1), operation=lambda h, v: h - v):
        minus = logits(model, IDS)
    with steer(model, some_vector(), -1.0):
        close(logits(model, IDS), minus)


@pytest.mark.parametrize(
    "wrong, got",
    [
        (lambda h, v: None, "NoneType"),
        (lambda h, v: (h,), "tuple"),
        (lambda h, v: h.detach().numpy(), "ndarray"),
        (lambda h, v: h[:, :1], "2, 1, 32"),
        (lambda h, v: v, "32,"),
    ],
)
def test_an_operation_must_return_all_of_h(model, wrong, got):
    before = logits(model, IDS)
    with (
        pytest.raises(
            ValueError, match=rf"the operation gave .?{got}.?: it must return all of h, \(2, 6, 32\)"
        ),
        steer(model, some_vector(), operation=wrong),
    ):
        logits(model, IDS)
    assert torch.equal(logits(model, IDS), before)
