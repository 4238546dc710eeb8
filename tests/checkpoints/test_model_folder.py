import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from orchestrion.checkpoints.folder import (
    load_codec,
    load_prior,
    model_sha256,
    read_card,
    read_model,
    unfilled,
    write_model,
)
from orchestrion.checkpoints.memory import MEMORY
from orchestrion.errors import UserError
from orchestrion.prior.model import Prior


@pytest.fixture
def model() -> Path:
    return tiny.write_tiny_model(Path("tiny"))


def rewrite(model: Path, **changes) -> None:
    data = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**data, **changes}))


def rewrite_weights(model: Path, change) -> None:
    """Replace the top prior's weights, hash included, so that only what is in them can be wrong."""
    path = model / "prior_1.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    import hashlib

    hashes = json.loads((model / "model.json").read_text())["sha256"]
    rewrite(model, sha256={**hashes, path.name: hashlib.sha256(path.read_bytes()).hexdigest()})


def test_a_model_comes_back_as_it_was_put(model):
    info = read_model(model)
    assert info.vocabulary == tiny.NAMES and info.codec == tiny.codec_config()
    assert info.priors == (tiny.prior_config(0), tiny.prior_config(1))
    for level in (0, 1):
        loaded, made = load_prior(model, info, level), tiny.prior(level)
        assert not loaded.training
        for name, tensor in made.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
    audio = torch.randn(1, 1, 320, generator=torch.Generator().manual_seed(0))
    codec = load_codec(model, info)
    assert torch.equal(codec.encode(audio)[0], tiny.codec().encode(audio)[0])
    assert read_card(model) == "# tiny\n"


def test_names_are_found_however_they_are_written(model):
    info = read_model(model)
    assert (info.artist_called("ada  BYRON"), info.artist_called("Cyd"), info.artist_called(None)) == (
        "Ada Byron", None, None,
    )  # fmt: skip
    assert (info.genre_called("Jazz"), info.genre_called(None)) == ("jazz", None)


def test_a_loaded_prior_says_what_the_written_one_said(model):
    """Tables that are not weights, such as angles, must be there too."""
    codes = torch.arange(8)[None]
    loaded, made = load_prior(model, read_model(model), 1), tiny.prior(1)
    torch.testing.assert_close(loaded(codes, tiny.conditions()), made(codes, tiny.conditions()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_kept_in_half_the_bits_are_opened_in_single_precision(dtype):
    model = tiny.write_tiny_model(Path("half"), dtype=dtype)
    stored = load_file(model / "prior_1.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    loaded = load_prior(model, read_model(model), 1)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, tensor in tiny.prior(1).named_parameters():
        torch.testing.assert_close(loaded.get_parameter(name), tensor, rtol=1e-2, atol=1e-2)
    # Codebooks are buffers, and stay exact.
    assert load_file(model / "codec.safetensors")["levels.0.codebook.entries"].dtype == torch.float32
    assert (
        load_prior(model, read_model(model), 1, torch.bfloat16).get_parameter("labels.artist.weight").dtype
        == torch.bfloat16
    )


def test_opening_draws_no_chance(model):
    before = torch.get_rng_state()
    load_prior(model, read_model(model), 0)
    load_codec(model, read_model(model))
    assert torch.equal(torch.get_rng_state(), before)


def test_unfilled_modules_have_all_their_weights():
    made = unfilled(Prior, tiny.prior_config(0))
    assert {n: t.shape for n, t in made.state_dict().items()} == {
        n: t.shape for n, t in tiny.prior(0).state_dict().items()
    }


def test_the_same_model_gives_the_same_bytes(model):
    again = tiny.write_tiny_model(Path("again"))
    assert {p.name: p.read_bytes() for p in model.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}


def test_the_hash_follows_the_weights(model):
    before = model_sha256(model)
    rewrite_weights(model, lambda tensors: tensors["labels.artist.weight"].mul_(2))
    assert model_sha256(model) != before


def test_a_codec_alone_is_a_model_too():
    info = read_model(tiny.write_tiny_model(Path("codec"), levels=()))
    assert info.priors == (None, None)
    with pytest.raises(UserError, match="no prior for level 1: it can encode and decode there only"):
        info.prior(1)
    assert info.finest_composed is None


def test_the_finest_level_of_songs_has_a_prior_and_all_above_it(model):
    assert read_model(model).finest_composed == 0
    draft = read_model(tiny.write_tiny_model(Path("draft"), levels=(1,)))
    assert draft.finest_composed == 1
    with pytest.raises(UserError, match="no prior for level 0: it composes down to level 1: --finest-level 1"):
        draft.prior(0)
    assert read_model(tiny.write_tiny_model(Path("headless"), levels=(0,))).finest_composed is None


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"format": "x"}', '{"format": "orchestrion.model", "version": 2}', '{"format"']
)
def test_foreign_descriptions_are_refused(model, content):
    (model / "model.json").write_text(content)
    with pytest.raises(UserError):
        read_model(model)


def test_a_folder_without_a_model_is_refused():
    with pytest.raises(UserError, match="there is no model"):
        read_model(Path("nowhere"))


def test_unknown_settings_are_named(model):
    rewrite(model, kodec=1)
    with pytest.raises(UserError, match=r"'kodec' \(did you mean 'codec'"):
        read_model(model)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"sampling": [{}]}, "sampling has 1 entries for 2 levels"),
        ({"wordless": [{}]}, "wordless has 1 entries for 2 levels"),
        ({"vocabulary": {"artists": ["Ada"], "genres": ["a", "b", "c"]}}, "knows 3 artists"),
    ],
)
def test_parts_that_do_not_fit_are_named(model, changes, problem):
    rewrite(model, **changes)
    with pytest.raises(UserError, match=problem):
        read_model(model)


