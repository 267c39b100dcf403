"""func.yaml in one table: every key, its kind, its default. The published JSON Schema is generated from it."""

from __future__ import annotations

from typing import Any

from upon._triggers import TOPIC_NAME
from upon_build.project.kinds import (
    Choice,
    DeadLetter,
    Duration,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Quantity,
    Size,
    Table,
    Text,
    Whole,
)

SPEC_VERSION = "upon/v1"
LABEL = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
INSIDE = ("/metrics", "/v2")  # paths that are nobody's business outside the cluster
TOPIC = TOPIC_NAME.pattern[:-2]
_TOPIC = "a topic's name: 1 to 249 letters, digits, '.', '_' and '-'"
_REPLIES: dict[str, Kind] = {
    "reply_to": Text(doc="Topic that takes the replies.", pattern=TOPIC, meaning=_TOPIC),
    "reply_type": Text(doc="CloudEvents type of the replies."),
}

ENV = Table(
    doc="An environment variable.",
    fields={
        "name": Text(doc="Its name.", required=True, pattern=r"[A-Za-z_][A-Za-z0-9_]*", meaning="a variable's name"),
        "value": Text(
            doc="Its value, or a reference: {{ secret:name:key }} or {{ configMap:name:key }}.", required=True
        ),
    },
)

VOLUME = Table(
    doc="A volume of the container, from one of these sources.",
    fields={
        "path": Text(doc="Where it is mounted.", required=True, pattern="/.+", meaning="an absolute path"),
        "secret": Text(doc="Name of a Secret."),
        "configMap": Text(doc="Name of a ConfigMap."),
        "persistentVolumeClaim": Table(
            doc="A claim of the namespace; the cluster must allow it.",
            fields={
                "claimName": Text(doc="Its name.", required=True),
                "readOnly": Flag(doc="false to write to it.", default=True),
            },
        ),
        "emptyDir": Table(doc="An empty folder of the pod's own.", fields={"sizeLimit": Size(doc="Its largest size.")}),
    },
)

BUILD = Table(
    doc="How the image is built.",
    ref="build",
    fields={
        "builder": Choice(
            doc="Upon's own builder, or a Containerfile and buildah, podman or docker for system packages.",
            choices=("native", "dockerfile"),
            default="native",
        ),
        "baseImage": Text(doc="The image below the project's layers: cpu, gpu, or a reference."),
        "python": Text(
            doc="Python of the image; by default that of func.lock.",
            pattern=r"3\.[0-9]{1,2}",
            meaning="a version such as 3.12",
        ),
        "bytecode": Flag(
            doc="Compile the packages' bytecode into the image: a faster start for more bytes.", default=False
        ),
        "platforms": ListOf(
            doc="Platforms to build for.",
            item=Text(pattern="[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?", meaning="a platform such as linux/amd64"),
            default=["linux/amd64"],
        ),
        "systemPackages": ListOf(
            doc="Debian packages to install, with the builder dockerfile.",
            item=Text(pattern=r"[a-z0-9][a-z0-9+.-]+", meaning="a Debian package's name such as libgl1"),
            default=[],
        ),
        "containerfile": Text(
            doc="The project's own Containerfile, relative to this file's folder, with the builder dockerfile.",
            pattern=r"(?!/)(?!(.*/)?\.\.(/|$)).+",
            meaning="a file's path, relative to func.yaml's folder and inside it",
        ),
        "maxLayerSize": Size(doc="Largest layer, uncompressed.", default="10Gi"),
        "allowSecretLooking": ListOf(
            doc="Files, relative to this one's folder, that go into the image although they look like secrets.",
            item=Text(),
            default=[],
        ),
    },
)

RUN = Table(
    doc="How the service runs, everywhere.",
    ref="run",
    fields={
        "envs": ListOf(doc="Environment variables.", item=ENV, key="name", default=[]),
        "volumes": ListOf(doc="Volumes of the container.", item=VOLUME, key="path", default=[]),
        "startTimeout": Duration(doc="Longest start, models included.", default=120, zero=False),
        "maxBodySize": Size(doc="Largest request body.", default="16Mi"),
        "drainDelay": Duration(doc="How long to go on accepting after SIGTERM.", default=5),
        "stateDir": Text(
            doc="Folder for what outlasts the process on this machine, relative to func.yaml's folder.", default=".upon"
        ),
    },
)

