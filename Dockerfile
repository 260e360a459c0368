# Covey's images: clients (SDK and `covey`), server-cpu, export (PyTorch), server-gpu. docs/deploy.md tells their sizes.
#
#   docker build --target server-cpu --tag covey-server .
#
# Versions are those of constraints.txt. Each image is the base, one layer of packages, one of our code. All packages
# come as wheels, so there is no compiler to leave behind. Works without BuildKit, which builds every stage above the
# target: the large ones stand last.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


FROM ${PYTHON_IMAGE} AS environment
# Where pip finds packages, if not on PyPI: given by --build-arg, read by pip, and shown by `docker history`.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PATH=/opt/covey/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN python3 -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Covey needs Python 3.11 or newer, PYTHON_IMAGE has %d.%d" % v[:2])'
# The mount points belong to the user, and so do new volumes that are mounted there.
RUN groupadd --gid 10001 covey \
 && useradd --uid 10001 --gid covey --home-dir /tmp --no-create-home --shell /usr/sbin/nologin covey \
 && install --directory --owner covey --group covey /models /checkpoints /data /reports \
 && python3 -m venv --without-pip /opt/covey


# What each image installs. By its content alone the layers of packages are kept: other changes of pyproject.toml
# leave them as they are.
FROM environment AS requirements
WORKDIR /requirements
COPY pyproject.toml constraints.txt deploy/requirements.py ./
RUN python3 requirements.py load >clients.txt \
 && python3 requirements.py cpu otel >server-cpu.txt \
 && python3 requirements.py cpu export >export.txt \
 && python3 requirements.py gpu otel >server-gpu.txt


# Our packages without their dependencies.
FROM environment AS code
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY export export
COPY server server
COPY clients clients
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && pip --python /opt/covey install --no-cache-dir --no-deps /wheels/*.whl


FROM environment AS clients
COPY --from=requirements /requirements/constraints.txt /requirements/clients.txt /requirements/
RUN pip --python /opt/covey install --no-cache-dir -c /requirements/constraints.txt -r /requirements/clients.txt
COPY --from=code /opt/covey /opt/covey
LABEL org.opencontainers.image.title="covey-clients" \
      org.opencontainers.image.description="The covey command and the Python SDK" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /reports
USER 10001:10001
ENTRYPOINT ["covey"]
CMD ["--help"]


FROM environment AS server-cpu
COPY --from=requirements /requirements/constraints.txt /requirements/server-cpu.txt /requirements/
RUN pip --python /opt/covey install --no-cache-dir -c /requirements/constraints.txt -r /requirements/server-cpu.txt
COPY --from=code /opt/covey /opt/covey
LABEL org.opencontainers.image.title="covey-server" \
      org.opencontainers.image.description="Serves ONNX image classifiers over gRPC and HTTP, on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
# /dev/shm: can be written to where the root file system cannot; a socket is all that is put there.
ENV COVEY_HOST=0.0.0.0 \
    COVEY_MODELS=/models \
    TMPDIR=/dev/shm
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["covey-server", "--probe"]
USER 10001:10001
ENTRYPOINT ["covey-server"]


FROM environment AS export
COPY --from=requirements /requirements/constraints.txt /requirements/export.txt /requirements/
RUN pip --python /opt/covey install --no-cache-dir -c /requirements/constraints.txt -r /requirements/export.txt
COPY deploy/export_missing.sh /usr/local/bin/export-missing
COPY --from=code /opt/covey /opt/covey
LABEL org.opencontainers.image.title="covey-export" \
      org.opencontainers.image.description="Trains convolutional networks and converts each to one ONNX file" \
      org.opencontainers.image.licenses="Apache-2.0"
# Below / the commands' own defaults, models and checkpoints, are the mount points.
WORKDIR /
USER 10001:10001
CMD ["export-missing"]


FROM environment AS server-gpu
COPY --from=requirements /requirements/constraints.txt /requirements/server-gpu.txt /requirements/
RUN pip --python /opt/covey install --no-cache-dir -c /requirements/constraints.txt -r /requirements/server-gpu.txt
COPY --from=code /opt/covey /opt/covey
LABEL org.opencontainers.image.title="covey-server-gpu" \
      org.opencontainers.image.description="Serves ONNX image classifiers over gRPC and HTTP, on CUDA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV COVEY_HOST=0.0.0.0 \
    COVEY_MODELS=/models \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    TMPDIR=/dev/shm
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["covey-server", "--probe"]
USER 10001:10001
ENTRYPOINT ["covey-server"]
