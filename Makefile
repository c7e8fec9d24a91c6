# The face for people. Each line installs what it needs and says so.
.PHONY: build demo test majors bench fuzz lint clean

build: ; @scripts/setup.sh build && scripts/build.sh
demo:  ; @scripts/demo.sh
test:  ; @scripts/test.sh
majors: ; @scripts/majors.sh
bench: ; @scripts/bench.sh
fuzz:  ; @scripts/fuzz.sh
lint:  ; @scripts/lint.sh
clean: ; @cargo clean
