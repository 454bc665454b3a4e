# Everything on a fresh clone with Python 3.11 or newer:
#
#   make demo     install, let a tiny model learn the bundled corpus, talk to it
#   make test     install, lint, type-check, test
#   make lint     ruff and mypy          make format   let ruff rewrite
#   make bench    the benchmarks on real dialogues (CHATGPT2_DATA names their folder)
#
#   make … VENV=/path      reuse an environment      make … PYTHON=python3.12   choose the interpreter
#   make demo MINUTES=10   learn longer              make demo DEMO=models/mine another folder for the model

VENV ?= .venv
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
MINUTES ?= 3
DEMO ?= models/demo

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
CHATGPT2 = $(VENV)/bin/chatgpt2
# An environment may serve several clones in turn: each has its own stamp, and installing removes the others'.
HERE := $(shell pwd | cksum | cut -d' ' -f1)
INSTALLED = $(VENV)/.chatgpt2-$(HERE)
INSTALLED_DEV = $(VENV)/.chatgpt2-$(HERE)-dev
FOREIGN = tests/foreign/node_modules/.package-lock.json
CHECKED = chatgpt2 bots migrations corpus benchmarks tests

.PHONY: demo test lint format bench
.DEFAULT_GOAL := demo

# A tiny model of a tiny corpus is most pleasant when it knows its corpus by heart and takes few risks.
LEARN = --size tiny --dropout 0 --lr 6e-3
TALK = --temperature 0.5 --repetition-penalty 1

SAID = 你好 你叫什么名字 今天天气真好 讲个笑话 再见

# With a terminal a conversation; without one (a pipe, CI) a few lines are said and the replies printed.
demo: $(DEMO)/.trained
	@if [ -t 0 ] && [ -t 1 ]; then \
		exec $(CHATGPT2) chat --model "$(DEMO)" $(TALK); \
	fi; \
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	printf '%s\n' $(SAID) > "$$folder/said" && \
	$(CHATGPT2) chat --model "$(DEMO)" $(TALK) --seed 1 --database "sqlite:///$$folder/talk.db" \
		< "$$folder/said" > "$$folder/replies" && \
	sed 's/^/你：    /' "$$folder/said" > "$$folder/you" && \
	sed 's/^/机器人：/' "$$folder/replies" | paste -d '\n' "$$folder/you" -

# A run that was interrupted goes on where it stopped; a finished one is only talked to.
$(DEMO)/.trained: | $(INSTALLED)
	@if [ -e "$(DEMO)/run.json" ]; then \
		$(CHATGPT2) train-dialog --resume --out "$(DEMO)"; \
	else \
		$(CHATGPT2) train-dialog corpus/ $(LEARN) --minutes $(MINUTES) --out "$(DEMO)"; \
	fi
	@touch "$@"

test: lint $(FOREIGN)
	$(VENV)/bin/python -m pytest -n 3 --dist worksteal

# Clients that others wrote for Node; without them a few tests are skipped.
$(FOREIGN): tests/foreign/package-lock.json
	@if ! command -v npm > /dev/null; then echo "npm is not installed: the tests that need it are skipped"; \
	else npm ci --prefix tests/foreign --no-audit --no-fund --loglevel=error \
		|| echo "npm could not install tests/foreign: the tests that need it are skipped"; fi

# mypy finds packages by their folders, so it is shown the layout of the wheel: bots inside chatgpt2.
lint: $(INSTALLED_DEV)
	$(VENV)/bin/ruff check $(CHECKED)
	$(VENV)/bin/ruff format --check $(CHECKED)
	@rm -rf build/typed/chatgpt2 && mkdir -p build/typed/chatgpt2
	@ln -s "$(CURDIR)"/chatgpt2/* "$(CURDIR)/bots" "$(CURDIR)/migrations" build/typed/chatgpt2/
	cd build/typed && $(abspath $(VENV))/bin/mypy --config-file ../../pyproject.toml -p chatgpt2

format: $(INSTALLED_DEV)
	$(VENV)/bin/ruff check --fix $(CHECKED)
	$(VENV)/bin/ruff format $(CHECKED)

bench: $(INSTALLED)
	@if [ -z "$$CHATGPT2_DATA" ]; then \
		echo "Set CHATGPT2_DATA to a folder with real dialogues first; docs/benchmarks.md says which files." >&2; \
		exit 1; \
	fi
	$(VENV)/bin/python benchmarks/tokenise.py "$$CHATGPT2_DATA/dialogues"
	$(VENV)/bin/python benchmarks/decode.py
	$(VENV)/bin/python benchmarks/serve.py
	$(VENV)/bin/python benchmarks/train.py
	$(VENV)/bin/python benchmarks/text.py --seconds 60 --size tiny
	$(VENV)/bin/python benchmarks/classify.py --pretrain-steps 500 --steps 100
	$(VENV)/bin/python benchmarks/terminal.py --turns 20
	$(VENV)/bin/python benchmarks/gateway.py
	$(VENV)/bin/python benchmarks/crash.py --rounds 20

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or newer is needed, and none was found. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"Python 3.11 or newer is needed, and $(PYTHON) is {sys.version.split()[0]}: make PYTHON=/path/to/a/newer/python3")'
	$(PYTHON) -m venv "$(VENV)"

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing chatgpt2 and what it needs into $(VENV) (a few minutes the first time) …"
	@$(PIP) -e .
	@rm -f "$(VENV)"/.chatgpt2-*
	@touch "$@"

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing chatgpt2, what it needs and the developers' tools into $(VENV) (a few minutes the first time) …"
	@$(PIP) -e '.[dev]'
	@rm -f "$(VENV)"/.chatgpt2-*
	@touch $(INSTALLED) "$@"
