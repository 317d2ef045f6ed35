"""What the exported file says about itself: a signature, LiteRT metadata, and label files in a ZIP archive at its end.

The tables of the metadata are numbered as in TensorFlow Lite Support's metadata_schema.fbs, version 1.1.0; those of the
network come from LiteRT's own package. Apps with MediaPipe Tasks read both.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

INPUT = "image"
SIGNATURE = "serving_default"
# The files of the archive. The first is a copy of models/labels.json.
DESCRIPTION_FILE = "labels.json"
# Of a description: an archive can hold a file that is a thousand times as large when it is unpacked.
MOST_BYTES = 10_000_000
LABELS_FILE = "labels.txt"
DISPLAY_NAMES_FILE = "display_names.txt"
# `display_names` of params.yaml has no locale. MediaPipe Tasks shows the names of this one if an app asks for none.
LOCALE = "en"
# LiteRT expects that weights start at multiples of this many bytes.
ALIGNMENT = 16

# The numbers of enums and unions in metadata_schema.fbs.
TENSOR_AXIS_LABELS = 2
FEATURE_PROPERTIES, IMAGE_PROPERTIES = 1, 2
RGB = 1
NORMALIZATION_OPTIONS = 1


class Output(NamedTuple):
    """An output of the network, as its metadata describe it.

    Attributes
    ----------
    name : of the tensor, in the signature and in the metadata.
    description : one sentence.
    labels : what each number of the output belongs to.
    display_names : the name of each label to show in apps; empty: none.
    """

    name: str
    description: str
    labels: Sequence[str] = ()
    display_names: Sequence[str] = ()


def class_probabilities(description: Mapping[str, Any]) -> Output:
    """Return the first output of every classifier.

    Parameters
    ----------
    description : the content of models/labels.json.
    """
    labels, names = description["labels"], description.get("display_names", {})
    return Output(
        "probabilities",
        "The probability of each class; their sum is 1.",
        labels,
        [names.get(label, label) for label in labels] if names else (),
    )


def outputs_of(description: Mapping[str, Any]) -> list[Output]:
    """Return the outputs of the classifier that `export` writes, in its order.

    Parameters
    ----------
    description : the content of models/labels.json.
    """
    found = [class_probabilities(description)]
    if description.get("none_of_these"):
        sentence = "Above 0.5, the image shows none of the classes."
        found.append(Output("none_of_these", sentence, ["none of these"]))
    return found


def with_metadata(network: bytes, description: Mapping[str, Any], outputs: Sequence[Output]) -> bytes:
    """Return a compiled classifier with signature, tensor names, metadata and label files; the same bytes each time.

    What it computes stays the same to the last bit. Of a line break in a label, the label files have a space.

    Parameters
    ----------
    network : of `compile_classifier`, without metadata: one input, an RGB image.
    description : the whole content of models/labels.json; `packed_description` returns it.
    outputs : of the network, in its order.
    """
    # `graft predict` imports this module too, and does not need these two.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(network)
    _sign(model, schema, outputs)
    files: dict[str, str] = {DESCRIPTION_FILE: json.dumps(description, indent=2, ensure_ascii=False) + "\n"}
    metadata = _metadata(description, outputs, files)
    model.buffers.append(schema.BufferT(data=np.frombuffer(metadata, np.uint8)))
    entry = schema.MetadataT(name="TFLITE_METADATA", buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]
    return _with_archive(_packed(model, len(network)), files)


def packed_description(network: Path) -> dict[str, Any] | None:
    """Return the content of models/labels.json at the time of the export, from the exported file itself.

    None if the file has no such archive, or a damaged one: an earlier version of Graft or another program made it.
    """
    try:
        with zipfile.ZipFile(network) as archive, archive.open(DESCRIPTION_FILE) as file:
            # A description that is cut off here is no JSON.
            found = json.loads(file.read(MOST_BYTES))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError, ValueError):
        # zipfile raises all of these at damaged archives; RecursionError, of too many brackets, is a RuntimeError.
        return None
    return found if isinstance(found, dict) else None


def _sign(model: Any, schema: Any, outputs: Sequence[Output]) -> None:
    """Give the input and the outputs their names, and the model a signature with these names."""
    graph = model.subgraphs[0]

    def named(name: str, index: int) -> Any:
        graph.tensors[index].name = name
        return schema.TensorMapT(name=name, tensorIndex=index)

    model.signatureDefs = [
        schema.SignatureDefT(
            inputs=[named(INPUT, index) for index in graph.inputs],
            outputs=[named(output.name, index) for output, index in zip(outputs, graph.outputs, strict=True)],
            signatureKey=SIGNATURE,
            subgraphIndex=0,
        )
    ]


def _packed(model: Any, size: int) -> bytes:
    """Return a model's flatbuffer, with aligned weights as LiteRT's own converter writes them."""
    import flatbuffers  # type: ignore[import-untyped]

    class Builder(flatbuffers.Builder):
        def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - its name in flatbuffers
            # By itself the package aligns weights to one byte: it does not read the schema's `force_align`.
            self.Prep(ALIGNMENT, x.nbytes)
            return super().CreateNumpyVector(x)

    builder = Builder(size + (1 << 16))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _metadata(description: Mapping[str, Any], outputs: Sequence[Output], files: dict[str, str]) -> bytes:
    """Return the flatbuffer of a ModelMetadata; add the label files that it names to `files`."""
    tables = _Tables()
    size = description["image_size"]
    image = tables.table(
        {
            0: tables.text(INPUT),
            1: tables.text(f"RGB, {size} x {size} pixels, 0 to 255; resize: {description['resize']}."),
            3: tables.content(IMAGE_PROPERTIES, {0: np.int8(RGB)}),
            4: tables.vector([tables.no_normalization()]),
        }
    )
    subgraph = tables.table(
        {2: tables.vector([image]), 3: tables.vector([tables.output(output, files) for output in outputs])}
    )
    labels = len(description["labels"])
    return tables.finish(
        {
            0: tables.text("Graft classifier"),
            1: tables.text(f"The probability of each of {labels} classes for an image."),
            3: tables.vector([subgraph]),
            7: tables.text("1.0.0"),
        }
    )


class _Tables:
    """Writes the tables of metadata_schema.fbs: a table is a dictionary from the number of a field to its value."""

    def __init__(self) -> None:
        import flatbuffers

        self._builder = flatbuffers.Builder()

    def text(self, text: str) -> int:
        return self._builder.CreateString(text)

    def vector(self, places: Sequence[int]) -> int:
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        return self._builder.EndVector()

    def table(self, fields: Mapping[int, int | np.int8]) -> int:
        """Write a table. A field is the place of another object (int), or a number of an enum (np.int8)."""
        self._builder.StartObject(max(fields, default=-1) + 1)
        for slot, value in fields.items():
            if isinstance(value, np.int8):
                self._builder.PrependInt8Slot(slot, int(value), 0)
            else:
                self._builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return self._builder.EndObject()

    def content(self, kind: int, properties: Mapping[int, np.int8]) -> int:
        return self.table({0: np.int8(kind), 1: self.table(properties)})

    def no_normalization(self) -> int:
        """Write the process unit that leaves the pixels as they are: mean 0, standard deviation 1."""
        mean, deviation = (self._builder.CreateNumpyVector(np.array([value], np.float32)) for value in (0, 1))
        return self.table({0: np.int8(NORMALIZATION_OPTIONS), 1: self.table({0: mean, 1: deviation})})

    def output(self, output: Output, files: dict[str, str]) -> int:
        """Write the TensorMetadata of an output; add its label files to `files`."""
        prefix = f"{output.name}_" if LABELS_FILE in files else ""
        associated = []
        for name, lines, locale in (
            (LABELS_FILE, output.labels, {}),
            (DISPLAY_NAMES_FILE, output.display_names, {3: LOCALE}),
        ):
            if lines:
                files[prefix + name] = "".join(re.sub(r"[\r\n]+", " ", line) + "\n" for line in lines)
                fields = {slot: self.text(text) for slot, text in ({0: prefix + name} | locale).items()}
                associated.append(self.table({**fields, 2: np.int8(TENSOR_AXIS_LABELS)}))
        fields = {
            0: self.text(output.name),
            1: self.text(output.description),
            3: self.content(FEATURE_PROPERTIES, {}),
        }
        return self.table(fields | ({6: self.vector(associated)} if associated else {}))

    def finish(self, fields: Mapping[int, int]) -> bytes:
        self._builder.Finish(self.table(fields), b"M001")
        return bytes(self._builder.Output())


def _with_archive(network: bytes, files: Mapping[str, str]) -> bytes:
    """Return the network with a ZIP archive of text files behind it, each dated 1 January 1980."""
    whole = io.BytesIO(network)
    with zipfile.ZipFile(whole, "a") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            # The same bytes on each system: readable by all, as if written on Unix.
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text)
    return whole.getvalue()
