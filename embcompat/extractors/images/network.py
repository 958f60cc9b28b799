"""Run an ONNX graph that maps images to vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.embeddings import normalize_rows
from embcompat.errors import ExtractionError, InputError
from embcompat.extractors.base import check_batch_size
from embcompat.extractors.images.inputs import ImageInput, image_input
from embcompat.extractors.models import OnnxModel, choose_output


@final
class ImageNetwork:
    """An open graph, what it takes, and what is done with its vectors.

    Args:
        model: The open graph.
        path: Its file, for the errors.
        takes: What it takes.
        output: Name of its output (n, dim); its only one with more than one number an image when None.
        normalize: Whether vectors are scaled to unit norm.
        flip: Whether the vector is the mean of the image's and its mirror image's, scaled after that.
        batch_size: Images that go through together; 1 where the graph allows no more.

    Raises:
        InputError: If the graph does not fit any of this.

    Attributes:
        batch_size: Images that go through together.
        dim: Length of the vectors.
        sha256: Digest of the file.
    """

    def __init__(
        self,
        model: OnnxModel,
        path: Path,
        takes: ImageInput,
        *,
        output: str | None = None,
        normalize: bool = True,
        flip: bool = False,
        batch_size: int,
    ) -> None:
        check_batch_size(batch_size)
        self._session, self.sha256, self._takes = model.session, model.sha256, takes
        self._normalize, self._flip = normalize, flip
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
        blank = np.zeros((takes.height, takes.width, 3), dtype=np.uint8)
        try:
            self.dim = int(self.run([blank]).shape[1])
        except ExtractionError as error:
            raise InputError(f"{path} does not take {takes}: {error}") from error

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return what of a space's fingerprint the graph and its input decide."""
        return {
            "weights": f"sha256:{self.sha256}",
            "output": self._output,
            "input": self._takes.fingerprint(),
            "flip": self._flip,
            "normalize": self._normalize,
        }

    def embed(self, items: Sequence[Any], read: Callable[[Any], NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed any number of items as float32 (n, dim); those of one batch are in memory at a time.

        Args:
            items: What ``read`` turns into RGB images of the right size.
            read: Reads one item.

        Raises:
            ExtractionError: If the graph fails.
        """
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        for start in range(0, len(items), self.batch_size):
            images = [read(item) for item in items[start : start + self.batch_size]]
            vectors[start : start + len(images)] = self.run(images)
        return vectors

    def run(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed at most `batch_size` RGB images of the right size as float32 (n, dim).

        Raises:
            ExtractionError: If the graph fails.
        """
        if not images:
            return np.empty((0, self.dim), dtype=np.float32)
        vectors = self._forward(images)
        if self._flip:
            mirrored = self._forward([np.ascontiguousarray(image[:, ::-1]) for image in images])
            vectors = (vectors + mirrored) / np.float32(2)
        return normalize_rows(vectors) if self._normalize else vectors

    def _forward(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        batch = np.stack([self._takes.prepare(image) for image in images])
        try:
            (embedding,) = self._session.run([self._output], {self._image: batch, **self._switches})
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ExtractionError(f"the graph fails on {len(batch)} images: {error}") from error
        return np.asarray(embedding, np.float32)
