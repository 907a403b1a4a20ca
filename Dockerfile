# Two images: `services` (bridge, Flower, development backend), which has no torch, and `worker`.
# The parts of the lock, each up to a blank line: a change of one installs the other no more.
FROM python:3.11-slim-bookworm AS requirements
COPY requirements.txt requirements.lock ./
RUN sed -n '/^# Services/,/^$/p' requirements.lock > services.txt \
 && sed -n '/^# Training/,/^$/p' requirements.lock > training.txt \
 && grep -o '^torch==[0-9.]*' requirements.txt > torch.txt


FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    TRAINYARD_HOME=/var/lib/trainyard DATASET_ROOTS=/datasets MODEL_ROOTS=/models \
    HF_HOME=/var/cache/huggingface \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
COPY --from=requirements /services.txt /requirements/
RUN pip install --no-deps --require-hashes -r /requirements/services.txt
# Volumes take their owner from the folders of the image.
RUN useradd --uid 1000 --create-home trainyard \
 && install -d -o trainyard -g trainyard "$TRAINYARD_HOME" "$HF_HOME" \
 && install -d -o trainyard -g trainyard -m 750 /run/trainyard \
 && install -d "$DATASET_ROOTS" "$MODEL_ROOTS"
# Names of services before /etc/hosts, which says where the host is: `backend` is the development
# backend where that runs, else the host.
RUN sed -i 's/^hosts:.*/hosts: dns files/' /etc/nsswitch.conf


FROM base AS services
COPY . .
RUN pip install --no-deps --no-build-isolation --editable . && python -m compileall -q .
USER trainyard
CMD ["python", "-m", "backend_bridge.server"]


FROM base AS worker
# `cpu`; `cuda`, the build on PyPI; or another one of download.pytorch.org/whl, `cu126` say.
ARG TORCH_BUILD=cpu
COPY --from=requirements /torch.txt /training.txt /requirements/
# What torch ships for building and testing extensions is left out.
RUN torch=$(cat /requirements/torch.txt) && index= \
 && if [ "$TORCH_BUILD" != cuda ]; then \
        torch="$torch+$TORCH_BUILD" \
        index="--extra-index-url https://download.pytorch.org/whl/$TORCH_BUILD"; \
    fi \
 && pip install --no-deps $torch $index \
 && pip install --no-deps --require-hashes -r /requirements/training.txt \
 && pip install $torch $index \
 && cd "$(python -c 'import importlib.util as i; print(i.find_spec("torch").submodule_search_locations[0])')" \
 && rm -rf test include \
 && find bin -type f ! -name torch_shm_manager -delete
COPY . .
RUN pip install --no-deps --no-build-isolation --editable . && python -m compileall -q .
USER trainyard
CMD ["python", "-m", "worker.launcher"]
