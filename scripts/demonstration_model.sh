#!/usr/bin/env bash
# Make the demonstration model again: simulate, prepare eight nodes, train them with Fed-BioMed, evaluate, export.
# Usage: scripts/demonstration_model.sh WORK_FOLDER BUNDLE_FOLDER     (about 45 minutes on two cores)
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(realpath -m "${1:?work folder}")
bundle=${2:?folder of the new bundle}
fedpet=.venv/bin/fedpet
sites=(S1 S2 S3 S4 S5 S6 S7 S8)

# Validation patients are chosen by the hash of their pseudonyms. This key is public: the patients are synthetic.
export FEDPET_HOME=$work/home
mkdir -p "$FEDPET_HOME"
printf 'synthetic patients, not a secret' >"$FEDPET_HOME/pseudonym.key"

prepare_set() { # name, patients, seed
  [ -d "$work/$1" ] || "$fedpet" cohort simulate --patients "$2" --sites 8 --seed "$3" --fidelity coarse --workers 2 --out "$work/$1"
  for site in "${sites[@]}"; do
    [ -f "$work/$1-nodes/$site/node.json" ] || "$fedpet" cohort prepare "$work/$1/$site/dicom" "$work/$1/$site/clinical.csv" \
      --masks "$work/$1/$site/truth" --out "$work/$1-nodes/$site" --workers 2
  done
}

prepare_set train 360 2026
prepare_set holdout 200 2027

holdout=()
for site in "${sites[@]}"; do holdout+=(--holdout "$work/holdout-nodes/$site"); done
"$fedpet" train rehearse --nodes "$work"/train-nodes/* "${holdout[@]}" --rounds 18 --batch-size 1 --learning-rate 1e-2 \
  --name fedpet-demonstration --version 0.1.0 --out "$bundle"
