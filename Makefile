# Every target sets up what it needs. `make demo` and `make test` are all that a new machine takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SITE := $(VENV)/.site
DEMO := build/demo

.PHONY: demo test quality mutation faults fuzz style hooks bench interop reproduced fixtures docs pictures vendored site clean

$(STAMP): pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c requirements/dev.txt
	@touch $(STAMP)

## Lay out the models that README speaks of, and play its story on them.
demo: $(STAMP)
	@$(BIN)/python -m fixtures.demo $(DEMO) --play
	@echo && echo "Paste README's lines after: cd $(DEMO) && . ../../$(BIN)/activate"

## The test suite; no network, no torch.
test: $(STAMP)
	$(BIN)/python -m pytest tests ckptkit --ignore=tests/interop --ignore=tests/kernels -n 2

## Types, lint, layout; generated files against the code that generates them; the site.
quality: $(STAMP) site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m fixtures.build --verify

style: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## Check every commit in this clone as "make quality" does.
hooks: $(STAMP)
	$(BIN)/pre-commit install

## The real libraries as judges. Their environments are built once per machine and set of pins.
interop: $(STAMP)
	$(BIN)/python tests/interop/environments.py --all
	$(BIN)/python -m fixtures.build --check
	PYTHONPATH=. $$($(BIN)/python tests/interop/environments.py kernels) -m pytest tests/kernels -p no:cacheprovider
	$(BIN)/python -m pytest tests/interop

## Write what vLLM and transformers do where rules fire into their data; CODES=CK301,CK302 asks about rules anew.
reproduced: $(STAMP)
	$(BIN)/python -m pytest tests/interop/test_rules.py -k does_what_its_data_says --record $(CODES)

## Small changes to the code: how many do tests notice? MINUTES=20 bounds the time, SEED=0 chooses the sample.
MINUTES ?= 20
SEED ?= 0
mutation: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mutation]' -c requirements/dev.txt
	$(BIN)/python tests/mutation.py --minutes $(MINUTES) --seed $(SEED)

## Every writing command killed and failing at every step, by a shim and by strace; RECORD=FILE keeps the figures.
faults: $(STAMP)
	$(BIN)/python -m tests.faults $(if $(RECORD),--record $(RECORD))

## Readers of untrusted bytes under a coverage-guided fuzzer, commands on mutated folders; KEEP=1 keeps what is new.
INPUTS ?= 10000
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' -c requirements/dev.txt
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(if $(KEEP),--keep) $(if $(RECORD),--record $(RECORD))

bench: $(STAMP)
	$(BIN)/python -m benchmarks

## Export the fixtures again with the real tools.
fixtures: $(STAMP)
	$(BIN)/python -m fixtures.build

## Write the pages that are generated from the code.
docs: $(STAMP)
	$(BIN)/python docs/generate.py

## Take the pictures of a report page anew, in headless Chromium.
pictures: $(STAMP)
	$(BIN)/python docs/pictures.py

## Is the charting library in report pages what was published? WRITE=1 takes the version that vendor.json names.
vendored: $(STAMP)
	$(BIN)/python tests/interop/vendored.py $(if $(WRITE),--write)

## The site, made of docs/ in build/site: a link that leads nowhere is an error, and so is a page that asks for the network.
site: $(SITE)
	$(BIN)/mkdocs build --quiet --strict
	$(BIN)/python docs/site_links.py build/site

$(SITE): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[site]' -c requirements/dev.txt
	@touch $(SITE)

clean:
	rm -rf $(VENV) build dist mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
