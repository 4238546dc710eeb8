"""Checkpoints made to do harm: nothing they name is run, nothing outside their pieces is read."""

import io
import pickle
import struct
import sys
import tarfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import published_files
import pytest
import torch
from published_files import save
from torch._utils import _rebuild_tensor_v2

from orchestrion.checkpoints.folder import load_prior, read_model
from orchestrion.checkpoints.importing import import_published
from orchestrion.checkpoints.pth import open_checkpoint
from orchestrion.errors import UserError

NUM_ELEMENTS = 4
WEIGHTS = [1.0, 2.0, 3.0, 4.0]
RAN = Path("ran")


class Piece:
    """Stands for a stored piece; pickled as the reference that the file has for it."""

    def __init__(self, *reference: Any) -> None:
        self.reference = reference or reference_to()


def reference_to(key: Any = "0", kind: Any = torch.FloatStorage, num_elements: Any = NUM_ELEMENTS, part: Any = None):
    return ("storage", kind, key, "cpu", num_elements, part)


class View:
    """Pickled as a tensor."""

    def __init__(self, piece: Any, first: Any = 0, shape: Any = (4,), stride: Any = (1,)) -> None:
        self.piece, self.first, self.shape, self.stride = piece, first, shape, stride

    def __reduce__(self):
        return (_rebuild_tensor_v2, (self.piece, self.first, self.shape, self.stride, False, OrderedDict()))


class Calls:
    """Pickled as a call."""

    def __init__(self, called: Any, *arguments: Any) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self):
        return (self.called, self.arguments)


class Pickler(pickle.Pickler):
    def persistent_id(self, item):
        return item.reference if isinstance(item, Piece) else None


def pickled(content: Any) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def stored(*values: float, length: int | None = None) -> bytes:
    return struct.pack(f"<q{len(values)}f", len(values) if length is None else length, *values)


