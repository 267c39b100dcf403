"""What lies in a project's folder, as layers for our own builder or as entries for another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from upon_build.image.assembly.config import MANIFEST_PATH
from upon_build.image.oci import Layer, digest_of

if TYPE_CHECKING:
    from upon_build.image.layers.tar import Entry
    from upon_build.image.plan import BuildOptions
    from upon_build.image.store import Store
    from upon_build.project import Project
    from upon_build.project.making import Made


class ProjectFiles:
    """What lies in the project's folder, as layers or entries. models: their paths; epoch: the time of all files."""

    def __init__(
        self, project: Project, options: BuildOptions, store: Store, models: Sequence[str], epoch: int
    ) -> None:
        self._project = project
        self._store = store
        self._models = models
        self._epoch = epoch
        self._warn = options.warn
        self._without = [options.output] if options.output else []

    def stages(self) -> list[tuple[str, Callable[[], list[Layer]]]]:
        """What makes layers, in their order."""
        return [("models", self._model_layers), ("code", self._code_layer)]

    def _model_layers(self) -> list[Layer]:
        from upon_build.image.files.models import model_layers

        size = max_layer_size(self._project)
        return model_layers(self._store, self._project.folder, self._models, max_size=size, mtime=self._epoch)

    def _code_layer(self) -> list[Layer]:
        from upon_build.image.files.contents import code_layer

        layer = code_layer(
            self._store,
            self._project.folder,
            self._project.file,
            self._models,
            max_size=max_layer_size(self._project),
            without=self._without,
            warn=self._warn,
            mtime=self._epoch,
        )
        return [layer]

    def manifest_layer(self, made: Made) -> Layer:
        """Ours, which says what is in the code."""
        from upon_build.image.layers.layer import make_layer
        from upon_build.image.layers.tar import Entry

        content = made.manifest.to_bytes()
        entry = Entry(MANIFEST_PATH.lstrip("/"), 0o644, "file", len(content), lambda: BytesIO(content))
        key = f"manifest {digest_of(content)}"
        return make_layer(self._store, key, lambda: [entry], title="manifest", kind="manifest", mtime=self._epoch)

    def model_entries(self) -> Sequence[tuple[str, Iterable[Entry]]]:
        from upon_build.image.files.models import model_entries

        return model_entries(self._project.folder, self._models, self._store, max_size=max_layer_size(self._project))

    def code_entries(self) -> Iterable[Entry]:
        from upon_build.image.files.contents import code_entries

        project = self._project
        return code_entries(project.folder, project.file, self._models, store=self._store, without=self._without)


def max_layer_size(project: Project) -> int:
    """Bytes, uncompressed."""
    return int(project.settings["build.maxLayerSize"])
