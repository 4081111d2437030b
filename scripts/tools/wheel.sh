#!/usr/bin/env bash
# Builds the wheel and uses it as a stranger would, in an empty folder, with each Python
# from 3.11 that is at hand: bash scripts/tools/wheel.sh [PYTHON ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
clone=$PWD folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

pythons=("$@")
if [ $# -eq 0 ]; then
  for python in python3.11 python3.12 python3.13 "$HOME"/.pyenv/versions/3.1[1-9]*/bin/python; do
    if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      pythons+=("$python")
    fi
  done
fi

git archive HEAD | tar x -C "$(mkdir -p "$folder/source" && echo "$folder/source")"
"${pythons[0]}" -m pip wheel --quiet --disable-pip-version-check --no-deps \
  --wheel-dir "$folder" "$folder/source"

declare -A done
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import platform; print(platform.python_version())')
  [ -n "${done[${version%.*}]:-}" ] && continue
  done[${version%.*}]=yes
  "$python" -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$clone/scripts/constraints.txt" "$folder"/siamjax-*.whl
  bin=$folder/$version/bin
  mkdir "$folder/empty-$version"
  cd "$folder/empty-$version"
  mkdir captures
  cp "$clone"/data/testbed/captures/{normal,blocked,capacity_limit,delay,link_flap}_00[1-4].pcap.xz captures
  grep -E '^file|_00[1-4]\.' "$clone/data/testbed/labels.csv" |
    grep -E '^file|normal|blocked|capacity_limit|delay|link_flap' > labels.csv
  "$bin/siamjax" ingest --captures captures --labels labels.csv --out runs/testbed > ingest.txt
  "$bin/siamjax-train" --workdir runs/first --config.steps=40 --config.evaluate_every=20 \
    --config.batch.conditions=3 --config.data.novel_valid='("link_flap",)' \
    --config.data.novel='("delay",)' > train.txt 2> log.txt
  "$bin/python" -m siamjax.identify --workdir runs/first captures/blocked_001.pcap.xz > identify.txt
  grep -q '  blocked ' identify.txt
  "$bin/python" -c 'import siamjax; print(siamjax.open_run("runs/first"))'
  echo "Python $version: $(tail -1 identify.txt)"
  cd "$clone"
done
