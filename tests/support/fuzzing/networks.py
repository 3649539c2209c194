"""Mutations of networks: ncnn's .param, ONNX, and the archives of torch and safetensors."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.blobs import edit_bytes, rewrite
from fuzzing.trees import edit_tree
from fuzzing.values import CANARY, hostile_number, hostile_text

__all__ = ["edit_archive", "edit_onnx", "edit_param", "edit_safetensors", "edit_state_dict"]

_LAYER_TYPES = ("ReLU", "Noop", "Slice", "Convolution", "Reshape", "SDPA", "LSTM", "Crop", "Concat")


def edit_param(rng: Random, path: Path) -> str:
    """Change tokens of a ``.param`` file: counts, layer types, blobs, parameters, arrays."""
    lines = [line.split() for line in path.read_text().splitlines()]
    said = []
    for _ in range(rng.choice((1, 1, 2))):
        number = rng.randrange(len(lines))
        line = lines[number]
        kind = rng.choice(("token", "token", "value", "value", "type", "drop", "swap", "counts"))
        if kind == "drop" and len(lines) > 3:
            del lines[number]
        elif kind == "swap":
            other = rng.randrange(len(lines))
            lines[number], lines[other] = lines[other], lines[number]
        elif kind == "type" and line:
            line[0] = rng.choice(_LAYER_TYPES)
        elif kind == "counts":
            number, line = 1, lines[1]
            line[rng.randrange(len(line))] = str(hostile_number(rng))
        elif kind == "value" and any("=" in token for token in line):
            at = rng.choice([i for i, token in enumerate(line) if "=" in token])
            key, _, value = line[at].partition("=")
            items = value.split(",")
            items[rng.randrange(len(items))] = str(hostile_number(rng))
            line[at] = f"{key}={','.join(items)}"
        elif line:
            at = rng.randrange(len(line))
            line[at] = rng.choice((str(hostile_number(rng)), hostile_text(rng), "in0", "out0"))
        shown = " ".join(lines[number])[:60] if number < len(lines) else ""
        said.append(f"line {number + 1} ({kind}) {shown!r}")
    rewrite(path, "\n".join(map(" ".join, lines)) + "\n")
    return "; ".join(said)


def edit_onnx(rng: Random, path: Path) -> str:
    """Change the fields of an ONNX model: nodes, shapes, weights, external data, metadata."""
    import onnx

    model = onnx.load_model_from_string(path.read_bytes())
    said = rng.choice(_ONNX_EDITS)(rng, model)
    rewrite(path, model.SerializeToString())
    return said


def _onnx_operator(rng: Random, model: Any) -> str:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(("Loop", "If", "Identity", "Reshape", "LSTM", "Tile", "PyOp", "Scan"))
    node.domain = rng.choice(("", "", "ai.onnx.ml", "com.acme", "com.microsoft"))
    return f"{node.name} is {node.domain}:{node.op_type}"


def _onnx_wiring(rng: Random, model: Any) -> str:
    node = rng.choice(model.graph.node)
    if node.input:
        other = rng.choice(model.graph.node)
        node.input[rng.randrange(len(node.input))] = rng.choice((*other.output, "", "nowhere"))
    return f"{node.name} reads something else"


def _onnx_external(rng: Random, model: Any) -> str:
    tensor = rng.choice(model.graph.initializer)
    places = (
        "../secret.txt",
        "/etc/passwd",
        "/dev/zero",
        "tokens.txt",
        "not-there",
        "../../x",
        ".",
    )
    place = rng.choice(places)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in (("location", place), ("offset", rng.choice(("0", "-1", str(2**63))))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return f"{tensor.name} lies in {place}"


def _onnx_weights(rng: Random, model: Any) -> str:
    tensor = rng.choice(model.graph.initializer)
    kind = rng.choice(("shape", "type", "content", "name", "drop"))
    if kind == "shape":
        number = rng.choice((0, -1, 1, 2**31, 2**62))
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = number
        else:
            tensor.dims.append(number)
    elif kind == "type":
        tensor.data_type = rng.choice((0, 1, 2, 7, 8, 9, 10, 16, 99))
    elif kind == "content":
        tensor.raw_data = rng.choice((b"", tensor.raw_data[:-3], b"\xff" * len(tensor.raw_data)))
    elif kind == "name":
        tensor.name = _plain(hostile_text(rng))
    else:
        model.graph.initializer.remove(tensor)
    return f"weights: {kind}"


def _onnx_interface(rng: Random, model: Any) -> str:
    value = rng.choice((*model.graph.input, *model.graph.output))
    kind = rng.choice(("name", "type", "shape", "shape", "rank"))
    tensor = value.type.tensor_type
    if kind == "name":
        value.name = _plain(hostile_text(rng))
    elif kind == "type":
        tensor.elem_type = rng.choice((0, 6, 7, 8, 10, 11, 77))
    elif kind == "shape" and tensor.shape.dim:
        dim = rng.choice(tensor.shape.dim)
        dim.dim_value = rng.choice((0, -1, 1, 2**31, 2**62))
    else:
        tensor.shape.dim.add().dim_value = 3
    return f"interface: {value.name[:20]!r} {kind}"


def _onnx_attribute(rng: Random, model: Any) -> str:
    nodes = [node for node in model.graph.node if node.attribute]
    node = rng.choice(nodes)
    attribute = rng.choice(node.attribute)
    number = rng.choice((0, -1, 7, 2**31, 2**62))
    attribute.i = number
    for index in range(len(attribute.ints)):
        attribute.ints[index] = number
    return f"{node.op_type}.{attribute.name} = {number}"


def _onnx_metadata(rng: Random, model: Any) -> str:
    kind = rng.choice(("value", "value", "key", "opset", "ir", "more"))
    if kind == "opset":
        model.opset_import[0].version = rng.choice((0, -1, 5, 99, 2**62))
    elif kind == "ir":
        model.ir_version = rng.choice((0, -1, 99, 2**40))
    elif kind == "more" or not model.metadata_props:
        entry = model.metadata_props.add()
        entry.key, entry.value = _plain(hostile_text(rng)), _plain(hostile_text(rng))
    else:
        entry = rng.choice(model.metadata_props)
        if kind == "key":
            entry.key = _plain(hostile_text(rng))
        else:
            entry.value = rng.choice((_plain(hostile_text(rng)), str(hostile_number(rng))))
    return f"metadata: {kind}"


_ONNX_EDITS = (
    *(_onnx_operator, _onnx_wiring, _onnx_external, _onnx_external),
    *(_onnx_weights, _onnx_interface, _onnx_attribute, _onnx_metadata),
)


def _plain(text: str) -> str:
    """Protocol buffers hold no lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def edit_archive(rng: Random, path: Path) -> str:
    """Change a member of one of torch's zip archives, TorchScript's or a checkpoint's."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    small = [name for name in members if "/data/" not in name]
    name = rng.choice((rng.choice(sorted(members)), rng.choice(sorted(small))))
    kind = rng.choice(("content", "content", "drop", "rename", "swap", "code", "code"))
    code = [one for one in members if one.endswith(".py")]
    if kind == "code" and code:
        name = rng.choice(sorted(code))
        members[name] = _edit_code(rng, members[name])
    elif kind == "drop":
        del members[name]
    elif kind == "rename":
        other = rng.choice((_plain(hostile_text(rng)), f"{name}x", f"x/../{name}", "../" + CANARY))
        members[other.replace("\x00", "") or "empty"] = members.pop(name)
    elif kind == "swap":
        other = rng.choice(sorted(members))
        members[name], members[other] = members[other], members[name]
    else:
        part = path.with_name("member")
        part.write_bytes(members[name])
        kind = edit_bytes(rng, part)
        members[name] = part.read_bytes()
        part.unlink()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    rewrite(path, stream.getvalue())
    return f"{name}: {kind}"


def _edit_code(rng: Random, content: bytes) -> bytes:
    lines = content.decode().splitlines(keepends=True)
    bodies = [i for i, line in enumerate(lines) if line.rstrip().endswith(":")]
    at = rng.choice(bodies or [0])
    kind = rng.choice(("save", "endless", "drop", "raise", "recursion"))
    if kind == "drop":
        del lines[rng.randrange(len(lines))]
    else:
        line = {
            "save": f'    torch.save([1], "{CANARY}")\n',
            "endless": "    while True:\n      _0 = 1\n",
            "raise": '    ops.prim.RaiseException("\\x1b[31mraised")\n',
            "recursion": "    _0 = self.forward(x, )\n",
        }[kind]
        lines.insert(at + 1, line)
    return "".join(lines).encode()


def edit_safetensors(rng: Random, path: Path) -> str:
    """Change the JSON header of a safetensors file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, said = edit_tree(rng, json.loads(content[8 : 8 + size]))
    text = json.dumps(header).encode()
    length = rng.choice((len(text), len(text), len(text), 2**63, 10**12, 0))
    rewrite(path, length.to_bytes(8, "little") + text + content[8 + size :])
    return f"header: {said}; length {length}"


