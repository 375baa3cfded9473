# One-liners over bootstrap.py and `python -m flows.cli`, so that Windows users have the same commands without make.
PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)

.PHONY: demo test check env data lock embedded
.DEFAULT_GOAL := demo

env:            ## the environment
	@$(PYTHON) bootstrap.py

data: env       ## the embedded data, base model and judge, from the remote inside the repository
	@$(BIN)/dvc pull --quiet

demo: data      ## the whole pipeline on the demo's recipe, then one picture over HTTP
	@$(BIN)/python -m flows.cli demo

# Several processes: a Prefect flow that is interrupted in a process where OpenVINO has compiled a model can crash Python;
# so what draws (flows/drawing) stands apart from the flows that are interrupted.
test: data      ## the test suite
	@$(BIN)/python -m pytest tests/components
	@$(BIN)/python -m pytest tests/contract tests/flows --ignore=tests/flows/drawing
	@$(BIN)/python -m pytest tests/flows/drawing tests/serving tests/test_bootstrap.py tests/test_storage.py
	@$(BIN)/python -m pytest tests/deploy

check: env      ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

embedded: env   ## draw the embedded world and train its base model and judge again
	@$(BIN)/python -m flows.embedded

lock: env       ## resolve requirements.lock again
	@$(BIN)/uv pip compile pyproject.toml --extra bench --extra cluster --extra dev --extra studio --extra team --extra video --python-version 3.11 --output-file requirements.lock
