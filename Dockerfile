# The calve command with both sherpa clients, on the CPU:
#   docker build --tag calve .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" calve export ...
# Continuous integration does not build this image; .ci/build tries the wheel that it installs.
FROM python:3.11-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
# Options of pip: which index has torch without CUDA, or a mirror.
ARG PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir $PIP_OPTIONS --constraint /tmp/constraints.txt \
    "$(ls /wheels/calve-*.whl)[sherpa-ncnn,sherpa-onnx]"
RUN useradd --create-home calve
# Caches of compiled functions have a place whatever user the container runs as.
ENV HOME=/tmp
USER calve
WORKDIR /work
ENTRYPOINT ["calve"]
CMD ["--help"]
