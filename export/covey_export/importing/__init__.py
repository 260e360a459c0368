"""Turns classifiers that were trained elsewhere into served models, and proves that they compute what the original
does.

Nothing but the `torch_` modules imports torch, and nothing rich: an ONNX file is imported with onnx, onnxruntime, numpy
and Pillow alone.

    command     all of it in order: `covey import`; `options`, `command_line`; `lines` what it prints
    sources/    `reading`: an ONNX file (`onnx_file`, and what else a file may be: `file_kind`), a checkpoint with its
                network (`torch_checkpoint`), a folder (`hub_folder`, `torch_folder`); each becomes an OnnxFile, and a
                `contract`: what it says of images and labels (`processor`, `timm_config`, `ultralytics`)
    settings/   `choices`: what is done to pixels (`preset`, `resizing`); names of the outputs (`labels`); what is put
                behind the outputs, so that they are probabilities (`activation`), and `thresholds`
    graphs/     `signature`: which input and output; `graph`: uint8 images in, probabilities out, around the network;
                `batch`: its batch axis made dynamic; `original_path`: how it runs from its own input
    proving/    `original`: the source as it is; `samples`: the images; `proof`: what was compared, and what came out;
                `check`: the usual mistakes, side by side; `variants`: int8 and float16 ones
    description, card    what the model says of itself, for servers and for people
"""
