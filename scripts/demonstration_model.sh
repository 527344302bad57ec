#!/usr/bin/env bash
# Make the next demonstration model: simulate node data of eight centres, train them with Fed-BioMed, evaluate, export.
# It holds overall survival, too, and a learned term over the lesions' crops if the gate lets it in; the card says so.
# Usage: scripts/demonstration_model.sh WORK_FOLDER BUNDLE_FOLDER     (two cores: half an hour of simulation, then the training)
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(realpath -m "${1:?work folder}")
bundle=${2:?folder of the new bundle}
fedpet=.venv/bin/fedpet

# Validation patients are chosen by the hash of their pseudonyms. This key is public: the patients are synthetic.
export FEDPET_HOME=$work/home
mkdir -p "$FEDPET_HOME"
printf 'synthetic patients, not a secret' >"$FEDPET_HOME/pseudonym.key"

simulate() { # name, patients, seed
  [ -f "$work/$1/cohort.json" ] || "$fedpet" cohort simulate --patients "$2" --sites 8 --seed "$3" --fidelity coarse \
    --node-data --crops --workers 2 --out "$work/$1"
}

simulate train 400 2026
simulate holdout 180 2027

holdout=()
for site in S1 S2 S3 S4 S5 S6 S7 S8; do holdout+=(--holdout "$work/holdout/$site"); done
"$fedpet" train simulate --nodes "$work"/train/S? "${holdout[@]}" --network table \
  --overall-survival --learned-term --contract "$work/train/contract.json" \
  --name fedpet-demonstration --version 0.4.0 --work "$work/federation" --out "$bundle"