def old_file(
    tensor: Any = None,
    *,
    raw: bytes | None = None,
    order: Any = ("0",),
    pieces: bytes = stored(*WEIGHTS),
    system: Any = None,
) -> Path:
    """A file of torch's old serialisation with one tensor, or with `raw` as the pickle of its content."""
    content = {"hps": {}, "model": {"x": tensor or View(Piece())}, "step": 1}
    system = system or {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickled(system)
    order = list(order) if isinstance(order, tuple) else order
    path = Path("evil.pth.tar")
    path.write_bytes(start + (pickled(content) if raw is None else raw) + pickled(order) + pieces)
    return path


def refused(path: Path, match: str = "is cut short, damaged|asks for more than weights") -> None:
    with pytest.raises(UserError, match=match):
        open_checkpoint(path)
    assert not RAN.exists()


def test_a_file_made_by_hand_is_read_as_torch_reads_it():
    path = old_file()
    expected = torch.load(path, weights_only=True)["model"]["x"]
    opened = open_checkpoint(path)
    assert torch.equal(opened.tensors["x"], expected) and expected.tolist() == WEIGHTS
    assert (opened.hyperparameters, opened.step) == ({}, 1)


OUTSIDE = {
    "a piece longer than the file": (View(Piece(*reference_to(num_elements=10**12))), stored(*WEIGHTS, length=10**12)),
    "a length that overflows": (View(Piece(*reference_to(num_elements=2**61))), stored(*WEIGHTS, length=2**61)),
    "another length than said": (View(Piece()), stored(*WEIGHTS, length=3)),
    "a negative length": (View(Piece(*reference_to(num_elements=-4))), stored(*WEIGHTS, length=-4)),
    "no length": (View(Piece(*reference_to(num_elements=0)), shape=(10**9,)), stored()),
    "a length that is no number": (View(Piece(*reference_to(num_elements=True))), stored(1.0)),
    "a view beyond its piece": (View(Piece(), first=1), stored(*WEIGHTS)),
    "a view before its piece": (View(Piece(), first=-1, shape=(2,)), stored(*WEIGHTS)),
    "a view of negative size": (View(Piece(), shape=(-4,)), stored(*WEIGHTS)),
    "a view that goes back": (View(Piece(), first=3, stride=(-1,)), stored(*WEIGHTS)),
    "a view too far apart": (View(Piece(), stride=(2,)), stored(*WEIGHTS)),
    "a view whose size overflows": (View(Piece(), shape=(2**62, 4), stride=(4, 1)), stored(*WEIGHTS)),
    "a view whose step overflows": (View(Piece(), shape=(5,), stride=(2**62,)), stored(*WEIGHTS)),
    "a view that starts where it overflows": (View(Piece(), first=2**62, shape=(1,)), stored(*WEIGHTS)),
    "a type twice as wide": (
        [View(Piece()), View(Piece(*reference_to(kind=torch.DoubleStorage)))],
        stored(*WEIGHTS),
    ),
    "two lengths of one piece": (
        [View(Piece()), View(Piece(*reference_to(num_elements=2)), shape=(2,))],
        stored(*WEIGHTS),
    ),
    "a part of a piece": (View(Piece(*reference_to(part=("1", 10**9, 4)))), stored(*WEIGHTS)),
    "a key that is no text": (View(Piece(*reference_to(key=("0",)))), stored(*WEIGHTS)),
    "a piece of no type": (View(Piece(*reference_to(kind=OrderedDict))), stored(*WEIGHTS)),
    "a piece of a number's type": (View(Piece(*reference_to(kind=4))), stored(*WEIGHTS)),
    "a short reference": (View(Piece("storage", torch.FloatStorage)), stored(*WEIGHTS)),
    "a reference to nothing": (View(Piece(())), stored(*WEIGHTS)),
    "a reference to source text": (View(Piece("module", OrderedDict, "a.py", "text")), stored(*WEIGHTS)),
    "a tensor of a number": (View(4), stored(*WEIGHTS)),
}


@pytest.mark.parametrize("attack", OUTSIDE)
def test_references_out_of_bounds_are_refused(attack):
    tensor, pieces = OUTSIDE[attack]
    refused(old_file(tensor, pieces=pieces))


def test_a_tensor_larger_than_its_piece_is_refused():
    """A few bytes could otherwise fill the disk."""
    refused(old_file(View(Piece(), shape=(10**9,), stride=(0,))), "entries that are not tensors")
    refused(save({"hps": {}, "model": {"x": torch.ones(1).expand(10**9)}}, Path("x"), old=False), "not tensors")
    refused(old_file(View(Piece(), shape=(3, 2), stride=(1, 1))), "entries that are not tensors")


@pytest.mark.parametrize("order", [(), ("0", "0"), ("1",), ("0", "1"), {"0": 0}, ([],), None, 5, "0"])
def test_pieces_in_another_order_than_listed_are_refused(order):
    refused(old_file(order=order, pieces=stored(*WEIGHTS) * 2))


GLOBAL_TOUCH = b"cpathlib\nPath.touch\n"
CALLS = {
    "a call": pickled({"opt": Calls(Path.touch, RAN)}),
    "a call of what torch allows": pickled(Calls(bytearray, 10**13)),
    "a class that torch allows": pickled(Calls(Counter, {"a": 1})),
    "a tensor outside any piece": b"\x80\x02ctorch\nFloatTensor\n\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85R.",
    "a sparse tensor": b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n)R.",
    "a new object": b"\x80\x02c_io\nFileIO\nX\x03\x00\x00\x00ranX\x01\x00\x00\x00w\x86\x81.",
    "a name from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
    "an instance": b"\x80\x02(S'touch ran'\nios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\nX\x09\x00\x00\x00touch rano.",
    "a new object with names": b"\x80\x04}cpathlib\nPath\n)}\x92.",
    "an extension": b"\x80\x02\x82\x01.",
    "a longer extension": b"\x80\x02\x84\x01\x00\x00\x00.",
    "state for a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}U\x0c__defaults__)s\x86b.",
    "state for a type": b"\x80\x02ccollections\nOrderedDict\n}U\x05clearNsb.",
    "a reference in text": b"\x80\x02Pstorage\n.",
    "a frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\xff.",
    "something unremembered": b"\x80\x02j\xff\xff\xff\x7f.",
    "an empty stack": b"\x80\x02R.",
    "no end": b"\x80\x02}",
}


@pytest.mark.parametrize("attack", CALLS)
def test_a_pickle_that_does_more_than_hold_values_is_refused(attack):
    refused(old_file(raw=CALLS[attack]))
    assert _rebuild_tensor_v2.__defaults__ == (None,) and callable(OrderedDict.clear)


BOMBS = {
    "a place far away in the memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "lists in lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "more tuples than atoms": b"\x80\x02)" + b"q\x00h\x00\x86" * 300 + b".",
    "a number of many digits": b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
}