def edit_state_dict(rng: Random, path: Path) -> str:
    """Change the entries of a checkpoint: tensors of odd kinds, other values, other names."""
    import torch

    content = torch.load(path, weights_only=True)
    weights = content["model"]
    name = rng.choice(sorted(weights))
    said, make = rng.choice(_TENSORS)
    weights[name] = make(rng, weights[name])
    if rng.random() < 0.2:
        content[_plain(hostile_text(rng))] = hostile_number(rng)
    if rng.random() < 0.2:
        weights[_plain(hostile_text(rng))] = weights.pop(name)
    legacy = rng.random() < 0.3
    path.unlink()
    try:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    except (RuntimeError, NotImplementedError):  # the old format lacks some kinds of tensors
        torch.save(content, path)
    return f"{name}: {said}{', legacy format' if legacy else ''}"


def _quantized(rng: Random, tensor: Any) -> Any:
    import torch

    return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)


def _typed(rng: Random, tensor: Any) -> Any:
    import torch

    kinds = ("complex64", "bool", "int64", "uint8", "float16", "bfloat16", "float64", "int8")
    return tensor.to(getattr(torch, rng.choice(kinds)))


def _filled(rng: Random, tensor: Any) -> Any:
    return tensor.float().clone().fill_(float(rng.choice((0.0, 1e30, float("nan"), float("inf")))))


_TENSORS = (
    ("another dtype", _typed),
    ("filled", _filled),
    ("sparse", lambda rng, tensor: tensor.to_sparse()),
    ("meta", lambda rng, tensor: tensor.to("meta")),
    ("quantized", _quantized),
    (
        "huge by strides",
        lambda rng, tensor: tensor.reshape(-1)[:1].expand(rng.choice((2**24, 2**40))),
    ),
    ("one dimension more", lambda rng, tensor: tensor[None]),
    ("transposed", lambda rng, tensor: tensor.transpose(0, -1) if tensor.dim() else tensor),
    ("shorter", lambda rng, tensor: tensor[: len(tensor) // 2] if tensor.dim() else tensor),
    ("empty", lambda rng, tensor: tensor.reshape(-1)[:0]),
    ("a number", lambda rng, tensor: hostile_number(rng)),
    ("a text", lambda rng, tensor: hostile_text(rng)),
    ("a list", lambda rng, tensor: [tensor, None]),
    ("None", lambda rng, tensor: None),
)
