"""The real libraries, asked in the environment that holds them: `.venv-bench/bin/python peers.py make|read FOLDER`.

make: every autoencoder that they can save and we can read, saved by the library itself into FOLDER/made/<case>, and
beside it what the library, having loaded that again, makes of FOLDER's activations.
read: the same of every checkpoint in FOLDER/written/<library>/<case>, which we wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import sae_lens
import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import load_file, save_file
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor, nn

D_MODEL, N_LATENTS, K = 64, 512, 16

Outputs = dict[str, Tensor]
Case = Callable[[Path, Tensor], Outputs]


def fill_(module: nn.Module, seed: int = 0) -> None:
    """Random weights, every bias and row norm different, so that none can be forgotten unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            size = 1 / D_MODEL**0.5 if parameter.ndim == 2 else 0.3
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
            if name == "threshold":
                parameter.abs_().add_(0.5)
        for name, buffer in module.named_buffers():
            if name == "threshold":
                buffer.fill_(0.9)


# SAELens -----------------------------------------------------------------------------------------------------------


def sae_lens_case(config: type, factor: float | None = None, **settings: object) -> Case:
    def make(folder: Path, acts: Tensor) -> Outputs:
        sae = sae_lens.SAE.get_sae_class_for_architecture(config.architecture())(
            config(d_in=D_MODEL, d_sae=N_LATENTS, **settings)
        )
        fill_(sae)
        sae.save_model(folder)
        if factor is None:
            return sae_lens_outputs(folder, acts)
        scaler = ActivationScaler(scaling_factor=factor)
        scaler.save(str(folder / "activation_scaler.json"))
        outputs = sae_lens_outputs(folder, scaler.scale(acts))
        return outputs | {"recon": scaler.unscale(outputs["recon"])}

    return make


def sae_lens_batch_topk(folder: Path, acts: Tensor) -> Outputs:
    """Its training class saves itself for inference, as jumprelu."""
    config = sae_lens.BatchTopKTrainingSAEConfig(d_in=D_MODEL, d_sae=N_LATENTS, k=K)
    sae = sae_lens.BatchTopKTrainingSAE(config)
    fill_(sae)
    sae.topk_threshold.fill_(0.9)
    sae.save_inference_model(folder)
    return sae_lens_outputs(folder, acts)


def sae_lens_outputs(folder: Path, acts: Tensor) -> Outputs:
    sae = sae_lens.SAE.load_from_disk(folder)
    latents = sae.encode(acts)
    return {"latents": latents, "recon": sae.decode(latents)}


# sparsify ----------------------------------------------------------------------------------------------------------


def sparsify_topk(folder: Path, acts: Tensor) -> Outputs:
    coder = SparseCoder(D_MODEL, SparseCoderConfig(num_latents=N_LATENTS, k=K))
    fill_(coder)
    coder.save_to_disk(folder)
    return sparsify_outputs(folder, acts)


def sparsify_outputs(folder: Path, acts: Tensor) -> Outputs:
    coder = SparseCoder.load_from_disk(folder)
    values, indices, _ = coder.encode(acts)
    latents = torch.zeros(len(acts), coder.num_latents).scatter(1, indices, values)
    return {"latents": latents, "recon": coder.decode(values, indices)}


# dictionary_learning -----------------------------------------------------------------------------------------------


def dictionary_learning_case(make_module: Callable[[], nn.Module], **trainer: object) -> Case:
    def make(folder: Path, acts: Tensor) -> Outputs:
        module = make_module()
        fill_(module)
        torch.save(module.state_dict(), folder / "ae.pt")
        (folder / "config.json").write_text(
            json.dumps({"trainer": {"dict_class": type(module).__name__, **trainer}, "buffer": {}})
        )
        return dictionary_learning_outputs(folder, acts)

    return make


def dictionary_learning_outputs(folder: Path, acts: Tensor) -> Outputs:
    dictionary, _ = load_dictionary(str(folder), "cpu")
    latents = dictionary.encode(acts)
    return {"latents": latents, "recon": dictionary.decode(latents)}


# All of them -------------------------------------------------------------------------------------------------------


OUTPUTS = {
    "sae_lens": sae_lens_outputs,
    "sparsify": sparsify_outputs,
    "dictionary_learning": dictionary_learning_outputs,
}

CASES: dict[str, dict[str, Case]] = {
    "sae_lens": {
        "topk": sae_lens_case(sae_lens.TopKSAEConfig, k=K),
        "topk_rescaled": sae_lens_case(sae_lens.TopKSAEConfig, k=K, rescale_acts_by_decoder_norm=True),
        "topk_uncentred": sae_lens_case(sae_lens.TopKSAEConfig, k=K, apply_b_dec_to_input=False),
        "topk_layer_norm": sae_lens_case(sae_lens.TopKSAEConfig, k=K, normalize_activations="layer_norm"),
        "topk_rms": sae_lens_case(sae_lens.TopKSAEConfig, k=K, normalize_activations="constant_norm_rescale"),
        "topk_factor": sae_lens_case(
            sae_lens.TopKSAEConfig, 0.3, k=K, normalize_activations="expected_average_only_in"
        ),
        "standard": sae_lens_case(sae_lens.StandardSAEConfig, normalize_activations="layer_norm"),
        "jumprelu": sae_lens_case(sae_lens.JumpReLUSAEConfig),
        "jumprelu_uncentred": sae_lens_case(sae_lens.JumpReLUSAEConfig, apply_b_dec_to_input=False),
        "gated": sae_lens_case(sae_lens.GatedSAEConfig),
        "gated_uncentred": sae_lens_case(sae_lens.GatedSAEConfig, apply_b_dec_to_input=False),
        "batch_topk": sae_lens_batch_topk,
    },
    "sparsify": {"topk": sparsify_topk},
    "dictionary_learning": {
        "topk": dictionary_learning_case(lambda: AutoEncoderTopK(D_MODEL, N_LATENTS, K), k=K),
        "batch_topk": dictionary_learning_case(lambda: BatchTopKSAE(D_MODEL, N_LATENTS, K), k=K),
        "matryoshka": dictionary_learning_case(
            lambda: MatryoshkaBatchTopKSAE(D_MODEL, N_LATENTS, K, [64, 128, 320]), k=K
        ),
        "relu": dictionary_learning_case(lambda: AutoEncoder(D_MODEL, N_LATENTS)),
        "relu_new": dictionary_learning_case(lambda: AutoEncoderNew(D_MODEL, N_LATENTS)),
        "gated": dictionary_learning_case(lambda: GatedAutoEncoder(D_MODEL, N_LATENTS)),
        "jumprelu": dictionary_learning_case(lambda: JumpReluAutoEncoder(D_MODEL, N_LATENTS)),
    },
}


@torch.no_grad()
def main(task: str, folder: Path) -> None:
    """See the module's docstring."""
    acts = load_file(folder / "acts.safetensors")["acts"]
    for library, cases in CASES.items():
        if task == "make":
            for case, make in cases.items():
                room = folder / "made" / library / case
                room.mkdir(parents=True)
                write(room, make(room, acts))
        else:
            for room in sorted((folder / "written" / library).glob("*")):
                write(room, OUTPUTS[library](room, acts))


def write(room: Path, outputs: Outputs) -> None:
    save_file({name: tensor.contiguous() for name, tensor in outputs.items()}, room / "outputs.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
