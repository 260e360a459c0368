"""Classifiers that were trained elsewhere become served models, held against the file that they came from.

Nothing but the `torch_` modules imports torch, and nothing rich: an ONNX file is imported with onnx, onnxruntime, numpy
and Pillow alone.

    sources         what a source is: an ONNX file, a checkpoint with its network, a folder; each becomes an OnnxFile
    contract        what a source says of its images and labels: `hub_folder`, `processor` (Hugging Face's JSON),
                    `timm_config`, `ultralytics`
    torch_module    a PyTorch network as the original: exported, and asked for the answers to compare with
    torch_checkpoint, torch_folder    the network of a file of weights, and of a folder as Hugging Face has it
    onnx_file       a file read, whole and small enough; what else a file may be (`file_kind`)
    signature       which input and output, what layout, type and size
    preset          what the original did to pixels; `resizing` how images come to its size
    labels          names of the outputs; `thresholds` of independent ones
    original        the file as it is, run by onnxruntime on prepared images
    activation      what is put behind the outputs, so that they are probabilities
    graph           uint8 images in, probabilities out, around the network
    batch           its batch axis made dynamic, with `constants`
    samples         images to compare on, given or made; `sample_table` reads a CSV of them
    proof           what was compared, and what came out
    check           the usual mistakes, side by side
    description     what the model says of itself
    variants        int8 and float16 ones; `card` MODEL_CARD.md of all
    command         all of it in order: `covey-export import`; `lines` what it prints
"""
