"""Which device and precision there are, and which of them a run gets."""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from droplab.errors import DeviceError
from droplab.train.outcome import Way


def resolve_way(device: str = "auto", precision: str = "auto") -> Way:
    """Decide how runs are executed on this machine.

    Args:
        device: `auto` (a GPU where there is one), `cpu` or `cuda`.
        precision: `auto` (bf16 where the device has bf16 matrix units), `fp32` or `bf16`.

    Raises:
        DeviceError: if the device is not there, or bf16 is asked of one that would have to emulate it.
    """
    cuda = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device must be auto, cpu or cuda; found {device!r}.")
    if precision not in ("auto", "fp32", "bf16"):
        raise DeviceError(f"precision must be auto, fp32 or bf16; found {precision!r}.")
    if device == "cuda" and not cuda:
        raise DeviceError(
            "device=cuda needs an NVIDIA GPU that this PyTorch can use; found none. Use --device cpu, or a CUDA build "
            f"of PyTorch (this is {torch.__version__})."
        )
    chosen: Literal["cpu", "cuda"] = "cuda" if cuda and device != "cpu" else "cpu"
    units = has_bf16_units(chosen)
    if precision == "bf16" and not units:
        raise DeviceError(f"precision=bf16 needs bf16 matrix units; this {chosen} has none. Use --precision fp32.")
    return Way(chosen, "bf16" if units and precision != "fp32" else "fp32")


@cache
def has_bf16_units(device: str) -> bool:
    """Whether bf16 products run in hardware: tensor cores on a GPU, AMX or AVX512-BF16 on a CPU."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16"})


@cache
def cpu_flags() -> frozenset[str]:
    """What the processor says it can do; empty where the system does not tell."""
    return frozenset(_cpuinfo("flags").split())


def device_name(device: str) -> str:
    """The processor or GPU as its maker calls it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def environment(device: str) -> dict[str, Any]:
    """Where a run is trained: device, threads, versions."""
    from droplab import __version__

    return {
        "droplab": __version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: given back to the system, it is faulted in again by the next (docs/log.md)."""
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            library.mallopt(parameter, 1 << 30)


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
