#!/usr/bin/env bash
# From a fresh clone to named faults: installs, trains on the packaged captures, evaluates,
# identifies, draws. Run again, it reuses what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

SECONDS=0
step "1/5 installing into .venv"
make_environment .venv viz
echo "installing took $SECONDS s"
SECONDS=0
bin=.venv/bin

step "2/5 reading the captures of data/testbed"
[ -e runs/testbed/meta.json ] || $bin/siamjax-ingest --captures data/testbed/captures \
  --labels data/testbed/labels.csv --out runs/testbed

step "3/5 training (runs/first)"
$bin/siamjax-train --config configs/default.py --workdir runs/first

step "4/5 naming the faults of a capture that was held out"
capture=$($bin/python scripts/tools/held_out.py runs/first data/testbed/captures)
$bin/siamjax-identify --workdir runs/first "$capture"

step "5/5 results"
$bin/siamjax-evaluate --workdir runs/first
$bin/siamjax-visualize --workdir runs/first > /dev/null
cat <<END

That took $SECONDS s after the installation. Look at
  runs/first/report.html         one page: the points through training, results, captures over time, mistakes
  runs/first/film/film.mp4       the points parting as training goes on
  runs/first/embedding.png       windows of traffic as points: green normal, red blocked, orange capacity limit
  runs/first/results.json        all results
Type next
  . .venv/bin/activate
  tensorboard --logdir runs/first                 scalars, and the points in the projector
  siamjax-identify --workdir runs/first CAPTURE   name what happens in your own capture
  siamjax-identify --workdir runs/first --example my_fault=CAPTURE@SECONDS OTHER_CAPTURE
  siamjax-train --config configs/all.py --workdir runs/all      the run to deploy: on all captures, five trainings
END
