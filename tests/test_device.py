"""Which device and precision a run gets, and what is refused."""

import pytest
import torch

from droplab.errors import DeviceError
from droplab.train import device
from droplab.train.device import has_bf16_units, resolve_way
from droplab.train.outcome import Way


@pytest.fixture
def no_bf16(monkeypatch):
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"avx2"}))
    has_bf16_units.cache_clear()
    yield
    has_bf16_units.cache_clear()


def test_bf16_is_used_only_where_the_processor_has_units(no_bf16):
    assert resolve_way("cpu", "auto") == Way("cpu", "fp32")
    with pytest.raises(DeviceError, match="needs bf16 matrix units"):
        resolve_way("cpu", "bf16")


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16"])
def test_auto_takes_bf16_where_there_are_units(flag, monkeypatch):
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({flag}))
    has_bf16_units.cache_clear()
    try:
        assert resolve_way("cpu", "auto") == Way("cpu", "bf16")
        assert resolve_way("cpu", "fp32") == Way("cpu", "fp32")
    finally:
        has_bf16_units.cache_clear()


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
        resolve_way("cuda", "fp32")
    assert resolve_way("auto", "fp32").device == "cpu"


@pytest.mark.parametrize(("where", "precision"), [("tpu", "auto"), ("cpu", "fp16")])
def test_unknown_names_are_refused_with_what_was_found(where, precision):
    with pytest.raises(DeviceError, match=r"must be .*; found"):
        resolve_way(where, precision)
