import io
import json
import pickle
import weakref
import zipfile
from pathlib import Path

import published_files
import pytest
import torch
from published_files import save
from safetensors.torch import load_file

from orchestrion.checkpoints import importing, stream
from orchestrion.checkpoints.folder import load_codec, load_prior, read_card, read_model
from orchestrion.checkpoints.importing import import_published
from orchestrion.checkpoints.pth import open_checkpoint
from orchestrion.checkpoints.published import codec_config, codec_target, prior_target
from orchestrion.checkpoints.stream import Entry, write_stream
from orchestrion.cli.main import main
from orchestrion.errors import UserError


def files(*, old: bool = True, prior=None, vqvae=None) -> list[Path]:
    return [
        save(vqvae or published_files.vqvae(), Path("vqvae.pth.tar"), old=old),
        save(prior or published_files.prior(), Path("prior_level_1.pth.tar"), old=old),
    ]


def check(folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Every weight of the model is the one in the files."""
    info = read_model(folder)
    assert info.codec == published_files.the_codec_config()
    assert info.priors == (None, published_files.the_prior_config())
    prior, codec = load_prior(folder, info, 1).state_dict(), load_codec(folder, info).state_dict()
    given = published_files.prior()["model"]
    del given["prior.x_out.weight"]
    for key, tensor in given.items():
        target = prior_target(key)
        assert torch.equal(prior.pop(target.key), target.convert(tensor).to(dtype).float()), key
    assert not prior
    for key, tensor in published_files.vqvae()["model"].items():
        target = codec_target(key, info.codec)
        assert torch.equal(codec.pop(target.key), target.convert(tensor)), key
    assert {key.rsplit(".", 1)[1] for key in codec} == {"sums", "counts", "filled"}


@pytest.mark.parametrize("old", [True, False])
def test_a_model_has_the_weights_of_the_files(old):
    import_published(files(old=old), Path("model"), name="one")
    check(Path("model"))
    assert "Noncommercial" in read_card(Path("model"))


def test_which_file_is_which_follows_from_what_is_in_it():
    paths = [path.rename(name) for path, name in zip(files(), ("a", "b"), strict=True)]
    import_published(paths[::-1], Path("model"), name="one")
    check(Path("model"))


def test_a_prefix_of_wrapped_models_is_left_out():
    given = published_files.prior()
    given["model"] = {f"module.{key}": tensor for key, tensor in given["model"].items()}
    import_published(files(prior=given), Path("model"), name="one")
    check(Path("model"))


def test_the_codebook_stands_where_its_average_is():
    import_published(files(), Path("model"), name="one")
    state = load_file("model/codec.safetensors")
    for level in range(2):
        book = f"levels.{level}.codebook"
        assert torch.equal(state[f"{book}.sums"], state[f"{book}.entries"])
        assert bool((state[f"{book}.counts"] == 1).all()) and bool(state[f"{book}.filled"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_priors_are_stored_in_fewer_bits_and_the_codec_never(dtype, capsys):
    paths = [str(path) for path in files()]
    assert main(["models", "import", *paths, "--name", "one", "-o", "model", "--dtype", dtype]) == 0
    assert capsys.readouterr().out == "model\n"
    stored = getattr(torch, dtype)
    assert {tensor.dtype for tensor in load_file("model/prior_1.safetensors").values()} == {stored}
    assert load_file("model/codec.safetensors")["levels.0.codebook.entries"].dtype == torch.float32
    check(Path("model"), stored)
    # What is there stays, unless it is to be replaced.
    assert main(["models", "import", paths[0], "--name", "one", "-o", "model"]) == 2
    assert main(["models", "import", paths[0], "--name", "one", "-o", "model", "--force"]) == 0
    assert read_model(Path("model")).priors == (None, None) and not Path("model/prior_1.safetensors").exists()


def test_a_weight_too_large_for_the_type_is_refused():
    given = published_files.prior()
    given["model"]["y_emb.artist_emb.emb.weight"][0, 0] = 1e6
    with pytest.raises(UserError, match="labels.artist.weight is not finite as torch.float16"):
        import_published(files(prior=given), Path("model"), name="one", dtype=torch.float16)
    assert not list(Path("model").glob("model.json")) and not list(Path("model").glob(".*"))


def test_names_come_from_the_lists_beside():
    Path("v2_artist_ids.txt").write_text("unknown;0\nada;1\nbix;3\n")
    Path("v2_genre_ids.txt").write_text("unknown;0\nfolk;2\n")
    info = import_published(files(), Path("model"), name="one", labels=Path())
    names = read_model(Path("model")).published_names[1]
    assert names == info.published_names[1] and names.artist_id("Bix") == 3
    Path("v2_genre_ids.txt").write_text("folk;3\n")  # the prior has genres 0 to 2
    with pytest.raises(UserError, match="level 1 knows 3 genres, its list 4"):
        import_published(files(), Path("other"), name="one", labels=Path())
    with pytest.raises(UserError, match="holds no v2_artist_ids.txt"):
        import_published(files(), Path("other"), name="one", labels=Path("model"))


def test_one_converted_tensor_at_a_time_is_in_memory(monkeypatch):
    """A stand-in for the writer sees every tensor go before it asks for the next."""
    sizes = []

    def write(path: Path, entries: list[Entry]) -> str:
        for entry in entries:
            tensor = entry.read()
            assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape) and tensor.is_contiguous()
            # Nothing larger stands behind it.
            assert tensor.untyped_storage().nbytes() == entry.num_bytes
            gone = weakref.ref(tensor)
            del tensor
            assert gone() is None, entry.name
            sizes.append(entry.num_bytes)
        return "0"

    monkeypatch.setattr(stream, "write_stream", write)
    import_published(files(), Path("model"), name="one", dtype=torch.bfloat16)
    assert len(sizes) > 40


def test_the_writer_lets_each_tensor_go(monkeypatch):
    alive: list[weakref.ref] = []

    def made(size: int):
        def read() -> torch.Tensor:
            assert all(tensor() is None for tensor in alive)
            tensor = torch.full((size, 2), float(size))
            alive.append(weakref.ref(tensor))
            return tensor

        return read

    entries = [Entry(f"t{size}", torch.float32, (size, 2), made(size)) for size in (3, 1, 2)]
    entries.append(Entry("filled", torch.bool, (), lambda: torch.tensor(True)))
    write_stream(Path("some.safetensors"), entries)
    state = load_file("some.safetensors")
    assert len(alive) == 3 and state["filled"].item() and state["t3"].tolist() == [[3.0, 3.0]] * 3


def test_opening_reads_no_weights_and_changes_no_file():
    path = files()[1]
    before = path.read_bytes()
    tensors = open_checkpoint(path).tensors
    for tensor in tensors.values():
        tensor.fill_(7.0)
    assert path.read_bytes() == before
    assert tensors["prior.x_out.weight"].data_ptr() == tensors["prior.x_emb.weight"].data_ptr()


def refused(*paths: Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        import_published(paths, Path("model"), name="one")
    assert not Path("model/model.json").exists()


def test_everything_that_is_wrong_is_said_at_once():
    vqvae, prior = published_files.vqvae(), published_files.prior()
    del vqvae["model"]["decoders.0.out.bias"]
    prior["model"]["prior.pos_emb.pos_emb"] = torch.zeros(9, 8)
    prior["model"]["prior.strange"] = torch.zeros(1)
    prior["model"]["y_emb.artist_emb.emb.weight"] = torch.zeros(4, 8, dtype=torch.int64)
    paths = files(vqvae=vqvae, prior=prior)
    with pytest.raises(UserError) as told:
        import_published(paths, Path("model"), name="one")
    for said in (
        "nothing is there for our levels.0.decoder.layers.",
        r"prior.pos_emb.pos_emb (our tokens.positions) is (9, 8) and should be (8, 8)",
        "prior.strange is not part of such a model",
        "y_emb.artist_emb.emb.weight is torch.int64",
    ):
        assert said in str(told.value), said
    assert not Path("model").exists()


def test_files_that_do_not_go_together_are_refused():
    vqvae, prior = files()
    refused(prior, match="none of the files hold a VQ-VAE")
    refused(vqvae, vqvae, match="hold a VQ-VAE, not one")
    refused(vqvae, prior, prior, match="are both of level 1")
    refused(vqvae, save({"hps": {}, "model": {"x": torch.ones(1)}}, Path("x")), match="neither a VQ-VAE nor a prior")
    refused(vqvae, save({**published_files.prior(), "hps": {}}, Path("x")), match="does not say of which level")
    far = published_files.prior()
    far["hps"]["level"] = 2
    refused(vqvae, save(far, Path("x")), match="is of level 2, and the VQ-VAE has 2 levels")


def test_the_order_of_the_dilations_of_decoders_is_read():
    like = published_files.the_codec_config()
    assert like.reverse_dilations
    given = {**published_files.VQVAE, "vqvae_reverse_decoder_dilation": False}
    assert codec_config(given, like) == like.model_copy(update={"reverse_dilations": False})


def test_settings_that_make_no_model_are_refused():
    given = published_files.prior()
    del given["hps"]["n_ctx"]
    refused(*files(prior=given), match="lack 'n_ctx'")
    given["hps"]["n_ctx"] = 7
    refused(*files(prior=given), match="make no model: .*7 tokens of context")


def test_an_output_layer_of_its_own_is_no_copy():
    given = published_files.prior()
    given["model"]["prior.x_out.weight"] = given["model"]["prior.x_out.weight"] + 1
    refused(*files(prior=given), match="differ, and this model has one for both")


def test_missing_and_foreign_files_are_refused():
    vqvae, prior = files()
    refused(vqvae, Path("nowhere"), match="no file nowhere")
    Path("empty").touch()
    Path("text").write_text("a song")
    with zipfile.ZipFile("zip", "w") as archive:
        archive.writestr("a.txt", "a song")
    for name in ("empty", "text", "zip"):
        refused(vqvae, Path(name), match=f"{name} is cut short, damaged, or not a checkpoint")
    refused(vqvae, save(published_files.prior()["model"], Path("bare")), match="has no 'model' and 'hps'")
    refused(vqvae, save({"hps": {}, "model": {"x": 3}}, Path("x")), match="entries that are not tensors")
    refused(vqvae, Path("nowhere"), Path("text"), match="no file nowhere.*text is cut short")
    assert prior.exists()


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.999])
def test_files_cut_short_are_refused(old, share):
    vqvae, prior = files(old=old)
    whole = prior.read_bytes()
    prior.write_bytes(whole[: int(len(whole) * share)])
    refused(vqvae, prior, match="is cut short, damaged")


class Runs:
    """Pickles to a call."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("old", [True, False])
def test_a_file_that_would_run_something_is_refused(old):
    path = save({**published_files.prior(), "opt": Runs()}, Path("evil"), old=old)
    refused(files()[0], path, match="asks for more than weights")
    Path("pickle").write_bytes(pickle.dumps(Runs()))
    refused(files()[0], Path("pickle"), match="asks for more than weights|not a checkpoint")
    assert not Path("ran").exists()


@pytest.mark.parametrize("place", range(5))
def test_no_part_of_an_old_file_can_run_something(place):
    """It is five pickles in a row, each as dangerous as the others."""
    stream_of = io.BytesIO(files()[1].read_bytes())
    pieces = []
    for _ in range(place):
        start = stream_of.tell()
        pickle.Unpickler.load(_Ignorant(stream_of))
        pieces.append(stream_of.getvalue()[start : stream_of.tell()])
    Path("evil").write_bytes(b"".join(pieces) + pickle.dumps(Runs(), protocol=2))
    # The first two say what the file is, and are compared rather than read.
    refused(files()[0], Path("evil"), match="not a checkpoint" if place < 2 else "asks for more than weights")
    assert not Path("ran").exists()


class _Ignorant(pickle.Unpickler):
    def find_class(self, module, name):
        return dict if name == "OrderedDict" else lambda *_: None

    def persistent_load(self, saved):
        return None


def test_an_import_over_another_model_keeps_none_of_its_parts():
    folder = Path("model")
    folder.mkdir()
    for name in ("memory.safetensors", "prior_7.safetensors", "mine.txt"):
        (folder / name).write_text("of before")
    import_published(files(), folder, name="one")
    assert {path.name for path in folder.iterdir()} == {
        "model.json", "README.md", "codec.safetensors", "prior_1.safetensors", "mine.txt"
    }  # fmt: skip


def test_an_import_that_breaks_off_leaves_no_model(monkeypatch):
    import_published(files(), Path("model"), name="one")
    assert json.loads(Path("model/model.json").read_text())["name"] == "one"

    def broken(path, entries):
        raise UserError("no space is left on the device")

    monkeypatch.setattr(importing.stream, "write_stream", broken)
    with pytest.raises(UserError, match="no space"):
        import_published(files(), Path("model"), name="two")
    assert not Path("model/model.json").exists()
