#!/usr/bin/env bash
# Sets up what the tests need and runs them: bash scripts/test.sh [--slow] [--oldest] [pytest arguments]
#   --slow    also the long form of each proof
#   --oldest  with the oldest versions that setup.cfg allows; without ruff and mypy
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

environment=.venv-test constraints=scripts/constraints.txt arguments=()
for argument in "$@"; do
  case $argument in
    --oldest)
      environment=.venv-oldest constraints=.venv-oldest.txt
      "$(find_python)" -m scripts.tools.oldest setup.cfg > "$constraints.new"
      cmp -s "$constraints.new" "$constraints" || cp "$constraints.new" "$constraints"
      rm "$constraints.new" ;;
    *) arguments+=("$argument") ;;
  esac
done

SECONDS=0
make_environment "$environment" test "$constraints"
echo "installing took $SECONDS s"
SECONDS=0
# Not with the oldest versions: what ruff and mypy find depends on theirs.
if [ "$environment" = .venv-test ]; then
  code="siamjax tests scripts configs"
  "$environment/bin/ruff" check --quiet $code
  "$environment/bin/ruff" format --check --quiet $code
  "$environment/bin/python" -m mypy
fi
status=0
# Two workers of one thread each: JAX's own threads would only be in each other's way.
XLA_FLAGS="${XLA_FLAGS:---xla_cpu_multi_thread_eigen=false}" OMP_NUM_THREADS=1 \
  "$environment/bin/python" -m pytest -n 2 --dist worksteal "${arguments[@]}" || status=$?
echo "testing took $SECONDS s"
exit $status
