# Every recipe is one command, so that a signal sent to make reaches the program itself.
.DEFAULT_GOAL := help
.PHONY: help setup build run rig pay rig-packages test judges lint fmt audit fuzz simulate mutants chaos bench catalog catalog-put reconcile verify-receipt cli wasm-hash weights eval replay backtest deploy-check deploy clean

# rust-toolchain.toml decides, whatever the caller's shell has chosen.
unexport RUSTUP_TOOLCHAIN

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install the toolchain, the npm packages and wasm-bindgen
	@tools/setup.sh

build: ## set-up, then compile the worker into build/
	@tools/build.sh

run: build ## the worker on PORT (8787) with the sandbox beside it, state in STATE_DIR (.state)
	@tools/node tools/run.mjs

rig: rig-packages ## a chain with money on it and an x402 facilitator, where `make run` looks for them (ports 8545 and 4022)
	@tools/node tests/x402/rig.mjs --greet

pay: rig-packages ## pay for a call as an agent without an account, beside make run and make rig; SCHEME=upto TOKEN=usdc MODEL= PROMPT= BASE_URL=
	@SCHEME='$(SCHEME)' TOKEN='$(TOKEN)' MODEL='$(MODEL)' PROMPT="$$PROMPT" BASE_URL='$(BASE_URL)' tools/node tools/pay.mjs

rig-packages:
	@tools/setup.sh x402

test: build ## everything that must hold; ONLY="host runtime" runs some of it
	@tools/test.sh $(ONLY)

judges: setup ## suites and coding agents that nobody here wrote, against the worker; ONLY="openai_tests codex"
	@tests/judges/run.sh $(ONLY)

lint: setup ## formatting, clippy for both targets and the tools that use the library, dependency rules
	@tools/lint.sh

fmt: setup ## format the Rust code
	@tools/lint.sh --fix

audit: setup ## known vulnerabilities of the dependencies (asks the advisory database)
	@tools/lint.sh --audit

wasm-hash: setup ## the hash of the Wasm, from two builds in two folders, which must be the same
	@tools/hash.sh

fuzz: setup ## random bytes against every reader; TARGET=streams FUZZ_SECONDS=60
	@tools/fuzz.sh $(TARGET)

simulate: setup ## the account's money under every fault, a seed after another; SEEDS=1000000 FROM=0, or SEED=7 with its steps
	@SEEDS=$(or $(SEEDS),100000) cargo test --locked --profile simulate --test simulate -- --nocapture

mutants: setup ## break the account's transitions one by one and see that a test notices; ONLY="void" for some of them
	@python3 tools/mutants.py $(ONLY)

chaos: build ## requests while providers fail at random, and the books afterwards; N=10000 SEED=1
	@N=$(N) SEED=$(SEED) tools/node tools/chaos.mjs

bench: build ## figures of this build beside the platform's floors (Linux, nine minutes); ONLY="account size"
	@tools/bench/run.sh

eval: setup ## judge the routing on labelled prompts; DATA=file WEAK= STRONG= | POOL= TARGET= LABELS= ESCALATE= SEED= OUT=
	@DATA='$(DATA)' WEAK='$(WEAK)' STRONG='$(STRONG)' POOL='$(POOL)' TARGET='$(TARGET)' LABELS='$(LABELS)' ESCALATE='$(ESCALATE)' \
		SEED='$(SEED)' OUT='$(OUT)' tools/router.sh eval

replay: setup ## make the decision of a REQUEST again from its record, bit for bit (beside make run, or BASE_URL= ADMIN_KEY=)
	@REQUEST='$(or $(REQUEST),$(error REQUEST=req_… is missing))' tools/replay.sh

backtest: setup ## what another MODE= or CATALOG=file would have chosen for the last LIMIT=1000 requests; OUT=json
	@MODE='$(MODE)' CATALOG='$(CATALOG)' LIMIT='$(LIMIT)' OUT='$(OUT)' tools/replay.sh

cli: ## build the command line for admins, target/debug/megarouter; `megarouter help` tells the rest
	@CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}" cargo build --quiet --locked --manifest-path tools/megarouter/Cargo.toml

weights: setup ## train the weights of the quality prior (schema/quality.bin) from the data in tools/router
	@tools/router.sh train

catalog: ## make schema/catalog.json from the price tables, and show what changed
	@python3 tools/catalog/generate.py

catalog-put: setup ## check FILE (schema/catalog.json) and put it in force; REMOTE=1 on the deployed worker
	@python3 tools/catalog/put.py $(or $(FILE),schema/catalog.json)

reconcile: setup ## hold every account against the ledger in D1, and resolve unknown charges
	@tools/node tools/reconcile.mjs

verify-receipt: ## check a signed receipt, without the network; RECEIPT=receipt.json KEYS=keys.json BODY=body.json
	@CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}" cargo run --quiet --locked --manifest-path tools/receipt/Cargo.toml -- \
		"$${RECEIPT:?is missing}" "$${KEYS:?is missing}" $${BODY:+"$$BODY"}

deploy-check: build ## bundle as for a deployment and weigh it
	@tools/deploy.sh --dry-run

deploy: build ## deploy to Cloudflare (fill in the ids in wrangler.toml first)
	@tools/deploy.sh

clean: ## remove what was built; state and installed tools stay
	rm -rf build dist target .wrangler
