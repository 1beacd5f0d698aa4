"""The page that lies with exported files: what each is, and the command that uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from coevo.accelerator.system import System
from coevo.design import EXTRAS
from coevo.export.chosen import Chosen

_ABOUT: Mapping[str, str] = {
    "design.yaml": """\
`design.yaml`: the whole design: choices, machine, layers, mappings, and what the run found.

    coevo evaluate design.yaml""",
    "accelerator": """\
`{file}`: the machine{target}, an accelerator template without `vary`. Its mappings are searched anew here, by the
objective of the run:

    coevo evaluate design.yaml --accelerator {file}{options}""",
    "mapping": """\
`{file}`: the mapping of every layer{target}.{scored}""",
    "weights.safetensors": """\
`weights.safetensors`: the weights, in the names of `model.py`{rounded}.

    from safetensors.torch import load_file
    tensors = load_file("weights.safetensors")""",
    "model.py": """\
`model.py`: the network as a file of torch, without coevo. It reads `weights.safetensors` beside it.

    python model.py
    python -c "import model; network = model.load(); print(network)"

Images go in normalised: `network(model.normalised(images))`.""",
    "model.onnx": """\
`model.onnx`: the network for ONNX Runtime and compilers ({integers}).
Input `images` (batch, {input}), normalised by the mean and standard deviation that stand in the model's metadata;
output `logits` (batch, class). On 64 random images its logits were those of the module in torch, to 1e-4 of the
largest{ties}.{again}""",
}


def readme(chosen: Chosen, files: Sequence[str]) -> str:
    """Returns the page as Markdown.

    Args:
        chosen: The design.
        files: Names of what was written.
    """
    parts = [f"# {chosen.title}", "\n".join(_figures(chosen))]
    if any(file in ("weights.safetensors", "model.onnx") for file in files):
        parts.append(f"Network: {chosen.trained.says}.")
    parts += _deployed(chosen)
    parts += [text for file in files for text in _paragraph(chosen, file, files)]
    if any(file.startswith("timeloop/") for file in files):
        parts.append("`timeloop`: every layer as input of Timeloop; a page of its own says how to run it.")
    return "\n\n".join(parts) + "\n"


def _figures(chosen: Chosen) -> Iterator[str]:
    """A line per metric of the run."""
    yield "What the run found:\n"
    known = {**chosen.design.evaluation.metrics, **chosen.design.extras}
    quantities = {**chosen.results.quantities, **{quantity.column: quantity for quantity in EXTRAS}}
    for column, value in known.items():
        yield f"- {quantities[column].label}: {value:.6g}"


def _deployed(chosen: Chosen) -> Iterator[str]:
    deployment = chosen.run.sources.deployment
    if deployment is not None:
        pixels = f"{deployment.channels} x {deployment.resolution} x {deployment.resolution}"
        yield (
            f"The hardware's figures, layers and mappings are of the network deployed for images of {pixels} and "
            f"{deployment.classes} classes; the weights are for the data that it was trained on."
        )


def _paragraph(chosen: Chosen, file: str, files: Sequence[str]) -> Iterator[str]:
    """What a file is; nothing of one that says so itself."""
    stem, _, label = file.removesuffix(".yaml").partition("-")
    text = _ABOUT.get(file, _ABOUT.get(stem))
    if text is None:
        return
    graph = chosen.trained.graph if file in ("weights.safetensors", "model.onnx") else None
    bits = any(getattr(node, "bits", None) for node in graph.nodes) if graph is not None else False
    yield text.format(
        file=file,
        target=f" of the target {label}" if label else "",
        options=_options(chosen),
        scored=_scored(chosen, file, label),
        rounded=", as they are after rounding" if bits else "",
        integers="bit widths as QuantizeLinear and DequantizeLinear" if bits else "float32",
        input=" x ".join(map(str, graph.input)) if graph is not None else "",
        ties=", save where a value lies between two steps" if bits else "",
        # Read back, a rounded network is in words of the machine's width: another cost.
        again="" if bits or chosen.run.sources.deployment else f"\n\n    {_again(chosen, files)}",
    )


def _scored(chosen: Chosen, file: str, label: str) -> str:
    """What scores mappings; nothing does those of several parts together, whose levels are of one part each."""
    if any(isinstance(machine, System) for machine in chosen.design.design.machines.values()):
        return " Its levels say which part a layer runs on."
    on = f" --accelerator accelerator-{label}.yaml" if label else ""
    return f" It is scored and held against the best one:\n\n    coevo map design.yaml{on} --mapping {file}"


def _again(chosen: Chosen, files: Sequence[str]) -> str:
    """The command that scores the ONNX model on the design's machine."""
    machine = next((file for file in files if file.startswith("accelerator")), chosen.design.design.accelerator.name)
    return f"coevo evaluate --network model.onnx --accelerator {machine}{_options(chosen)}"


def _options(chosen: Chosen) -> str:
    """Options of ``coevo evaluate`` that make its mapper search as the run's did."""
    settings = chosen.run.sources.cost_settings
    objective = settings.get("objective", "edp")
    text = "" if objective == "edp" else f" --objective {objective}"
    if settings.get("assign"):
        text += f" --assign {settings['assign']}"
    return text + (" --keep-on-chip" if settings.get("keep_on_chip") else "")
