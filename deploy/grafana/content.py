"""The two dashboards: for those who use the models, and for those who run the servers. docs/metrics.md has the metrics.

Queries give data also where nothing has happened yet, so that an empty panel means that a server is missing.
"""

from __future__ import annotations

from deploy.grafana.panel import Dashboard, Panel

_WINDOW = "[$__rate_interval]"
_OF = '{model=~"$model"}'
_OVERLOAD = "calls|bytes|decode|share|deadline|room|address"  # reasons to refuse calls, as in ../prometheus/rules.yml
_OR_NONE = " or on () vector(0)"
_MEDIAN_AND_MOST = (("median", 0.5), ("p95", 0.95))


def _rate(metric: str, by: str, labels: str = _OF) -> str:
    return f"sum by ({by}) (rate({metric}{labels}{_WINDOW}))"


def _quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, {_rate(f'{histogram}_bucket', 'le, model')})"


def _mean(histogram: str) -> str:
    return f"sum(rate({histogram}_sum{_OF}{_WINDOW})) / sum(rate({histogram}_count{_OF}{_WINDOW}))"


def _share_of_calls(refused_or_code: str) -> str:
    return f"sum(rate({refused_or_code}{_WINDOW})) / sum(rate(covey_requests_total{_WINDOW}))"