@pytest.mark.parametrize(
    "changes, problem",
    [
        (
            {"conditioner": {"width": 6, "strides": [1], "dilations": [1]}},
            "for codes 1 times coarser",
        ),
        ({"conditioner": None, "context_frames": 46}, "sees 46 codes, no multiple of 4"),
    ],
)
def test_a_prior_below_another_that_cannot_be_told_its_codes_is_refused(model, changes, problem):
    (below, top) = json.loads((model / "model.json").read_text())["priors"]
    rewrite(model, priors=[{**below, **changes}, top])
    with pytest.raises(UserError, match=problem):
        read_model(model)


def test_priors_on_the_wrong_level_are_refused(model):
    priors = json.loads((model / "model.json").read_text())["priors"]
    rewrite(model, priors=priors[::-1])
    with pytest.raises(UserError, match="another rate"):
        read_model(model)


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "changed", "pickle"])
def test_damaged_weights_are_refused(model, damage):
    path = model / "prior_1.safetensors"
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":
        torch.save({"a": torch.zeros(1)}, path)
    else:
        flipped = whole[:-1] + bytes([whole[-1] ^ 1])
        path.write_bytes({"truncated": whole[:-5], "empty": b"", "changed": flipped}[damage])
    with pytest.raises(UserError, match=r"missing|damaged"):
        load_prior(model, read_model(model), 1)


def _drop(tensors):
    del tensors["labels.artist.weight"]


def _add(tensors):
    tensors["extra"] = torch.zeros(2)


def _reshape(tensors):
    tensors["labels.artist.weight"] = torch.zeros(9, 9)


def _poison(tensors):
    tensors["labels.artist.weight"][0, 0] = float("nan")


@pytest.mark.parametrize(
    "change, problem",
    [
        (_drop, r"labels\.artist\.weight is missing"),
        (_add, "extra is not part"),
        (_reshape, r"is \(9, 9\) and should be \(3, 8\)"),
        (_poison, "not finite"),
    ],
)
def test_weights_of_something_else_are_refused_by_name(model, change, problem):
    rewrite_weights(model, change)
    with pytest.raises(UserError, match=problem):
        load_prior(model, read_model(model), 1)


def test_a_model_written_over_another_keeps_none_of_its_files(model):
    (model / MEMORY).write_bytes(b"what the other learned from")
    (model / "mine.txt").write_text("notes")
    info = read_model(model)
    write_model(model, info, tiny.codec(), {1: tiny.prior(1)}, card="# another\n")
    assert {path.name for path in model.iterdir()} == {
        "model.json", "README.md", "codec.safetensors", "prior_1.safetensors", "mine.txt"
    }  # fmt: skip


def test_weights_that_a_narrow_type_cannot_hold_are_not_written():
    codec = tiny.codec()
    with torch.no_grad():
        next(codec.parameters()).view(-1)[0] = 1e9
    info = read_model(tiny.write_tiny_model(Path("tiny")))
    with pytest.raises(UserError, match=r"not finite as torch\.float16"):
        write_model(Path("other"), info, codec, card="", dtype=torch.float16)
    assert not Path("other/model.json").exists()
