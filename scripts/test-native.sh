#!/bin/sh
# The kernel tests, the unit tests of digests, and the fuzz targets with C in them, with a native/ that is built with
# AddressSanitizer and UndefinedBehaviorSanitizer. Runs as root and takes some minutes, so it is not part of npm test. Every report fails the run, also that of a process whose exit
# code no test checks. Needs gcc, which has both runtimes.
#
#   npm run test:native                         all of them in src/
#   npm run test:native -- kernel child waiter  only the files with "child" or "waiter" in their path
#   npm run test:native -- fuzz gzip            only the fuzz target gzip
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm run test:native needs root: it makes mounts, namespaces and cgroups" >&2
  exit 1
fi

# A mount namespace of its own, in which the sanitized build covers the shipped one.
if [ -z "${DAVIT_SANITIZED_REPORTS-}" ]; then
  sh scripts/setup.sh --test
  sh scripts/build.sh
  sh scripts/build-native.sh --sanitize
  reports=$(mktemp -d "${TMPDIR:-/tmp}/davit-test-native.XXXXXX")
  trap 'rm -rf "$reports"' EXIT
  trap 'exit 130' INT TERM
  code=0
  DAVIT_SANITIZED_REPORTS=$reports unshare --mount --propagation private sh "$0" "$@" || code=$?
  for report in "$reports"/address.* "$reports"/undefined.*; do
    [ -f "$report" ] || continue
    cat "$report"
    code=1
  done
  exit "$code"
fi

for built in native/build/davit*; do
  mount --bind "$built" "dist/${built##*/}"
done
PATH=$PWD/node_modules/.bin:$PATH
export PATH
# node itself has no sanitizer in it, so the runtime must be loaded first; leaks at its end are node's own. The
# script is for processes that are started without an environment: by a test, or as a program of davit, for which it
# is the program that runs this process. Little freed memory is kept: a test
# measures how much there is.
DAVIT_TEST_NODE=$DAVIT_SANITIZED_REPORTS/node
cat >"$DAVIT_TEST_NODE" <<END
#!/bin/sh
export LD_PRELOAD='$(${CC:-cc} -print-file-name=libasan.so)'
export ASAN_OPTIONS='detect_leaks=0:abort_on_error=1:quarantine_size_mb=4:allocator_release_to_os_interval_ms=100:log_path=$DAVIT_SANITIZED_REPORTS/address'
export UBSAN_OPTIONS='print_stacktrace=1:abort_on_error=1:log_path=$DAVIT_SANITIZED_REPORTS/undefined'
exec '$(node -p process.execPath)' --import 'data:text/javascript,process.execPath="$DAVIT_TEST_NODE"' "\$@"
END
chmod 0755 "$DAVIT_SANITIZED_REPORTS" "$DAVIT_TEST_NODE"
export DAVIT_TEST_NODE
case "${1:-}" in
  "")
    code=0
    "$DAVIT_TEST_NODE" test/run.ts unit src/linux/blob/ || code=1
    "$DAVIT_TEST_NODE" test/run.ts kernel src/ || code=1
    "$DAVIT_TEST_NODE" test/fuzz/run.ts --native --cases 2000 || code=1
    exit "$code"
    ;;
  fuzz)
    shift
    "$DAVIT_TEST_NODE" test/fuzz/run.ts --native --cases 2000 "$@"
    ;;
  *) "$DAVIT_TEST_NODE" test/run.ts "$@" ;;
esac
