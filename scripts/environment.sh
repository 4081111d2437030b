# Sourced by quickstart.sh and test.sh: finds a Python, makes a virtual environment, installs.
# Usage: make_environment FOLDER EXTRAS [CONSTRAINTS]

find_python() {
  for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  echo "siamjax needs Python 3.11 or later: install it (Debian: apt install python3)" >&2
  exit 1
}

make_environment() {
  local folder=$1 extras=$2 constraints=${3:-scripts/constraints.txt} python stamp
  stamp="$folder/.installed"
  if [ -e "$stamp" ] && [ ! setup.cfg -nt "$stamp" ] && [ ! "$constraints" -nt "$stamp" ]; then
    return
  fi
  python=$(find_python) || exit 1
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Python's venv module is missing: install it (Debian: apt install python3-venv)" >&2
    exit 1
  fi
  "$python" -m venv "$folder" || exit 1
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$constraints" --editable ".[$extras]" || exit 1
  touch "$stamp"
}
