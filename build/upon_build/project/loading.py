"""Imports the files that func.yaml lists, and takes them back out, so that one process can hold several projects.

The project's folder is `sys.path[0]` while it is loaded. Modules of other loaded projects are set aside during the
import, because two projects may both have an `app.py`; a module of this very project that somebody imported before
(a test, say) is used as it is and stays.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from types import ModuleType, TracebackType

import upon
import upon_build
import upon_runtime
import upon_triggers
from upon_build.project.options import shown_path
from upon_build.project.problems import Problem, did_you_mean

_LOCK = RLock()
_LOADED: list[Modules] = []
_EXTRAS = {"flask": "serve", "numpy": "cpu", "onnxruntime": "cpu", "pydantic": "serve"}
_UPON = [Path(str(package.__file__)).parent for package in (upon, upon_triggers, upon_runtime, upon_build)]


class Modules:
    """The imported modules of one project, by file as func.yaml names it. Close it to forget them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, ModuleType] = {}
        self.problems: list[Problem] = []
        self._fresh: dict[str, ModuleType] = {}
        self._entered = False

    def load(self, files: Sequence[tuple[str, str]]) -> None:
        """Import (file, location in func.yaml) pairs; what can't be imported becomes a problem."""
        with _LOCK:
            self._enter()
            for file, location in files:
                problem = _name_problem(self.folder, file, location)
                if problem is None:
                    problem = self._import(file)
                if problem is not None:
                    self.problems.append(problem)
            self._fresh = {name: module for name, module in self._own() if name not in self._before}

    def close(self) -> None:
        """Forget the modules and leave sys.path and sys.modules as they were."""
        with _LOCK:
            if not self._entered:
                return
            self._entered = False
            _LOADED.remove(self)
            others = {id(module) for other in _LOADED for module in other._fresh.values()}
            for name, module in self._own():
                if name not in self._before and id(module) not in others:
                    del sys.modules[name]
            if str(self.folder) in sys.path:
                sys.path.remove(str(self.folder))

    def _enter(self) -> None:
        for other in _LOADED:
            for name, module in other._fresh.items():
                if sys.modules.get(name) is module:
                    del sys.modules[name]
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()  # a file may be younger than the finder's listing of the folder
        self._before = {name for name, _ in self._own()}
        self._entered = True
        _LOADED.append(self)

    def _own(self) -> list[tuple[str, ModuleType]]:
        """What was imported by way of the folder: a package that lies in it, but has a path of its own, was not."""
        return [(name, module) for name, module in list(sys.modules.items()) if self._holds(name, module)]

    def _holds(self, name: str, module: ModuleType) -> bool:
        expected = os.path.join(self.folder, *name.split("."))
        file = getattr(module, "__file__", None)
        if file is None:
            return expected in _paths(module)
        return str(file).startswith((f"{expected}.", f"{expected}{os.sep}__init__."))

    def _import(self, file: str) -> Problem | None:
        name = module_name(file)
        try:
            module = importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a file may even call sys.exit()
            return _import_problem(self.folder, file, error)
        found = getattr(module, "__file__", None)
        if found is None or Path(found).resolve() != (self.folder / file).resolve():
            taken = f"the name {name!r} is taken by {found or 'a module of Python itself'}"
            return Problem("error", file, taken, "rename the file")
        self.modules[file] = module
        return None


def module_name(file: str) -> str:
    """`lib/score.py` -> `lib.score`"""
    parts = list(Path(file).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def is_own(path: str, folder: Path) -> bool:
    """Whether a file is the project's, and not a package in a virtual environment inside its folder, or ours."""
    if not Path(path).is_relative_to(folder) or any(Path(path).is_relative_to(ours) for ours in _UPON):
        return False
    return not {"site-packages", "dist-packages"} & set(Path(path).parts[len(folder.parts) :])


def _paths(module: ModuleType) -> list[str]:
    try:
        return [str(path) for path in getattr(module, "__path__", ())]
    except (KeyError, TypeError):  # a namespace package whose parent is gone
        return []


def _name_problem(folder: Path, file: str, location: str) -> Problem | None:
    path = folder / file
    if not path.resolve().is_relative_to(folder):
        return Problem("error", location, f"{file!r} is outside {folder}", "move it into the project's folder")
    if not path.is_file():
        near = did_you_mean(file, (str(found.relative_to(folder)) for found in _python_files(folder)))
        return Problem("error", location, f"there is no file {file!r} in {folder}", near or "write it first")
    if any("." in part for part in Path(file).with_suffix("").parts):
        return Problem("error", location, f"{file!r} can't be imported with a dot in its name", "rename the file")
    if module_name(file).partition(".")[0] in sys.stdlib_module_names:
        name = module_name(file).partition(".")[0]
        return Problem("error", location, f"{file!r} hides Python's own module {name!r}", "rename the file")
    return None


def _python_files(folder: Path) -> list[Path]:
    return [*folder.glob("*.py"), *folder.glob("*/*.py")]


def _import_problem(folder: Path, file: str, error: BaseException) -> Problem:
    if isinstance(error, SyntaxError) and error.filename and is_own(error.filename, folder):
        place = f"{shown_path(error.filename, folder)}:{error.lineno or 1}"
        line = (error.text or "").strip()
        remedy = f"correct the line `{line}`" if line else ""
        return Problem("error", place, f"{type(error).__name__}: {error.msg}", remedy)
    frame = _last_own_frame(folder, error.__traceback__)
    place = f"{shown_path(frame.filename, folder)}:{frame.lineno}" if frame else file
    line = f" in `{frame.line}`" if frame and frame.line else ""
    if isinstance(error, SystemExit):
        return Problem("error", place, f"{file} ends the process{line}", "put it under `if __name__ == '__main__':`")
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1].removeprefix("upon._errors.")
    return Problem("error", place, f"{file} can't be imported: {text}{line}", _remedy(folder, error))


def _remedy(folder: Path, error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    top = error.name.partition(".")[0]
    if top in _EXTRAS:
        return f"install it with `pip install 'upon[{_EXTRAS[top]}]'`"
    near = did_you_mean(top, (path.stem for path in folder.glob("*.py")))
    return near if near.startswith("did") else f"install it, for instance with `pip install {top}`, or correct the name"


def _last_own_frame(folder: Path, trace: TracebackType | None) -> traceback.FrameSummary | None:
    frames = [frame for frame in traceback.extract_tb(trace) if is_own(frame.filename, folder)]
    return frames[-1] if frames else None
