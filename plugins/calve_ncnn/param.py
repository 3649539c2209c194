"""ncnn's ``.param`` text format: one layer of the network per line.

The format is documented at https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure:

    7767517                                             magic number
    3 3                                                 layers, blobs
    Input      in0       0 1 in0                        type name inputs outputs blobs... id=value
    Gemm       gemm_0    1 1 in0 1 10=4 -23303=2,1,0    an array: -23300 - id, its length, its items
    Reshape    reshape_0 1 1 1 out0 6="512,0c"          text, in quotes since 2025

Reading and writing again gives the same bytes for every file that pnnx or ncnn's tools write: a
number keeps the spelling it was read with.

A file from elsewhere may hold anything. What ncnn itself cannot hold is refused here: integers of
more than 32 bits, floats that are NaN or infinite, parameters other than 0 to 31, and names of more
than 255 bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from calve.api import BundleError
from calve.common.files import atomic_file
from calve.common.inputs import read_bytes
from calve.common.printable import shortened
from calve.common.ranges import Range

__all__ = [
    "IDENTIFIERS",
    "INTEGERS",
    "MAGIC",
    "Layer",
    "ParamError",
    "ParamFile",
    "Parameter",
    "Value",
]

MAGIC = 7767517
_ARRAY_BASE = -23300
_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*")+')
_INTEGER = re.compile(r"[+-]?[0-9]+")
_COUNT = re.compile(r"[0-9]{1,9}")
_LONGEST_NAME = 255
_LONGEST_INTEGER = 64
_LARGEST_FILE = 64 * 2**20

INTEGERS = Range(-(2**31), 2**31 - 1)
"""What an integer parameter can be: ncnn stores it in 32 bits."""

IDENTIFIERS = Range(0, 31)
"""The numbers of parameters."""

Value = int | float | str | tuple[int | float, ...]
"""What a parameter can hold; an array mixes integers and floats only in broken files."""


class ParamError(BundleError):
    """A ``.param`` file that ncnn would misread.

    Attributes:
      code: The finding's short name that `calve lint` reports.
    """

    def __init__(self, what: str, *, code: str, where: str, fix: str) -> None:
        self.code = code
        super().__init__(what, where=where, fix=fix)


@dataclass(frozen=True)
class Parameter:
    """One ``id=value`` of a layer.

    Attributes:
      id: The layer type's parameter number, 0 to 31 (arrays too: the -23300 is not part of it).
      value: An array is a tuple; text has its quotes removed.
      spelling: The text as in the file, for example ``-23303=1,0`` or ``2=2.500000e-01``.
    """

    id: int
    value: Value
    spelling: str = field(compare=False)

    @classmethod
    def of(cls, identifier: int, value: Value) -> Parameter:
        """A new parameter in ncnn's own spelling."""
        if isinstance(value, tuple):
            items = "".join(f",{_number_text(item)}" for item in value)
            return cls(identifier, value, f"{_ARRAY_BASE - identifier}={len(value)}{items}")
        text = f'"{value}"' if isinstance(value, str) else _number_text(value)
        return cls(identifier, value, f"{identifier}={text}")

    @classmethod
    def parse(cls, text: str) -> Parameter:
        """Read ``id=value``.

        Raises:
          ValueError: with what is wrong, if this is no parameter.
        """
        key, equals, right = text.partition("=")
        if not equals or not _INTEGER.fullmatch(key):
            raise ValueError(f"{shortened(text)} is not 'id=value'")
        number = _integer(key)
        identifier = _ARRAY_BASE - number if number <= _ARRAY_BASE else number
        if identifier not in IDENTIFIERS:
            raise ValueError(f"{shortened(text)} has no parameter's number")
        if number <= _ARRAY_BASE:
            length, *items = right.split(",")
            if not _COUNT.fullmatch(length) or int(length) != len(items):
                raise ValueError(f"{shortened(text)} has {len(items)} items and says otherwise")
            return cls(identifier, tuple(_number(item) for item in items), text)
        if right[:1] == '"':
            if len(right) < 2 or right[-1] != '"' or '"' in right[1:-1]:
                raise ValueError(f"{shortened(text)} has an unfinished quotation")
            return cls(identifier, right[1:-1], text)
        if right[:1].isalpha():
            return cls(identifier, right, text)
        if "," in right:
            return cls(identifier, tuple(_number(item) for item in right.split(",")), text)
        return cls(identifier, _number(right), text)


