"""etcd, the API server, the controllers and the scheduler, with certificates and one token of an administrator."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.cluster.binaries import Binaries
from support.cluster.network import Network
from support.cluster.rest import ApiFault, Rest

START_TIMEOUT = 180.0
STOP_TIMEOUT = 3.0


class ControlPlane:
    """port: of the API server, on every address of this machine that pods can reach; etcd takes the next two."""

    def __init__(self, built: Binaries, folder: Path, network: Network, port: int, log: Callable[[str], None]) -> None:
        self.port = port
        self.kubeconfig = folder / "kubeconfig"
        self.rest: Rest
        self._built = built
        self._folder = folder
        self._network = network
        self._pki = folder / "pki"
        self._log = log
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._token = secrets.token_hex(16)

    @property
    def certificate(self) -> tuple[Path, Path]:
        return self._pki / "api.crt", self._pki / "api.key"

    def start(self) -> None:
        self._make_certificates()
        self._write_kubeconfig()
        self.rest = Rest(self.port, self._pki / "ca.crt", self._token)
        self._start_etcd()
        self.start_api_server()
        self._start_others()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait("the default service account", lambda: self.rest.get(account))

    def stop(self) -> None:
        """At once: nothing of it is to last."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def start_api_server(self) -> None:
        """Again, too: what it knows is in etcd."""
        pki, etcd = self._pki, self.port + 1
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={self.port}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={self._network.gateway}",
            f"--tls-cert-file={pki}/api.crt",
            f"--tls-private-key-file={pki}/api.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={pki}/tokens.csv",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={self._network.services}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.key",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--enable-aggregator-routing=true",  # webhooks are reached by their endpoints' addresses
            f"--cert-dir={self._folder}/certs",
        )
        self.wait("the API server", lambda: self.rest.call("GET", "/readyz", timeout=5) == "ok")

    def stop_api_server(self) -> None:
        self._end("kube-apiserver")

    def wait(self, what: str, check: Callable[[], Any], timeout: float = START_TIMEOUT) -> Any:
        """Until the check is true; what goes wrong meanwhile is no matter, an ended process is."""
        deadline, error = time.monotonic() + timeout, None
        while time.monotonic() < deadline:
            self._check_processes()
            try:
                found = check()
                if found:
                    self._log(what)
                    return found
            except (ApiFault, OSError, KeyError, IndexError) as fault:
                error = fault
            time.sleep(0.05)
        raise RuntimeError(f"{what}: not within {timeout:g} s: {error!r}")

    def _check_processes(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                tail = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{tail}")

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self.port + 1}", f"http://127.0.0.1:{self.port + 2}"
        self._spawn(
            "etcd",
            *("--data-dir", f"{self._folder}/etcd", "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *(
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
                "--initial-cluster",
                f"default={peer}",
            ),
        )

    def _start_others(self) -> None:
        shared = (f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0")
        quick = ("--kube-api-qps=200", "--kube-api-burst=400")
        self._spawn(
            "kube-controller-manager",
            *shared,
            *quick,
            f"--root-ca-file={self._pki}/ca.crt",
            f"--service-account-private-key-file={self._pki}/sa.key",
            "--use-service-account-credentials=false",
            "--endpointslice-updates-batch-period=0s",
            "--endpoint-updates-batch-period=0s",
            "--controllers=*,-ttl,-cloud-node-lifecycle-controller,-node-route-controller,-service-lb-controller",
            f"--cert-dir={self._folder}/certs",
        )
        self._spawn("kube-scheduler", *shared, *quick)

    def _spawn(self, name: str, *arguments: str) -> None:
        with open(self._folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                [self._built[name], *arguments],
                cwd=self._folder,
                env={**os.environ, "GOMAXPROCS": "2"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # Certificates

    def _make_certificates(self) -> None:
        self._pki.mkdir()
        names = "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc"
        (self._pki / "ext").write_text(
            f"subjectAltName={names},IP:127.0.0.1,IP:{self._network.api},IP:{self._network.gateway}"
        )
        self._openssl("genrsa", "-out", "sa.key", "2048")
        ca = ("-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "30")
        self._openssl("req", *ca, "-subj", "/CN=tests")
        asked = (
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "api.key",
            "-out",
            "api.csr",
            "-subj",
            "/CN=kube-apiserver",
        )
        self._openssl("req", *asked)
        signed = ("-req", "-in", "api.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30")
        self._openssl("x509", *signed, "-extfile", "ext", "-out", "api.crt")
        (self._pki / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._pki, check=True, capture_output=True, timeout=60)

    def _write_kubeconfig(self) -> None:
        self.kubeconfig.write_text(json.dumps(self.config(self._token)))  # JSON is YAML
        self.kubeconfig.chmod(0o600)

    def config(self, token: str, namespace: str = "default") -> dict[str, Any]:
        """A kubeconfig for whoever has the token."""
        server = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self._pki / "ca.crt")}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": namespace}}],
        }
