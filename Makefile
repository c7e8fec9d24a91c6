# The face for people. Each line installs what it needs and says so.
.PHONY: build demo test e2e majors bench criterion fuzz mutants coverage scale crash kills rotate upgrade soak footprint growth differential transparency shuttle lint clean cluster cluster-down

build: ; @scripts/setup.sh build && scripts/build.sh
demo:  ; @scripts/demo.sh
test:  ; @scripts/test.sh
e2e:   ; @scripts/e2e.sh
majors: ; @scripts/majors.sh
bench: ; @scripts/bench.sh
criterion: ; @scripts/criterion.sh
fuzz:  ; @scripts/fuzz.sh
mutants: ; @scripts/mutants.sh
coverage: ; @scripts/coverage.sh
scale: ; @scripts/scale.sh
crash: ; @scripts/crash.sh
kills: ; @scripts/kills.sh
rotate: ; @scripts/rotate.sh
upgrade: ; @scripts/upgrade.sh
soak:  ; @scripts/soak.sh
footprint: ; @scripts/footprint.sh
growth: ; @scripts/growth.sh
differential: ; @scripts/differential.sh
transparency: ; @scripts/transparency.sh
shuttle: ; @scripts/shuttle.sh
lint:  ; @scripts/lint.sh
cluster: ; @scripts/setup.sh cluster && e2e/cluster/up.sh
cluster-down: ; @e2e/cluster/down.sh
clean: ; @cargo clean
