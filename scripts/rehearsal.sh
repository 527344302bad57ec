#!/usr/bin/env bash
# A federation of three hospitals on this machine, from nothing to a promoted model: every command that the coordinating
# centre and the data managers run, as docs/federation.md and docs/hospital_node.md give them.
# Usage: scripts/rehearsal.sh [WORK_FOLDER]     (make rehearsal)
#   FEDPET   the command (default: .venv/bin/fedpet)
#   DATA     node data of three sites, contract.json and held-out/<site>, in place of simulated clinical inputs
#            (images would take minutes); also NETWORK (default: table, fitted exactly) and ROUNDS of the training (default: 8)
#   WAIT     not empty: at the end the nodes run on until Enter
set -euo pipefail
cd "$(dirname "$0")/.."

fedpet=${FEDPET:-$PWD/.venv/bin/fedpet}
work=$(realpath -m "${1:-rehearsal}")
export FEDPET_HOME=$work/home FEDPET_LANGUAGE=${FEDPET_LANGUAGE:-en} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ -e "$work" ]; then
  echo "$work exists: give another folder or remove it" >&2
  exit 2
fi
mkdir -p "$work"
cd "$work"

step() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS" >&2; }

nodes=()
stop_nodes() {
  for node in "${nodes[@]}"; do kill "$node" 2>/dev/null || true; done
  wait
}
trap stop_nodes EXIT

step "Node data of three hospitals, and patients whom the training never sees"
data=${DATA:-}
if [ -z "$data" ]; then
  data=$work/data
  simulate() { "$fedpet" cohort simulate --node-data --spacing 0 --sites 3 "$@"; }
  simulate --patients 240 --seed 1 --out "$data"
  FEDPET_HOME=$work/home-of-others simulate --patients 90 --seed 2 --out "$data/held-out" # pseudonyms of their own
fi
mapfile -t sites < <(cd "$data" && for header in */node.json; do dirname "$header"; done)

step "The coordinating centre: the file of the training, its address and certificate"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >run.toml <<TOML
name = "fedpet-rehearsal"
version = "0.1.0"
out = "bundle"
work = "federation"
contract = "$data/contract.json"

[researcher]
host = "localhost"
port = $port
folder = "researcher"

[sites]
expected = [$(printf '"%s", ' "${sites[@]}")]
wait_seconds = 300

[training]
network = "${NETWORK:-table}"
rounds = ${ROUNDS:-8}
learning_rate = 1e-2
TOML
"$fedpet" train identity run.toml | tee identity.json
certificate=$(python3 -c 'import json; print(json.load(open("identity.json"))["certificate_sha256"])')

step "Each hospital: create a node, offer the data, read the plan, approve it, start the node"
prepare_hospital() { # site
  "$fedpet" train node create "nodes/$1" --name "$1" --researcher "localhost:$port" --fingerprint "$certificate"
  "$fedpet" train node policy "nodes/$1"
  "$fedpet" train node register "nodes/$1" "$data/$1" --contract "$data/contract.json"
  "$fedpet" train node register "nodes/$1" "$data/held-out/$1" --contract "$data/contract.json" --evaluation
  "$fedpet" train node plans "nodes/$1" --text >"plans-$1.txt" # to be read
  "$fedpet" train node plans "nodes/$1" --text --json >"plans-$1.json"
  "$fedpet" train node approve "nodes/$1"
}
preparing=()
for site in "${sites[@]}"; do
  prepare_hospital "$site" &
  preparing+=($!)
done
for one in "${preparing[@]}"; do wait "$one"; done
for site in "${sites[@]}"; do
  "$fedpet" train node start "nodes/$site" &
  nodes+=($!)
done

step "The training"
"$fedpet" train run run.toml

step "The evaluation at the hospitals on patients whom the training never saw, the registry, the promotion"
"$fedpet" train evaluate run.toml --bundle bundle --out evaluation
"$fedpet" model add bundle --reason "rehearsal"
digest=$("$fedpet" model show bundle --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])')
"$fedpet" model evaluated "$digest" evaluation/report.json --reason "rehearsal"
"$fedpet" model promote "$digest" --reason "rehearsal"
"$fedpet" model list

if [ -n "${WAIT:-}" ]; then
  step "The nodes run until Enter"
  read -r || true
fi
