"""What a lock says of the project's models: their hashes, so that another model under the same name is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.lock.lockfile import LockedModel

if TYPE_CHECKING:
    from upon_build.image.store import Store


def lock_models(folder: Path, paths: Iterable[str], store: Store | None = None) -> tuple[LockedModel, ...]:
    """The models' hashes as they are now. Raises ProjectError for a model that is missing or outside the folder."""
    from upon_build.image.files.models import read_models

    found = read_models(folder, sorted(set(paths)), store)
    return tuple(sorted(LockedModel(model.path, model.sha256, model.size) for model in found))