TOLERATION = Table(
    doc="A taint of nodes that is put up with.",
    fields={
        "key": Text(doc="The taint's key."),
        "operator": Choice(doc="How the value is compared.", choices=("Exists", "Equal")),
        "value": Text(doc="The taint's value."),
        "effect": Choice(doc="Of the taint.", choices=("NoSchedule", "PreferNoSchedule", "NoExecute")),
    },
)

GPU = Table(
    doc="GPUs of one pod.",
    fields={
        "count": Whole(doc="How many.", maximum=1000, default=0),
        "resource": Text(
            doc="What nodes call them: nvidia.com/mig-1g.5gb for a part of one, or what time-sliced ones are called.",
            pattern=r"[a-z0-9.-]+/[A-Za-z0-9._-]+",
            meaning="a resource's name such as nvidia.com/gpu",
            default="nvidia.com/gpu",
        ),
        "type": Text(doc="Value of the node label that tells the GPU's kind, such as nvidia-l4 or NVIDIA-L4."),
        "label": Text(
            doc="That label; by default cloud.google.com/gke-accelerator for a type that begins with nvidia-, else"
            " nvidia.com/gpu.product."
        ),
    },
)

DEPLOY = Table(
    doc="How the service stands in the cluster.",
    ref="deploy",
    fields={
        "namespace": Text(doc="Kubernetes namespace.", pattern=LABEL, meaning="a namespace's name", default="default"),
        "visibility": Choice(doc="Who can reach it.", choices=("cluster-local", "public"), default="cluster-local"),
        "expose": ListOf(
            doc="What of a public service's inside can be reached through its gateway too; else pods alone answer.",
            item=Choice(choices=INSIDE),
            default=[],
        ),
        "triggers": Choice(
            doc="What feeds the service.", choices=("auto", "host", "eventing", "direct"), default="auto"
        ),
        "triggerHost": Table(
            doc="The Deployment that reads Kafka and the clock where triggers are auto or host.",
            fields={
                "replicas": Whole(doc="How many pods share its partitions and schedules.", minimum=1, default=1),
                "requests": MapOf(
                    doc="Reserved for one of them.", item=Quantity(), default={"cpu": "50m", "memory": "128Mi"}
                ),
                "limits": MapOf(doc="At most, for one of them.", item=Quantity(), default={"memory": "512Mi"}),
            },
        ),
        "broker": Text(doc="Knative broker of @upon.cloudevent.", pattern=LABEL, meaning="a name", default="default"),
        "deadLetterSink": Text(
            doc="URL that takes what Knative's Triggers and sources could not deliver; not for the trigger host.",
            pattern=r"https?://[^\s]+",
            meaning="a URL such as http://failed.ml.svc.cluster.local",
        ),
        "timeoutSeconds": Whole(doc="Longest request, and the grace at the end.", minimum=1, maximum=600, default=60),
        "containerConcurrency": Whole(
            doc="Requests at once in one pod; 0 is 128, or less where every function limits its concurrency.",
            maximum=1000,
            default=0,
        ),
        "gpu": GPU,
        "scale": Table(
            doc="How many pods.",
            fields={
                "min": Whole(doc="Fewest pods; 0 scales to zero.", maximum=10_000, default=0),
                "max": Whole(doc="Most pods; 0 is no limit.", maximum=10_000, default=0),
                "initial": Whole(doc="Pods that a new revision begins with.", minimum=1, maximum=10_000),
                "target": Whole(doc="What one pod should carry, in the metric.", minimum=1, maximum=1_000_000),
                "metric": Choice(doc="What is measured.", choices=("concurrency", "rps"), default="concurrency"),
                "utilization": Whole(
                    doc="Percentage of the target at which pods are added; by default the cluster's 70.",
                    minimum=1,
                    maximum=100,
                ),
                "window": Duration(doc="Over how long it is averaged: 6 s to 1 h; by default the cluster's 60 s."),
                "downDelay": Duration(doc="How long less load must last before pods go, at most 1 h."),
                "keepLast": Duration(doc="How long the last pod stays at least when there is nothing to do."),
            },
        ),
        "resources": Table(
            doc="Kubernetes resources of one pod.",
            fields={
                "requests": MapOf(doc="Reserved.", item=Quantity(), default={}),
                "limits": MapOf(doc="At most.", item=Quantity(), default={}),
            },
        ),
        "serviceAccountName": Text(doc="Kubernetes service account."),
        "imagePullSecrets": ListOf(doc="Names of Secrets that let the image be pulled.", item=Text(), default=[]),
        "nodeSelector": MapOf(doc="Labels that a node must have.", item=Text(), default={}),
        "tolerations": ListOf(doc="Taints of nodes that are put up with.", item=TOLERATION, default=[]),
        "runtimeClassName": Text(doc="Kubernetes runtime class, such as nvidia."),
        "tmpSize": Size(doc="Largest size of /tmp, the only folder that can be written to.", default="1Gi"),
        "labels": MapOf(doc="More labels of every object.", item=Text(), default={}),
        "annotations": MapOf(doc="More annotations of the service's pods.", item=Text(), default={}),
    },
)

