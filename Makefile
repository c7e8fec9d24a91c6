# The face for people. Each line installs what it needs and says so.
.PHONY: build demo test bench fuzz lint clean

build: ; @scripts/setup.sh build && scripts/build.sh
demo:  ; @scripts/demo.sh
test:  ; @scripts/test.sh
bench: ; @scripts/bench.sh
fuzz:  ; @scripts/fuzz.sh
lint:  ; @scripts/lint.sh
clean: ; @cargo clean
