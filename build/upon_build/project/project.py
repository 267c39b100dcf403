"""One project: its file, profile, settings, objects and problems, and the ServiceSpec that the runtime takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

from upon_build.project import objects as _objects
from upon_build.project.check import check
from upon_build.project.file import ProjectFile
from upon_build.project.idempotent import plain_password
from upon_build.project.loading import Modules
from upon_build.project.options import Configured, configure, unknown_entries
from upon_build.project.problems import Problem, ProjectError
from upon_build.project.schema import ROOT
from upon_build.project.secrets import Environment, Secrets, is_reference
from upon_build.project.service import service_spec
from upon_build.project.settings import Settings
from upon_build.project.validation import WRONG, read
from upon_build.project.validation import Path as Keys
from upon_runtime.spec import Idempotency, ServiceSpec
from upon_triggers.settings import KafkaConnection, Sasl, Tls


class Project:
    """A project whose file was read; `load()` imports its functions.

    profile: the one in force. Nothing raises before `service_spec()`: what is wrong stands in `problems`. A context
    manager; leaving it forgets the imported modules and takes back the environment variables.
    """

    def __init__(self, file: ProjectFile, profile: str, env: Mapping[str, str], flags: Mapping[str, Any]) -> None:
        self.file = file
        self.folder = file.path.parent.resolve()
        self.profile = profile
        self.objects = _objects.Objects()
        self.functions: tuple[Configured, ...] = ()
        self._problems: list[Problem] = []
        self.base: dict[str, Any] = read(ROOT, file.data, (), self._report)
        assert self.base is not WRONG
        self.settings = Settings(file, self.base, profile, env, flags)
        self.settings.all()  # a wrong variable is told even where nobody asks for its setting
        self.secrets = Secrets(self.folder, env)
        self._modules = Modules(self.folder)
        self._environment: dict[str, str] = {}

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Project {self.name} in {self.folder}, profile {self.profile}>"

    def _report(self, severity: Any, keys: Keys, message: str, remedy: str) -> None:
        self._problems.append(Problem(severity, self.file.location(keys), message, remedy))

    @property
    def name(self) -> str:
        """The service's name; where it is missing or wrong, the folder's, so that the rest can be checked."""
        return str(self.settings["name"] or self.folder.name)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that was found, errors first."""
        found = list(dict.fromkeys([*self._problems, *self.settings.problems]))
        return tuple(sorted(found, key=lambda problem: problem.severity))

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def bootstrap(self) -> tuple[str, ...]:
        """Kafka's addresses in force; empty where none is configured."""
        return tuple(self.settings["kafka.bootstrap"] or ())

    def environment(self) -> Environment:
        """run.envs with references resolved; raises one ProjectError for all that are missing.

        Variables that the process environment has already keep their value.
        """
        envs = self.settings.get("run.envs")
        return self.secrets.resolve_all({env["name"]: (env["value"], envs.where) for env in envs.value})

    def load(self) -> Project:
        """Set run.envs in os.environ, import the listed files, and find what is wrong with them."""
        try:
            self._load()
        except BaseException:  # a missing extra, ctrl-C during a slow import
            self.close()
            raise
        return self

    def _load(self) -> None:
        with suppress(ProjectError):  # a secret that is missing stops the start, not the check
            self._set_environment(self.environment())
        self._modules.load(self._files())
        self._problems += self._modules.problems
        self.objects, problems = _objects.collect(self._modules.modules.values(), self.folder)
        self._problems += problems
        self._configure()
        if not self.objects.functions and not self.errors:
            self._no_functions()
        if not self._modules.problems:  # else the entry's function may be in the file that could not be imported
            self._problems += unknown_entries(self.settings, self.objects.functions)
        self._problems += check(self.settings, self.name, self.functions, self.objects)
        self._problems += self._setting_problems()

    def close(self) -> None:
        """Forget the imported modules and take back the environment variables."""
        self._modules.close()
        for name, value in self._environment.items():
            if os.environ.get(name) == value:
                del os.environ[name]
        self._environment = {}

    def _set_environment(self, environment: Mapping[str, str]) -> None:
        self._environment = {name: value for name, value in environment.items() if name not in os.environ}
        os.environ.update(self._environment)

    def _files(self) -> list[tuple[str, str]]:
        """The listed files, each with its place; a list that came from elsewhere has that place."""
        listed = self.settings.get("functions")
        files: list[str] = list(dict.fromkeys(listed.value or ()))
        if listed.layer != "file":
            return [(file, listed.where) for file in files]
        written = list(self.file.data.get("functions", ()))
        return [(file, self.file.location(("functions", written.index(file)))) for file in files]

    def _configure(self) -> None:
        configured = []
        for function in self.objects.functions:
            try:
                configured.append(configure(self.settings, function, self.folder))
            except ProjectError as error:
                self._problems += error.problems
        self.functions = tuple(configured)

    def _no_functions(self) -> None:
        files = ", ".join(file for file, _ in self._files())
        remedy = "decorate a module-level function, for instance with @upon.http, or list its file under `functions:`"
        self._report("error", ("functions",), f"there is no function in {files}", remedy)

    def _setting_problems(self) -> list[Problem]:
        found = list(self.settings.unknown_variables())
        password = self.settings.get("kafka.sasl.password")
        if password.value and password.layer in ("profile", "file") and not is_reference(password.value):
            message = "kafka.sasl.password stands in the file as plain text"
            found.append(Problem("warning", password.where, message, "write a reference: {{ secret:name:key }}"))
        found += plain_password(self.settings.get("idempotency.url"))
        try:
            self.environment()
            self.kafka_connection()
            self.idempotency()
        except ProjectError as error:
            found += [replace(problem, severity="warning") for problem in error.problems]
        return found

    def kafka_connection(self) -> KafkaConnection | None:
        """Kafka as configured, secrets resolved; None without `kafka.bootstrap`. Raises ProjectError."""
        if not self.bootstrap:
            return None
        return KafkaConnection(
            self.bootstrap,
            self._tls(),
            self._sasl(),
            group_instance_id=self.settings["kafka.groupInstanceId"],
            max_poll_interval=self.settings["kafka.maxPollInterval"],
            session_timeout=self.settings["kafka.sessionTimeout"],
        )

    def idempotency(self) -> Idempotency:
        """Where handled events are remembered, the URL resolved. Raises ProjectError."""
        url = self.settings.get("idempotency.url")
        found = None if url.value is None else self.secrets.resolve(url.value, url.where, "idempotency.url")
        return Idempotency(self.settings["idempotency.store"], found, self.settings["idempotency.ttl"])

    def _tls(self) -> Tls | None:
        if not self.settings.has("kafka.tls"):
            return None
        files = {name: self.settings[f"kafka.tls.{name}"] for name in ("ca", "certificate", "key")}
        paths = {name: str(self.folder / file) if file else None for name, file in files.items()}
        return Tls(**paths, verify=self.settings["kafka.tls.verify"])

    def _sasl(self) -> Sasl | None:
        if not self.settings.has("kafka.sasl"):
            return None
        found = {}
        for name in ("username", "password"):
            value = self.settings.get(f"kafka.sasl.{name}")
            found[name] = self.secrets.resolve(value.value, value.where, f"kafka.sasl.{name}")
        return Sasl(self.settings["kafka.sasl.mechanism"], **found)

    def service_spec(
        self, *, kafka: KafkaConnection | None = None, group_suffix: str = "", idempotency: Idempotency | None = None
    ) -> ServiceSpec:
        """What the runtime needs. kafka, idempotency: in place of what is configured (a development broker, a test).

        Raises ProjectError with every error that was found, missing secrets included.
        """
        if self.errors:
            raise ProjectError(self.errors)
        self.environment()
        return service_spec(
            self.name,
            self.folder,
            self.settings,
            self.functions,
            self.objects,
            kafka=kafka or self.kafka_connection(),
            group_suffix=group_suffix,
            idempotency=idempotency or self.idempotency(),
        )

    def summary(self) -> dict[str, Any]:
        """As `func check -o json` prints it; the inputs and outputs of models are known once they are open."""
        from upon_build.project.summary import summarize

        return summarize(self)
