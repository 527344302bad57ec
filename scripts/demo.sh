#!/usr/bin/env bash
# A freshly simulated patient becomes a prediction, an explanation and a PDF, by the demonstration model.
set -euo pipefail
cd "$(dirname "$0")/.."

fedpet=.venv/bin/fedpet
seed=${SEED:-$(date +%s)}
export FEDPET_HOME=${FEDPET_HOME:-$PWD/demo/home}

rm -rf demo
mkdir demo
"$fedpet" cohort simulate --patients 1 --sites 1 --seed "$seed" --out demo/cohort
"$fedpet" predict demo/cohort/S1/dicom/* --clinical demo/cohort/S1/clinical.csv --out demo "$@"

cat <<TEXT

Open:
  demo/report.pdf        the report of a tumour board
  demo/mip.png           the lesions on maximum intensity projections
  demo/fused.png         fused PET/CT through the largest lesion
  demo/saliency.png      what raised and lowered the risk score
  demo/result.json       everything as data
  demo/saliency.nii.gz, demo/lesions.nii.gz   for any NIfTI viewer
The patient is synthetic (seed $seed); the truth is in demo/cohort/S1/truth. Now try: .venv/bin/fedpet app
TEXT