DELIVERY = Table(
    doc="How hard to try, for every function; `options` says otherwise for one.",
    ref="delivery",
    fields={
        "retry": Whole(doc="Tries after the first.", default=5),
        "backoffPolicy": Choice(
            doc="How the pause between tries grows.", choices=("exponential", "linear"), default="exponential"
        ),
        "backoffDelay": Duration(doc="First pause.", default="PT0.2S"),
        "maxDelay": Duration(doc="Longest pause.", default="PT5M"),
        "maxInFlight": Whole(doc="Unfinished or uncommitted records of one partition.", minimum=1, default=1000),
        "guarantee": Choice(
            doc="What is promised.", choices=("at-least-once", "exactly-once"), default="at-least-once"
        ),
        "deadLetter": DeadLetter(
            doc="Where failed events go; by default the topic {topic}.{function}.dead. `none` drops them.",
            pattern=TOPIC,
        ),
    },
)

IDEMPOTENCY = Table(
    doc="Where functions with `idempotent` remember which events they have handled.",
    ref="idempotency",
    fields={
        "store": Choice(
            doc="sqlite is for one replica only.", choices=("sqlite", "redis", "postgresql"), default="sqlite"
        ),
        "url": Text(doc="Of Redis or PostgreSQL, as a reference: {{ secret:name:key }}.", secret=True),
        "ttl": Duration(doc="How long an event is remembered.", default="P1D", zero=False),
    },
)

MODELS = Table(
    doc="Rules for models.",
    ref="models",
    fields={"allowLicenses": ListOf(doc="SPDX names of licences that models may have.", item=Text())},
)

KAFKA = Table(
    doc="How Kafka is reached. Without bootstrap, `func run` starts a development broker.",
    ref="kafka",
    fields={
        "bootstrap": ListOf(
            doc="Brokers to begin with.",
            item=Text(pattern=r"[^\s,/]+:\d{1,5}", meaning="an address such as kafka:9092"),
            or_one=True,
        ),
        "groupInstanceId": Text(
            doc="This process' name for static membership, different in every replica: a restart within the session"
            " timeout moves no partition.",
            pattern=r"[a-zA-Z0-9._-]{1,100}",
            meaning="a name of 1 to 100 letters, digits, '.', '_' and '-'",
        ),
        "maxPollInterval": Duration(doc="How long a member may be silent to its group.", default=300, zero=False),
        "sessionTimeout": Duration(doc="How long a member that was killed keeps its partitions.", zero=False),
        "tls": Table(
            doc="TLS; `tls: {}` trusts the system's certificates.",
            fields={
                "ca": Text(doc="PEM file of the authorities, relative to func.yaml's folder."),
                "certificate": Text(doc="PEM file of the client's certificate."),
                "key": Text(doc="PEM file of the client's key."),
                "verify": Flag(doc="false only for a test.", default=True),
            },
        ),
        "sasl": Table(
            doc="SASL credentials.",
            fields={
                "mechanism": Choice(
                    doc="How to log in.",
                    choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
                    default="SCRAM-SHA-512",
                ),
                "username": Text(doc="User, or a reference.", default=""),
                "password": Text(doc="A reference: {{ secret:name:key }}.", default="", secret=True),
            },
        ),
    },
)

