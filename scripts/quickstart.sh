#!/usr/bin/env bash
# From a fresh clone to a fault that is recognised from one example: installs, trains on
# the packaged captures, names a fault that training never saw. Run again, it reuses what
# is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

bold() {
  if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}
show() { echo "\$ $*"; }
# A terminal has a progress bar where a log would have a line for each 20 steps.
quietly() { if [ -t 2 ]; then "$@"; else "$@" 2> >(grep -v '^step ' >&2); fi; }

SECONDS=0
bold "1/5 Installing into .venv"
make_environment .venv viz
echo "installing took $SECONDS s"
SECONDS=0
bin=.venv/bin captures=data/testbed/captures
mkdir -p runs

bold "2/5 Reading the captures of data/testbed"
if [ ! -e runs/testbed/meta.json ]; then
  $bin/siamjax ingest --captures $captures --labels data/testbed/labels.csv \
    --out runs/testbed > runs/testbed.txt
  tail -n 1 runs/testbed.txt | fold -s -w 80
  echo "what was read of each capture: runs/testbed.txt"
fi

bold "3/5 Training; the captures of delay, packet_loss and busy_reject are held out"
quietly $bin/siamjax train --workdir runs/first > runs/first.txt
sed -n '/^identification/,$p' runs/first.txt
echo "all tables: runs/first.txt"

bold "4/5 A fault that training never saw: delayed answers"
show siamjax identify --workdir runs/first delay_001.pcap.xz
$bin/siamjax identify --workdir runs/first $captures/delay_001.pcap.xz
echo "It is unknown. Name it once, by the window at 60 s; the next capture is recognised:"
show siamjax learn --workdir runs/first slow=delay_001.pcap.xz@60
$bin/siamjax learn --workdir runs/first slow=$captures/delay_001.pcap.xz@60
show siamjax identify --workdir runs/first delay_002.pcap.xz
$bin/siamjax identify --workdir runs/first $captures/delay_002.pcap.xz
show siamjax forget --workdir runs/first slow
$bin/siamjax forget --workdir runs/first slow

bold "5/5 Drawing"
quietly $bin/siamjax visualize --workdir runs/first > /dev/null
cat << END

That took $SECONDS s after the installation. Look at
  runs/first/report.html      one page: points, results, captures over time, mistakes
  runs/first/film/film.mp4    the points parting as training goes on
Type next
  . .venv/bin/activate
  siamjax --help                                  all commands
  siamjax identify --workdir runs/first CAPTURE   what happens in your own capture
  tensorboard --logdir runs/first                 scalars and points
  siamjax train --config configs/all.py --workdir runs/all   the run to deploy
END
