"""The server's settings. Each field of `Config` is a flag and an environment variable, with its default and its help:
`max_batch_size` is `--max-batch-size` and `COVEY_MAX_BATCH_SIZE`. `command_line` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from covey_proto import image_formats, variables
from covey_server.errors import InvalidConfiguration

HTTP_PORT = 8000
LogFormat = Literal["text", "json"]
Access = Literal["off", "errors", "sampled", "all"]  # calls in the access log
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
ACCESS: tuple[Access, ...] = get_args(Access)


def _setting(default: Any, text: str, choices: tuple[str, ...] | None = None, *, is_list: bool = False) -> Any:  # noqa: ANN401 - as dataclasses.field
    """`is_list`: of texts, separated by commas; the flag may be given several times."""
    return field(default=default, metadata={"text": text, "choices": choices, "is_list": is_list})


@dataclass(frozen=True)
class Port:
    """A port to listen on, and the option that changes it; number 0: a free one."""

    purpose: str
    option: str
    host: str
    number: int

    @property
    def address(self) -> str:
        return _address(self.host, self.number)


@dataclass(frozen=True)
class Config:
    """Everything that can be set. Units are in the names; 0 means no limit only where the help says so."""

    models: str | Path = _setting(
        "models",
        "folder of models: NAME/VERSION/model.onnx; or a store that holds the same: s3://, gs://, az://, hf:// or "
        "https://, mirrored into a folder of --model-cache",
    )
    model_cache: str = _setting("", "folder of mirrored stores; by default covey/models in the user's cache folder")
    sync_interval_s: float = _setting(30.0, "time between two looks at the store of --models; 0: only at the start")
    default_model: str = _setting("", "model that answers requests naming none; needed only with several models")
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all")
    grpc_port: int = _setting(8001, "port of gRPC; 0 takes a free one")
    http: bool = _setting(True, "serve HTTP beside gRPC")
    http_port: int = _setting(-1, "port of HTTP; 0 takes a free one; -1: 8000, or a free one if --grpc-port is 0")
    page: bool = _setting(True, "serve the web page at the port of HTTP: try, watch, look inside")
    metrics_port: int = _setting(8002, "port of Prometheus' /metrics; 0 takes a free one")
    metrics_host: str = _setting("", "address to listen on for /metrics; by default that of --host")
    front: str = _setting("auto", "gRPC front: native is the fast one", ("auto", "native", "grpcio"))
    processes: int = _setting(
        1,
        "processes that share the ports, each with its own models; limits of calls, bytes and connections are divided",
    )
    device: str = _setting("auto", "auto, cpu, cuda or cuda:N; cuda refuses to start where it cannot be had")
    workers: int = _setting(
        0, "threads of each process that run batches; 0: one per usable core, one of them for full batches only"
    )
    threads: int = _setting(1, "onnxruntime's threads within one batch")
    max_batch_size: int = _setting(0, "images in one batch at the most; 0: as many as pay, measured at load")
    max_delay_us: int = _setting(0, "time a batch that is not full waits for more; 0: not at all")
    inline_us: int = _setting(1000, "batches up to this run time need no worker: the thread that takes calls runs them")
    engine_timeout_s: float = _setting(30.0, "time one batch may run; then its callers are told, and readiness ends")
    version_policy: str = _setting("latest:1", "versions of a model that are served: latest:N or all")
    reload_interval_s: float = _setting(1.0, "time between two looks for changes in the models folder; 0: never")
    max_calls: int = _setting(4096, "calls inside the server at once; a connection may hold as many as are left free")
    max_bytes: int = _setting(
        512 * 1024**2,
        "bytes of the calls inside the server at once, shared in the same way; at most a quarter of the memory left",
    )
    max_decodes: int = _setting(1024, "encoded images inside the server at once; more are refused")
    max_message_bytes: int = _setting(64 * 1024**2, "bytes of one request at the most")
    max_answer_bytes: int = _setting(64 * 1024**2, "bytes of one answer at the most: images times classes asked for")
    max_image_pixels: int = _setting(50_000_000, "pixels of an encoded image at the most")
    max_decode_bytes: int = _setting(
        0, "bytes that decoding images may take, all of them together; 0: half of what is free once models are loaded"
    )
    max_connections: int = _setting(0, "connections at once; beyond, silent ones are closed; 0: max-bytes / 32 KB")
    idle_timeout_s: float = _setting(0.0, "time a silent connection is kept; 0: until its place is needed")
    image_formats: str = _setting(
        image_formats.written(image_formats.DEFAULT), "formats of encoded images that are decoded; bmp, tiff, heic too"
    )
    default_deadline_ms: int = _setting(0, "deadline of calls that bring none; 0: they wait as long as it takes")
    drain_delay_s: float = _setting(
        0.0, "time after SIGTERM in which calls are still taken, though not ready: for load balancers to see it"
    )
    drain_timeout_s: float = _setting(20.0, "time that accepted calls have to finish after SIGTERM")
    tls_certificate: str = _setting("", "PEM file of the server's certificate and its chain; with TLS, grpcio serves")
    tls_key: str = _setting("", "PEM file of the certificate's key, without a password")
    tls_client_ca: str = _setting("", "PEM file of the authorities that callers' certificates must be signed by")
    auth_token_file: str = _setting("", "file of bearer tokens, one a line, of which callers must bring one")
    limits_file: str = _setting(
        "", "TOML file of what each token or certificate may: rates, calls in flight, priority (docs/security.md)"
    )
    cors_origin: str = _setting(
        "", "origins whose pages may call over HTTP from browsers, separated by commas; * for all", is_list=True
    )
    allowed_host: str = _setting(
        "",
        "names by which the server may be called over HTTP, separated by commas; * for any. IP addresses and localhost "
        "always are. By default any, but only these on a loopback address without tokens and TLS",
        is_list=True,
    )
    allow_management: bool = _setting(
        False,
        "let calls load and unload models (RepositoryModelLoad, ...Unload) and choose versions (covey promote, ...)",
    )
    explain: bool = _setting(True, "answer Explain: layers, heat maps, units; at the lowest priority")
    reflection: bool = _setting(True, "tell callers the services and their messages (gRPC server reflection)")
    check: bool = _setting(
        False,
        "load, check and measure the models, print what was found, and exit: 0 all can be served, 3 a version is "
        "refused, beside which a server starts and serves the others; other codes as a start",
    )
    probe: bool = _setting(False, "ask the server of the same settings whether it is ready, and exit: 0 yes, 1 no")
    shadow_share: float = _setting(
        0.1, "the share of the batches that also run on the version in NAME/shadow-version, to be compared"
    )
    canary_share: float = _setting(
        0.1, "the share of callers naming no version that get the version in NAME/canary-version, until it is decided"
    )
    canary_images: int = _setting(1000, "images that a canary has to answer before it becomes the default version")
    canary_window_s: float = _setting(600.0, "time that a canary has to answer before it becomes the default version")
    canary_agreement: float = _setting(
        0.9, "a canary is rolled back if the served version gives the same class to less than this share of its images"
    )
    canary_slowdown: float = _setting(
        2.0,
        "a canary is rolled back if it takes more than this many times as long as the served version, for the same "
        "images or by the 99th percentile of its calls",
    )
    canary_gate: str = _setting(
        "", "folder of labelled images, DIR/CLASS/1.png, on which a canary may hardly be worse; none by default"
    )
    max_accuracy_loss: float = _setting(
        1.0,
        "how much less accurate than the default version, on its test images, a higher version may be to take its "
        "place without being chosen; also at --canary-gate (there 0.01 by default); 1: no matter how much",
    )
    capture: str = _setting(
        "", "folder where some of the images that callers send are kept, to be labelled; none by default"
    )
    capture_rate: float = _setting(0.001, "the share of images that --capture keeps at random")
    capture_below: float = _setting(0.5, "--capture keeps images whose largest probability is less than this")
    capture_max_bytes: int = _setting(1024**3, "bytes of all captures at the most")
    capture_max_files: int = _setting(100_000, "number of captures at the most")
    drift_window: int = _setting(
        5000, "images whose answers are compared with those on test images, in the metrics covey_drift; 0: none"
    )
    log_level: str = _setting("info", "what is logged to standard error", ("debug", "info", "warning", "error"))
    log_format: LogFormat = _setting("text", "lines of the log: text for people, json for programs", LOG_FORMATS)
    access_log: Access = _setting(
        "off",
        "calls that get a line in the log: none, those that fail, a share of the others too, or all",
        ACCESS,
    )
    access_log_rate: float = _setting(0.01, "the share of calls that --access-log sampled logs, beside those that fail")

    def __post_init__(self) -> None:
        """Raises InvalidConfiguration for values that make no sense."""
        for name in ("host", "metrics_host"):  # an IPv6 address may be given as [::1]
            object.__setattr__(self, name, getattr(self, name).strip("[]"))
        limits = {
            "grpc_port": (0, 65535),
            "http_port": (-1, 65535),
            "metrics_port": (0, 65535),
            "processes": (1, 256),
            "workers": (0, 1024),
            "threads": (1, 1024),
            "max_batch_size": (0, 65536),
            "max_delay_us": (0, 10**7),
            "inline_us": (0, 10**6),
            "engine_timeout_s": (0.1, 86400),
            "reload_interval_s": (0, 86400),
            "sync_interval_s": (0, 86400),
            "max_decodes": (1, 10**9),
            "max_calls": (1, 10**9),
            "max_bytes": (1, 2**63),
            "max_message_bytes": (1, 2**31 - 1),
            "max_answer_bytes": (1, 2**31 - 1),
            "max_image_pixels": (1, 2**40),
            "max_decode_bytes": (0, 2**63),
            "max_connections": (0, 10**6),
            "idle_timeout_s": (0, 10**7),
            "default_deadline_ms": (0, 10**9),
            "drain_delay_s": (0, 86400),
            "drain_timeout_s": (0, 86400),
            "shadow_share": (0, 1),
            "canary_share": (0, 1),
            "canary_images": (1, 10**9),
            "canary_window_s": (0, 10**7),
            "canary_agreement": (0, 1),
            "canary_slowdown": (1, 1000),
            "max_accuracy_loss": (0, 1),
            "capture_rate": (0, 1),
            "capture_below": (0, 1),
            "capture_max_bytes": (1, 2**63),
            "capture_max_files": (1, 10**9),
            "drift_window": (0, 10**9),
            "access_log_rate": (0, 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidConfiguration(f"{flag(name)} {getattr(self, name)}: expected {low} to {high}")
        try:
            image_formats.parse(self.image_formats)
        except ValueError as error:
            raise InvalidConfiguration(f"{flag('image_formats')} {self.image_formats!r}: {error}") from None
        if self.processes > 1 and self.allow_management:
            raise InvalidConfiguration(
                "--allow-management with --processes: a call that loads or unloads a model reaches one process only; "
                "publish versions into the models folder, which all processes follow, or use --processes 1"
            )
        self._require_whole_tls()

    @property
    def models_are_remote(self) -> bool:
        """Whether `models` is a store's URL, not a folder."""
        return "://" in str(self.models)

    @property
    def accuracy_limit(self) -> float | None:
        """`max_accuracy_loss`; None where that is 1: no loss is too large."""
        return None if self.max_accuracy_loss == 1 else self.max_accuracy_loss

    def address(self, port: int) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return _address(self.host, port)

    def url(self, scheme: str, port: int) -> str:
        """Where a browser on this machine finds the server."""
        host = "localhost" if self.host in ("0.0.0.0", "::", "127.0.0.1") else self.host
        return f"{scheme}://{_address(host, port)}/"

    def metrics_address(self, port: int) -> str:
        """The same for /metrics."""
        return _address(self.metrics_host or self.host, port)

    @property
    def http_port_to_open(self) -> int:
        """The port of HTTP; 0: a free one."""
        return self.http_port if self.http_port >= 0 else HTTP_PORT if self.grpc_port else 0

    @property
    def ports(self) -> Sequence[Port]:
        """The ports to listen on, in the order in which they are opened."""
        http = [Port("HTTP", "--http-port", self.host, self.http_port_to_open)] if self.http else []
        metrics = Port("metrics", "--metrics-port", self.metrics_host or self.host, self.metrics_port)
        return [Port("gRPC", "--grpc-port", self.host, self.grpc_port), *http, metrics]

    def _require_whole_tls(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise InvalidConfiguration("--tls-certificate and --tls-key go together: give both, or none")
        if self.tls_client_ca and not self.tls_certificate:
            raise InvalidConfiguration("--tls-client-ca needs TLS: give --tls-certificate and --tls-key too")
        if self.tls_certificate and self.front == "native":
            raise InvalidConfiguration(
                "--front native has no TLS: use --front auto or grpcio, or a proxy before it that ends TLS"
            )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def flag(name: str) -> str:
    """A field as the command line has it: `--max-bytes`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """A field as the environment has it: `COVEY_MAX_BYTES`."""
    return f"{variables.PREFIX}{name.upper()}"


VARIABLES = frozenset(variable(each.name) for each in fields(Config))
