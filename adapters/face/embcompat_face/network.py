"""An ONNX face model at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import normalize_rows
from embcompat.errors import ExtractionError, InputError
from embcompat.extractors.models import OnnxModel, choose_output
from embcompat.spaces import Similarity, SpaceVersion
from embcompat_face.images import check_max_pixels, load_image
from embcompat_face.inputs import FaceInput, image_input


@final
class FaceNetwork:
    """An open graph, what it takes, and what is done with its vectors.

    Args:
        model: The open graph.
        path: Its file, for the errors.
        taken: What it takes.
        output: Name of its output (n, dim); its only one when None.
        normalize: Whether vectors are scaled to unit norm.
        convert: Whether images that are not RGB are converted.
        max_pixels: Largest image that is decoded.
        batch_size: Images that go through together; 1 where the graph allows no more.

    Raises:
        InputError: If the graph does not fit any of this.
    """

    def __init__(
        self,
        model: OnnxModel,
        path: Path,
        face_input: FaceInput,
        *,
        output: str | None,
        normalize: bool,
        convert: bool,
        max_pixels: int,
        batch_size: int,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be a positive integer. Got {batch_size!r}.")
        self._session, self._sha256, self._taken = model.session, model.sha256, face_input
        self._normalize, self._convert, self._max_pixels = normalize, convert, check_max_pixels(max_pixels)
        self._output = choose_output(model, output, rank=2, where=str(path))
        image = image_input(model, path)
        self._image, fixed = str(image.name), image.shape[0]
        if isinstance(fixed, int) and fixed != 1:
            raise InputError(f"{path} must take any number of images, or one at a time. Got {fixed} at a time.")
        self.batch_size = 1 if fixed == 1 or model.batch_dependent else batch_size
        # A graph made from TensorFlow may keep its training switch: off.
        self._switches = {
            each.name: np.zeros(each.shape, dtype=bool)
            for each in self._session.get_inputs()
            if each.type == "tensor(bool)"
        }
        blank = np.zeros((face_input.height, face_input.width, 3), dtype=np.uint8)
        try:
            self.dim = int(self._run([blank]).shape[1])
        except ExtractionError as error:
            raise InputError(f"{path} does not take {face_input}: {error}") from error

    def space(self, name: str, version: str | None, similarity: Similarity) -> SpaceVersion:
        """Return the space of the vectors; its version is made from the graph's digest when None."""
        return SpaceVersion(
            name=name,
            version=version or self._sha256[:12],
            dim=self.dim,
            similarity=similarity,
            normalized=self._normalize,
            modality="face",
            fingerprint={
                "weights": f"sha256:{self._sha256}",
                "output": self._output,
                "input": asdict(self._taken),
                "resize": "bilinear",
                "alignment": "none",
                "normalize": self._normalize,
            },
        )

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed face crops (n) as float32 (n, dim).

        Raises:
            ExtractionError: If an item is not a usable image; names it.
        """
        result = np.empty((len(items), self.dim), dtype=np.float32)
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            images = [load_image(item, convert=self._convert, max_pixels=self._max_pixels) for item in batch]
            result[start : start + len(batch)] = self._run(images)
        return result

    def _run(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        batch = np.stack([self._taken.prepare(image) for image in images])
        try:
            (embedding,) = self._session.run([self._output], {self._image: batch, **self._switches})
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ExtractionError(f"the graph fails on {len(batch)} images: {error}") from error
        vectors = np.asarray(embedding, np.float32)
        return normalize_rows(vectors) if self._normalize else vectors
