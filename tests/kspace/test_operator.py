"""Laws that every linear operator keeps: Moore-Penrose, projection, certificate."""

from __future__ import annotations

import json

import pytest
import torch

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import (
    AxisMeasurement,
    Certificate,
    DegradationOperator,
    DegradationSpec,
    LinearOperator,
    Measurement,
    MeasurementCertificate,
    certify,
    degrade,
    find_window,
    project,
    window_names,
)

SHAPE = (9, 12, 14)
OPERATORS = {
    **{
        f"{name}, {grid}": DegradationOperator(DegradationSpec((1, 2, 1.5), name, grid=grid), SHAPE)
        for name in window_names()
        for grid in ("reference", "acquired")
    },
    "nothing reduced": DegradationOperator(DegradationSpec((1, 1, 1)), SHAPE),
    "matrix": Measurement((AxisMeasurement(9, 9), AxisMeasurement(12, 6), AxisMeasurement(14, 9))),
    "slices": Measurement((AxisMeasurement(9, 9), AxisMeasurement(12, 7), AxisMeasurement(14, 7, "gaussian", 1.1))),
}
EXACT = [name for name, a in OPERATORS.items() if isinstance(a, Measurement) or find_window(a.spec.window).is_binary]


def image(seed, shape=SHAPE):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(one, other, atol=1e-10):
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_it_is_linear_and_keeps_the_protocol(name):
    operator = OPERATORS[name]
    assert isinstance(operator, LinearOperator)
    x, y = image(1), image(2)
    close(operator.forward(2 * x - 3 * y), 2 * operator.forward(x) - 3 * operator.forward(y))
    u, v = operator.forward(x), operator.forward(y)
    close(operator.pseudo_inverse(u + 2 * v), operator.pseudo_inverse(u) + 2 * operator.pseudo_inverse(v))
    assert operator.forward(x.float()).dtype == operator.pseudo_inverse(u.float()).dtype == torch.float32
    assert float(operator.forward(torch.full(SHAPE, 7.0)).mean()) == pytest.approx(7, rel=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_pseudo_inverse_laws(name):
    operator = OPERATORS[name]
    y = operator.forward(image(1))
    inverse = operator.pseudo_inverse(y)
    close(operator.pseudo_inverse(operator.forward(inverse)), inverse)  # A+ A A+ = A+
    x, z = image(2), image(3)
    onto = [operator.pseudo_inverse(operator.forward(v)) for v in (x, z)]
    assert float((onto[0] * z).sum()) == pytest.approx(float((x * onto[1]).sum()), abs=1e-9)  # A+ A is self-adjoint
    if name in EXACT:  # where no weight lies below the threshold
        close(operator.forward(inverse), y)  # A A+ A = A


@pytest.mark.parametrize("name", OPERATORS)
def test_projection_is_the_correction_by_the_pseudo_inverse(name):
    operator = OPERATORS[name]
    x, y = image(2), operator.forward(image(1))
    projected = operator.project(x, y)
    close(projected, x + operator.pseudo_inverse(y) - operator.pseudo_inverse(operator.forward(x)))
    close(operator.project(projected, y), projected)
    certificate = operator.certify(projected, y)
    assert certificate.relative_error < 1e-10
    assert operator.certify(x, y).relative_error > 0.1
    assert 0 < certificate.bound_share <= 1
    assert json.loads(json.dumps(certificate.to_dict())) == certificate.to_dict()
    assert list(certificate.to_dict())[:2] == ["relative_error", "bound_share"]


@pytest.mark.parametrize("name", OPERATORS)
def test_other_grids_are_refused(name):
    operator = OPERATORS[name]
    other = image(1, (9, 12, 15))
    for call in (operator.forward, operator.pseudo_inverse):
        with pytest.raises(GeometryError):
            call(other)
    for call in (operator.project, operator.certify):
        with pytest.raises(GeometryError):
            call(other, operator.forward(image(1)))
    with pytest.raises(GeometryError, match="batch or channels"):
        operator.certify(torch.stack([image(1), image(2)]), operator.forward(image(1)))


@pytest.mark.parametrize("kind", window_names())
def test_functions_are_the_operator(kind):
    spec = DegradationSpec((1, 2, 1.5), kind, noise=0.01)
    x, y = image(2).float(), degrade(image(1).float(), spec)
    operator = DegradationOperator(spec, SHAPE, 0.3)
    assert torch.equal(project(x, y, spec, 0.3), operator.project(x, y))
    assert certify(x, y, spec, 0.3) == operator.certify(x, y)


def test_record_keys_of_both_operators():
    x = image(1)
    spec, matrix = OPERATORS["box, reference"], OPERATORS["matrix"]
    assert list(spec.certify(x, spec.forward(x)).to_dict()) == [
        "relative_error", "bound_share", "threshold", "noisy", "spec_sha256",
    ]  # fmt: skip
    assert list(matrix.certify(x, matrix.forward(x)).to_dict()) == [
        "relative_error", "bound_share", "result_shape", "measured_shape", "kinds",
    ]  # fmt: skip
    assert MeasurementCertificate is Certificate


def test_an_operator_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="partial Fourier"):
        DegradationOperator(DegradationSpec(partial_fourier=(1, 1, 0.75)), SHAPE)
    with pytest.raises(ConfigError, match="threshold"):
        DegradationOperator(DegradationSpec(), SHAPE, 0.0)