@dataclass(frozen=True)
class Layer:
    """One layer: its type, its name, the blobs that it reads and writes, its parameters.

    Attributes:
      line: Line number in the file it came from, 0 for a new layer.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    line: int = field(default=0, compare=False)

    def get(self, identifier: int, default: Value | None = None) -> Value | None:
        """The value of parameter ``identifier``, or the default of the layer type."""
        for parameter in self.parameters:
            if parameter.id == identifier:
                return parameter.value
        return default

    def integer(self, identifier: int, default: int = 0) -> int:
        """Like `get`, for a parameter that must be a whole number.

        Raises:
          ValueError: if the file holds anything else there.
        """
        value = self.get(identifier, default)
        if not isinstance(value, int):
            raise ValueError(
                f"parameter {identifier} of {self.name} is {shortened(value)}, not an integer"
            )
        return value

    def with_parameter(self, identifier: int, value: Value) -> Layer:
        """The same layer with the parameter replaced in place, or appended."""
        new = Parameter.of(identifier, value)
        if any(parameter.id == identifier for parameter in self.parameters):
            kept = tuple(new if old.id == identifier else old for old in self.parameters)
            return replace(self, parameters=kept)
        return replace(self, parameters=(*self.parameters, new))

    def text(self) -> str:
        """The layer's line, columns as wide as pnnx writes them, without the line end."""
        header = f"{self.type:<24} {self.name:<24} {len(self.inputs)} {len(self.outputs)}"
        spellings = (parameter.spelling for parameter in self.parameters)
        return " ".join((header, *self.inputs, *self.outputs, *spellings))

    @classmethod
    def parse(cls, text: str, line: int = 0) -> Layer:
        """Read one line.

        Raises:
          ValueError: with what is wrong, if this is no layer.
        """
        tokens = _TOKEN.findall(text)
        if len(tokens) < 4 or not all(map(_COUNT.fullmatch, tokens[2:4])):
            raise ValueError("a layer is 'type name input-count output-count blobs... id=value...'")
        kind, name = tokens[:2]
        inputs, outputs = 4 + int(tokens[2]), 4 + int(tokens[2]) + int(tokens[3])
        blobs = tokens[4:outputs]
        if len(blobs) < outputs - 4 or any("=" in blob for blob in blobs):
            raise ValueError(
                f"{shortened(name)} says {tokens[2]} inputs and {tokens[3]} outputs, has fewer"
            )
        for word in (kind, name, *blobs):
            if len(word.encode()) > _LONGEST_NAME:
                raise ValueError(f"the name {shortened(word)} has more than {_LONGEST_NAME} bytes")
        parameters = tuple(Parameter.parse(token) for token in tokens[outputs:])
        return cls(
            kind, name, tuple(tokens[4:inputs]), tuple(blobs[inputs - 4 :]), parameters, line
        )


@dataclass(frozen=True)
class ParamFile:
    """A network as its ``.param`` file describes it.

    Attributes:
      layers: In file order, which is the order of execution and of the weights.
      declared_layers: The layer count in the header; ncnn believes it, right or wrong.
      declared_blobs: The blob count in the header.
      path: Where it was read from, for messages.
    """

    layers: tuple[Layer, ...]
    declared_layers: int
    declared_blobs: int
    path: str = field(default="<memory>", compare=False)

    @classmethod
    def of(cls, layers: Iterable[Layer], path: str = "<memory>") -> ParamFile:
        """A network whose header counts are right."""
        layers = tuple(layers)
        return cls(layers, len(layers), count_blobs(layers), path)

    @classmethod
    def parse(cls, text: str, path: str = "<memory>") -> ParamFile:
        """Read a file's text; header counts are kept as they are, right or wrong.

        Raises:
          ParamError: naming the file and the line.
        """
        lines = text.splitlines()
        if not lines or lines[0].strip() != str(MAGIC):
            raise ParamError(
                f"not an ncnn text param file: it does not begin with {MAGIC}",
                code="magic",
                where=f"{path}:1",
                fix="use the .param file that pnnx wrote next to the .bin file",
            )
        counts = lines[1].split() if len(lines) > 1 else []
        if len(counts) != 2 or not all(map(_COUNT.fullmatch, counts)):
            raise ParamError(
                "the second line must be 'layer-count blob-count'",
                code="header",
                where=f"{path}:2",
                fix="convert the model again",
            )
        layers = tuple(_layers(lines, path))
        return cls(layers, int(counts[0]), int(counts[1]), path)

    @classmethod
    def read(cls, path: Path) -> ParamFile:
        """Read a file.

        Raises:
          ParamError: naming the file and the line.
          BundleError: if the file cannot be opened.
        """
        data = read_bytes(path, "network", BundleError, limit=_LARGEST_FILE)
        try:
            text = data.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise ParamError(
                "not a text file; ncnn's binary param format is not supported",
                code="magic",
                where=str(path),
                fix="use the .param file that pnnx wrote next to the .bin file",
            ) from error
        return cls.parse(text, str(path))

    def text(self) -> str:
        """The file's text, header counts as they are."""
        header = f"{MAGIC}\n{self.declared_layers} {self.declared_blobs}\n"
        return header + "".join(f"{layer.text()}\n" for layer in self.layers)

    def write(self, path: Path) -> None:
        """Replace the file atomically."""
        with atomic_file(path) as temporary:
            temporary.write_text(self.text(), encoding="utf-8", newline="\n")

    def with_layers(self, layers: Iterable[Layer]) -> ParamFile:
        """Other layers in the same file, the header counts made right."""
        return ParamFile.of(layers, self.path)

    def of_type(self, *types: str) -> tuple[Layer, ...]:
        """The layers of these types, in file order."""
        return tuple(layer for layer in self.layers if layer.type in types)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Blobs that the caller feeds."""
        return tuple(name for layer in self.of_type("Input") for name in layer.outputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Blobs that no layer reads."""
        read = {name for layer in self.layers for name in layer.inputs}
        written = (name for layer in self.layers for name in layer.outputs)
        return tuple(name for name in written if name not in read)


def count_blobs(layers: Iterable[Layer]) -> int:
    """How many different blobs the layers write."""
    return len({name for layer in layers for name in layer.outputs})


def _layers(lines: list[str], path: str) -> Iterator[Layer]:
    for number, line in enumerate(lines[2:], start=3):
        if not line.strip():
            continue
        try:
            yield Layer.parse(line, number)
        except ValueError as error:
            raise ParamError(
                str(error),
                code="layer-syntax",
                where=f"{path}:{number}",
                fix="convert the model again, or undo the edit of this line",
            ) from error


def _number(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return _integer(text)
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{shortened(text)} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{shortened(text)} is not a finite number")
    return number


def _integer(text: str) -> int:
    number = int(text) if len(text) < _LONGEST_INTEGER else math.inf
    if number not in INTEGERS:
        raise ValueError(f"{shortened(text)} is no integer of 32 bits")
    return int(number)


def _number_text(value: int | float) -> str:
    # ncnn takes a value with a point or an exponent for a float, any other for an integer.
    return repr(value)
