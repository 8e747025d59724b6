"""Run a network on one NVIDIA GPU: channels-last convolutions on tensor cores, replayed as one CUDA graph."""

from __future__ import annotations

import torch
from torch import nn

from mdcsrn.inference.backends.base import Backend, Job, Runner, Tensors, as_tuple
from mdcsrn.inference.backends.eager import channels_last, last
from mdcsrn.networks.precision import autocast


class CudaBackend(Backend):
    """bfloat16 autocast, or float32 without TF32.

    Args:
        index: of the GPU.
        graphs: record the calls once and replay them, which takes the launches' time off small tiles.
    """

    name = "cuda"

    def __init__(self, index: int = 0, graphs: bool = True) -> None:
        self.device = torch.device("cuda", index)
        self.graphs = graphs

    def available(self) -> str | None:
        """A GPU that this torch can use."""
        if not torch.cuda.is_available():
            built = torch.version.cuda
            return "no CUDA device" if built else "this torch is built without CUDA"
        count = torch.cuda.device_count()
        return None if (self.device.index or 0) < count else f"no GPU {self.device.index}: there are {count}"

    def precisions(self) -> tuple[str, ...]:
        """Bfloat16 from compute capability 8.0 on."""
        fast = self.available() is None and torch.cuda.get_device_capability(self.device) >= (8, 0)
        return ("bfloat16", "float32") if fast else ("float32",)

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        # Results and states stay on the GPU.
        network = channels_last(module).to(self.device)

        @torch.inference_mode()
        def run(inputs: Tensors) -> Tensors:
            # TF32 keeps 10 bits of float32's 23: not what is asked for.
            with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
                with autocast("cuda", job.precision):
                    result = as_tuple(network(*(last(tensor.to(self.device)) for tensor in inputs)))
                return (result[0].float(), *result[1:])

        return self._graph(run, job.example) if self.graphs else run

    @torch.inference_mode()
    def _graph(self, run: Runner, example: Tensors) -> Runner:
        """Record `run` on fixed buffers; the caller's tensors are copied into them before each replay."""
        fixed = tuple(last(torch.zeros(tensor.shape, device=self.device)) for tensor in example)
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):  # cuDNN chooses its algorithms before anything is recorded
            for _ in range(3):
                run(fixed)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = run(fixed)

        @torch.inference_mode()
        def replay(inputs: Tensors) -> Tensors:
            for buffer, tensor in zip(fixed, inputs, strict=True):
                buffer.copy_(tensor, non_blocking=True)
            graph.replay()
            return tuple(result.clone() for result in results)

        return replay