@pytest.mark.parametrize("attack", BOMBS)
def test_what_grows_when_it_is_walked_is_not_walked(attack):
    refused(old_file(raw=BOMBS[attack]), "has no 'model' and 'hps'|asks for more|damaged")


@pytest.mark.parametrize("key", [("a",), 5, None, "\x1b[2Jx", "x\ny"])
def test_names_that_are_no_names_are_refused(key):
    raw = pickled({"hps": {}, "model": {key: View(Piece())}})
    refused(old_file(raw=raw), "entries that are not tensors")


def test_pickles_after_the_end_are_not_read():
    path = old_file()
    with path.open("ab") as file:
        file.write(pickle.dumps(Calls(Path.touch, RAN), protocol=2))
    assert open_checkpoint(path).tensors["x"].tolist() == WEIGHTS
    assert not RAN.exists()


@pytest.mark.parametrize("named", [OrderedDict(), View(Piece())])
def test_only_the_content_may_name_anything(named):
    refused(old_file(system={"little_endian": named}), "asks for more than weights")
    refused(old_file(order=[named]), "asks for more than weights")


def test_a_tar_archive_is_refused():
    """What torch wrote before its old serialisation, which it only reads by running what is in it."""
    with tarfile.open("old.tar", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Calls(Path.touch, RAN), protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    refused(Path("old.tar"), "is cut short, damaged, or not a checkpoint")


def test_bytes_are_in_one_order_whatever_machine_wrote_them(monkeypatch):
    assert open_checkpoint(old_file(system={"little_endian": False})).tensors["x"].tolist() == WEIGHTS
    monkeypatch.setattr(sys, "byteorder", "big")
    refused(old_file(), "bytes in another order")


ODD_TENSORS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "without memory": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_that_are_no_plain_weights_are_refused(kind):
    refused(save({"hps": {}, "model": {"x": ODD_TENSORS[kind]()}}, Path("x"), old=False), "not tensors")


@pytest.mark.parametrize("old", [True, False])
def test_weights_that_ask_for_gradients_are_imported_without(old):
    given = published_files.prior()
    for tensor in given["model"].values():
        tensor.requires_grad_()
    paths = [save(published_files.vqvae(), Path("a"), old=old), save(given, Path("b"), old=old)]
    import_published(paths, Path("model"), name="one")
    prior = load_prior(Path("model"), read_model(Path("model")), 1)
    assert torch.equal(prior.tokens.embedding.weight, given["model"]["prior.x_emb.weight"])


SETTINGS = [
    ("prior", {"prior_depth": 10**12}),
    ("prior", {"prior_depth": 0}),
    ("prior", {"prior_depth": True}),
    ("prior", {"prior_width": 2**62}),
    ("prior", {"prior_width": 10**30}),
    ("prior", {"n_ctx": 10**18, "blocks": 10**9}),
    ("prior", {"blocks": torch.ones(2)}),
    ("prior", {"heads": 0}),
    ("prior", {"m_attn": float("nan")}),
    ("prior", {"m_mlp": float("inf")}),
    ("prior", {"y_bins": 3}),
    ("prior", {"level": True}),
    ("prior", {"level": -1}),
    ("vqvae", {"downs_t": (10**9, 1)}),
    ("vqvae", {"downs_t": [[1], [1]]}),
    ("vqvae", {"depth": 10**12}),
    ("vqvae", {"hvqvae_multipliers": (10**12, 1)}),
    ("vqvae", {"hvqvae_multipliers": None, "levels": 10**12}),
    ("vqvae", {"dilation_growth_rate": 10**300}),
    ("vqvae", {"dilation_growth_rate": 1000, "depth": 100}),
    ("vqvae", {"downs_t": (1, 1000), "depth": 1000, "dilation_growth_rate": 1}),
    ("vqvae", {"width": 2**62}),
    ("vqvae", {"m_conv": "wide"}),
    ("vqvae", {"sr": None}),
]


@pytest.mark.parametrize(("part", "changes"), SETTINGS)
def test_settings_that_would_fill_the_memory_or_make_no_sense_are_refused(part, changes):
    given = {"vqvae": published_files.vqvae(), "prior": published_files.prior()}
    given[part]["hps"].update(changes)
    paths = [save(content, Path(name)) for name, content in given.items()]
    with pytest.raises(UserError):
        import_published(paths, Path("model"), name="one")
    assert not Path("model").exists()