USERS = Dashboard(
    "users",
    "Covey: for users",
    (
        Panel(
            "Requests per second",
            "Calls answered, whatever the answer.",
            "reqps",
            {"{{model}}": _rate("covey_requests_total", "model")},
        ),
        Panel(
            "Images per second",
            "Images computed; a call may bring many.",
            "ops",
            {"{{model}}": _rate("covey_images_total", "model")},
        ),
        Panel(
            "Calls answered OK",
            "The share of all calls, those included that no model was found for. The rest, by code, stands beside.",
            "percentunit",
            {"OK": _share_of_calls('covey_requests_total{code="OK"}')},
            width=4,
        ),
        Panel(
            "Answers by code",
            "RESOURCE_EXHAUSTED: too much was asked. INVALID_ARGUMENT, NOT_FOUND: the caller's. INTERNAL: ours.",
            "reqps",
            {"{{code}}": _rate("covey_requests_total", "code", "")},
            width=4,
        ),
        *(
            Panel(
                f"Request time, {name}",
                "From a request's arrival to its probabilities; the network is not in it.",
                "s",
                {"{{model}}": _quantile(share, "covey_request_seconds")},
            )
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
        Panel(
            "Where the time goes",
            "Mean of a request: until its images are decoded, waiting for a thread, computing.",
            "s",
            {part: _mean(f"covey_{part}_seconds") for part in ("decode", "queue", "compute")},
            stacked=True,
        ),
        Panel(
            "Images in a batch",
            "Mean and 95th percentile. 1: requests came alone; large: they gathered.",
            "short",
            {"mean": _mean("covey_batch_size"), "p95 {{model}}": _quantile(0.95, "covey_batch_size")},
        ),
        Panel(
            "Calls refused",
            "The share of calls that were refused at once since they could not have been answered in time or held.",
            "percentunit",
            {"refused": _share_of_calls(f'covey_refused_total{{reason=~"{_OVERLOAD}"}}')},
        ),
        Panel(
            "Images waiting",
            "What waits for a thread now. Growing: the models are the limit.",
            "short",
            {"{{model}}": f"sum by (model) (covey_waiting_images{_OF})"},
        ),
        Panel(
            "Images that could not be decoded",
            "By reason; docs/metrics.md tells the reasons. Their neighbours were answered.",
            "ops",
            {"{{model}} {{reason}}": _rate("covey_invalid_images_total", "model, reason")},
        ),
        Panel(
            "Pixels of the images sent",
            "Median and 95th percentile, in the file. Far more than the model sees: callers could send smaller images.",
            "short",
            {f"{name} {{{{model}}}}": _quantile(share, "covey_image_pixels") for name, share in _MEDIAN_AND_MOST},
        ),
        Panel(
            "Answers by class",
            "The share of the images that each class was the most probable one for.",
            "percentunit",
            {
                "{{model}} {{class}}": f"{_rate('covey_answers_total', 'model, class')}"
                f" / on (model) group_left {_rate('covey_answers_total', 'model')}"
            },
            stacked=True,
        ),
        Panel(
            "Confidence",
            "Of the most probable class: the mean, and the share of images where it is at most one half.",
            "percentunit",
            {
                "mean": _mean("covey_confidence"),
                "at most 0.5": _rate("covey_confidence_bucket", "model", '{model=~"$model", le="0.5"}')
                + f" / {_rate('covey_confidence_count', 'model')}",
            },
        ),
        Panel(
            "Drift",
            "How far answers are from those on test images. Up to 0.1 is small, above 0.25 large.",
            "short",
            {"{{model}} {{version}} {{of}}": f"max by (model, version, of) (covey_drift_index{_OF})"},
        ),
        Panel(
            "Images of the shadow",
            "What the version in the shadow answers for the same images: agrees, or differs. 0: no version is there.",
            "ops",
            {
                "{{model}} {{version}} {{result}}": _rate("covey_shadow_images_total", "model, version, result")
                + _OR_NONE
            },
        ),
        Panel(
            "Images of the canary",
            "What the served version answers for the images that the canary got: agrees, or differs. 0: there is none.",
            "ops",
            {
                "{{model}} {{version}} {{result}}": _rate("covey_canary_compared_total", "model, version, result")
                + _OR_NONE
            },
        ),
        Panel(
            "Requests per second by protocol",
            "http: curl, browsers, and clients of Triton, KServe and TorchServe; grpc costs less per request.",
            "reqps",
            {"{{protocol}}": _rate("covey_requests_total", "protocol")},
        ),
    ),
)

OPERATORS = Dashboard(
    "operators",
    "Covey: for operators",
    (
        Panel(
            "Servers ready",
            "Servers that take requests, of those that are found.",
            "short",
            {"ready": "sum(covey_ready)", "found": "count(up and on (job, instance) last_over_time(covey_ready[1d]))"},
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            "Versions refused",
            "They lie in the models folder and are not served; `covey models` says why.",
            "short",
            {"refused": "max(covey_models_refused)"},
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            "Servers that fell back to the CPU",
            "CUDA was wanted and not found.",
            "short",
            {"fallen back": "sum(covey_device_fallback)"},
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            "Batches that do not end",
            "Restart the server.",
            "short",
            {"stuck": "sum(covey_engine_stuck)"},
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            "Models served",
            "The versions, the device each runs on, and on how many servers.",
            "short",
            {"servers": f"sum by (model, version, device) (covey_model_served{_OF})"},
            kind="table",
            width=12,
        ),
        Panel(
            "Requests per second by version",
            "Shows a new version take over from the one before.",
            "reqps",
            {"{{model}} {{version}}": _rate("covey_requests_total", "model, version")},
            width=12,
        ),
        Panel(
            "Versions loaded, refused, unloaded",
            "Since each server's start.",
            "short",
            {"{{model}} {{result}}": f"sum by (model, result) (covey_model_loads_total{_OF})"},
        ),
        Panel(
            "Canaries",
            "1 for the state of each model's last canary; `covey models` says why it was promoted or rolled back.",
            "short",
            {"{{model}} {{version}} {{state}}": f"max by (model, version, state) (covey_canary_state{_OF})" + _OR_NONE},
        ),
        Panel(
            "Calls on the canary",
            "Images that it has answered on trial, and calls that failed on it, or that it had no time for; the served "
            "version answered those.",
            "short",
            {
                "images {{model}} {{version}}": f"sum by (model, version) (covey_canary_images{_OF})" + _OR_NONE,
                "failed {{model}} {{version}}": f"sum by (model, version) (covey_canary_failed_calls{_OF})" + _OR_NONE,
                "late {{model}} {{version}}": f"sum by (model, version) (covey_canary_late_calls{_OF})" + _OR_NONE,
            },
        ),
        Panel(
            "Canaries decided",
            "Since each server's start. enough: promoted; all others: why it was rolled back.",
            "short",
            {"{{model}} {{reason}}": f"sum by (model, reason) (covey_canary_decisions_total{_OF})" + _OR_NONE},
        ),
        Panel(
            "Age of the models",
            "Time since the models were last equal to their store. 0: they come from a folder.",
            "s",
            {"{{instance}}": "time() - max by (instance) (covey_models_synced_timestamp_seconds)" + _OR_NONE},
        ),
        Panel(
            "Failures to follow the store",
            "store: it cannot be read; digest: a file is not what SHA256SUMS says; disk: the cache cannot be written.",
            "ops",
            {"{{reason}}": _rate("covey_models_sync_failures_total", "reason", "") + _OR_NONE},
        ),
        Panel(
            "Bytes read from the store",
            "Of model files.",
            "Bps",
            {"{{instance}}": _rate("covey_models_fetched_bytes_total", "instance", "") + _OR_NONE},
        ),
        Panel(
            "Load time of the versions served",
            "From the file to being ready: load, golden check, measuring.",
            "s",
            {"{{model}} {{version}}": f"max by (model, version) (covey_model_load_seconds{_OF})"},
        ),
        Panel(
            "Largest golden difference",
            "Of a probability, this device against PyTorch's. Above the model's tolerance it is refused.",
            "sci",
            {"{{model}} {{version}}": f"max by (model, version) (covey_golden_check_difference{_OF})"},
        ),
        Panel(
            "Memory of each server",
            "Resident.",
            "bytes",
            {"{{instance}}": "process_resident_memory_bytes and on (job, instance) covey_ready"},
        ),
        Panel(
            "Cores used by each server",
            "CPU seconds per second.",
            "short",
            {"{{instance}}": f"rate(process_cpu_seconds_total{_WINDOW}) and on (job, instance) covey_ready"},
        ),
        Panel(
            "Requests per second by server",
            "Alike where clients take turns.",
            "reqps",
            {"{{instance}}": _rate("covey_requests_total", "instance", "")},
        ),
        Panel(
            "Calls inside each server",
            "At most --max-calls.",
            "short",
            {"{{instance}}": "covey_calls_in_flight"},
        ),
        Panel(
            "Bytes and decodes inside all servers",
            "Bytes of the calls, decoded images included; images that wait for a decoder.",
            "short",
            {"bytes": "sum(covey_bytes_in_flight)", "decodes": "sum(covey_decodes_in_flight)"},
        ),
        Panel(
            "Refusals by reason",
            "docs/metrics.md tells the reasons.",
            "reqps",
            {"{{reason}}": _rate("covey_refused_total", "reason", "")},
        ),
        Panel(
            "Refusals by principal",
            "By limits of the limits file; `other`: who has no table there.",
            "reqps",
            {"{{principal}} {{reason}}": _rate("covey_principal_refused_total", "principal, reason", "") + _OR_NONE},
        ),
        Panel(
            "Why batches left",
            "Many full and gathered: the models are the limit.",
            "ops",
            {"{{reason}}": _rate("covey_batches_total", "reason")},
        ),
        Panel(
            "Error of the predicted run times",
            "0.1 is 10 %. Large where other work takes the cores.",
            "percentunit",
            {"{{instance}} {{model}}": f"covey_cost_model_error{_OF}"},
        ),
    ),
)

DASHBOARDS = (USERS, OPERATORS)
