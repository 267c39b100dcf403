"""What Kubernetes puts into a container: volumes as folders, and variables."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.cluster.rest import Rest

if TYPE_CHECKING:
    from support.cluster.images import Runnable

TOKEN_SECONDS = 86400


class ConfigError(Exception):
    """A Secret, ConfigMap or key is missing: CreateContainerConfigError."""


class Sources:
    """Secrets, ConfigMaps and tokens of one pod."""

    def __init__(self, rest: Rest, pod: Mapping[str, Any], host: str) -> None:
        self._rest = rest
        self._host = host
        self._pod = pod
        self._namespace = pod["metadata"]["namespace"]
        self.address = ""

    def files(self, source: Mapping[str, Any]) -> dict[str, bytes]:
        """name -> content of one source of a volume. Raises ConfigError, ApiFault."""
        if "configMap" in source:
            return self._picked("configmaps", source["configMap"], source["configMap"]["name"])
        if "secret" in source:
            said = source["secret"]
            return self._picked("secrets", said, said.get("secretName") or said["name"])
        if "serviceAccountToken" in source:
            return {source["serviceAccountToken"]["path"]: self._token(source["serviceAccountToken"])}
        if "downwardAPI" in source:
            items = source["downwardAPI"].get("items") or []
            return {
                one["path"]: self.field(one["fieldRef"]["fieldPath"]).encode() for one in items if "fieldRef" in one
            }
        return {}

    def _picked(self, plural: str, said: Mapping[str, Any], name: str) -> dict[str, bytes]:
        try:
            data, items = self._data(plural, name), said.get("items")
            if items is None:
                return data
            return {item["path"]: data[item["key"]] for item in items}
        except (ConfigError, KeyError) as error:
            if said.get("optional"):
                return {}
            raise ConfigError(f"references non-existent {plural[:-1]} key: {error}") from None

    def _data(self, plural: str, name: str) -> dict[str, bytes]:
        found = self._rest.find(f"/api/v1/namespaces/{self._namespace}/{plural}/{name}")
        if found is None:
            raise ConfigError(f'{plural[:-1]} "{name}" not found')
        if plural == "secrets":
            return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return {key: value.encode() for key, value in (found.get("data") or {}).items()}

    def _token(self, said: Mapping[str, Any]) -> bytes:
        account = self._pod["spec"].get("serviceAccountName", "default")
        audiences = [said["audience"]] if said.get("audience") else []
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        made = self._rest.post(
            path,
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": audiences, "expirationSeconds": TOKEN_SECONDS},
            },
        )
        return str(made["status"]["token"]).encode()

    def field(self, path: str) -> str:
        """The downward API's."""
        meta, spec = self._pod["metadata"], self._pod["spec"]
        match = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
        if match:
            return str((meta.get(match[1]) or {}).get(match[2], ""))
        known = {
            "metadata.name": meta["name"],
            "metadata.namespace": meta["namespace"],
            "metadata.uid": meta["uid"],
            "status.podIP": self.address,
            "status.hostIP": self._host,
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        }
        return str(known.get(path, ""))

    def env(self, container: Mapping[str, Any], runnable: Runnable, api: tuple[str, int]) -> dict[str, str]:
        """Everything a process of the container finds in its environment. Raises ConfigError, ApiFault."""
        env = {
            "PATH": os.environ["PATH"],
            "HOSTNAME": self._pod["metadata"]["name"],
            "HOME": "/root",
            "KUBERNETES_SERVICE_HOST": api[0],
            "KUBERNETES_SERVICE_PORT": str(api[1]),
            **runnable.env,
        }
        for one in container.get("envFrom") or []:
            env |= self._all_of(one)
        for one in container.get("env") or []:
            value = self._value(one, env)
            if value is not None:
                env[one["name"]] = value
        return env

    def _all_of(self, one: Mapping[str, Any]) -> dict[str, str]:
        plural = "configmaps" if "configMapRef" in one else "secrets"
        ref = one.get("configMapRef") or one["secretRef"]
        try:
            data = self._data(plural, ref["name"])
        except ConfigError:
            if ref.get("optional"):
                return {}
            raise
        return {one.get("prefix", "") + key: value.decode() for key, value in data.items()}

    def _value(self, one: Mapping[str, Any], env: Mapping[str, str]) -> str | None:
        source = one.get("valueFrom")
        if not source:
            return expanded(one.get("value", ""), env)
        if "fieldRef" in source:
            return self.field(source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return "0"
        plural, ref = (
            ("configmaps", source["configMapKeyRef"])
            if "configMapKeyRef" in source
            else ("secrets", source["secretKeyRef"])
        )
        try:
            data = self._data(plural, ref["name"])
            if ref["key"] not in data:
                raise ConfigError(f"couldn't find key {ref['key']} in {plural[:-1]} {self._namespace}/{ref['name']}")
            return data[ref["key"]].decode()
        except ConfigError:
            if ref.get("optional"):
                return None
            raise


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where it is known; `$$` is a dollar sign."""

    def put(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else env.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([\w.-]+)\)", put, text)


def make_volumes(pod: Mapping[str, Any], sources: Sources, folder: Path) -> dict[str, Path]:
    """name -> folder of each volume of a pod. Raises ConfigError, ApiFault."""
    found = {}
    for volume in pod["spec"].get("volumes") or []:
        place = folder / "volumes" / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            place.chmod(0o777)
        parts = volume["projected"]["sources"] if "projected" in volume else [volume]
        for part in parts:
            for name, content in sources.files(part).items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
        found[volume["name"]] = place
    return found