KAFKA_OPTIONS = Table(
    doc="What this trigger says otherwise than its decorator.",
    fields={
        "topic": Text(doc="The topic to read instead.", pattern=TOPIC, meaning=_TOPIC),
        "group": Text(doc="Consumer group."),
        "value": Choice(doc="How to read a value without a content type.", choices=("json", "text", "bytes")),
        "ordering": Choice(doc="What waits for what.", choices=("partition", "key", "unordered")),
        "start": Choice(doc="Where a new group begins.", choices=("earliest", "latest")),
        **_REPLIES,
    },
)

CRON_OPTIONS = Table(
    doc="What this trigger says otherwise than its decorator.",
    fields={
        "schedule": Text(doc="Five fields: minute hour day month weekday."),
        "timezone": Text(doc="IANA timezone."),
        "overlap": Choice(doc="When a tick is due while one runs.", choices=("allow", "forbid", "replace")),
        "catch_up": Whole(doc="Missed ticks to make up for."),
        "jitter": Duration(doc="Each tick fires up to so much late."),
        **_REPLIES,
    },
)

FUNCTION_OPTIONS = Table(
    doc="What one function says otherwise than its decorators.",
    fields={
        "timeout": Duration(doc="Longest try.", zero=False),
        "concurrency": Whole(doc="Tries at once in one process.", minimum=1),
        "retry": Whole(doc="Tries after the first."),
        "idempotent": Flag(doc="An event that was handled is not handled again."),
        "kafka": MapOf(doc="By the topic in the decorator.", item=KAFKA_OPTIONS),
        "cron": MapOf(doc="By the schedule in the decorator.", item=CRON_OPTIONS),
        "http": MapOf(doc="By the route in the decorator.", item=Table(fields=_REPLIES)),
    },
)

OVERLAID: dict[str, Kind] = {
    "runtime": Choice(doc="The language.", choices=("python",), default="python"),
    "registry": Text(doc="Where images go, such as ghcr.io/acme."),
    "functions": ListOf(
        doc="Files that hold functions, models, topics and resources, relative to this file's folder.",
        item=Text(pattern=r"(?!/)(.*/)?[^/]+\.py", meaning="a Python file's path, relative to func.yaml's folder"),
        minimum=1,
        required=True,
    ),
    "build": BUILD,
    "run": RUN,
    "deploy": DEPLOY,
    "delivery": DELIVERY,
    "idempotency": IDEMPOTENCY,
    "kafka": KAFKA,
    "models": MODELS,
    "options": MapOf(doc="By function.", item=FUNCTION_OPTIONS, default={}),
}

NAME = Text(
    doc="The service's name.",
    required=True,
    pattern=LABEL,
    meaning="1 to 63 lower-case letters, digits and '-', from a letter to a letter or digit",
)
PROFILE = Table(doc="What is otherwise in this profile.", ref="profile", fields=OVERLAID)
ROOT = Table(
    doc="An Upon project.",
    fields={
        "specVersion": Choice(doc="Version of this file's format.", choices=(SPEC_VERSION,), default=SPEC_VERSION),
        "name": NAME,
        **OVERLAID,
        "profiles": MapOf(doc="Overlays by name, chosen with --profile or FUNC_PROFILE.", item=PROFILE),
    },
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of func.yaml."""
    tables = [BUILD, RUN, DEPLOY, DELIVERY, IDEMPOTENCY, MODELS, KAFKA, PROFILE]
    definitions = {table.ref: {**table.schema(), "description": table.doc} for table in tables}
    definitions["profile"].pop("required", None)  # an overlay says only what differs
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "func.yaml",
        **ROOT.json_schema(),
        "$defs": definitions,
    }
