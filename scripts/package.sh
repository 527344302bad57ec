#!/usr/bin/env bash
# Build the sdist, the wheel from it, and install that in an environment of its own, which must run outside the repository.
# Its dependencies are those of .venv: the lock files are tested by `make` itself.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
work=build/package
rm -rf "$work"
mkdir -p "$work/sdist"
.venv/bin/hatchling build -t sdist -d "$work" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
tar -xzf "$work"/*.tar.gz -C "$work/sdist" --strip-components=1
(cd "$work/sdist" && "$root/.venv/bin/hatchling" build -t wheel -d ..) >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

packages=(app explain fedpet inference reports training)
.venv/bin/python - "$work"/*.whl "${packages[@]}" <<'PYTHON'
import subprocess, sys, zipfile
wheel, *packages = sys.argv[1:]
shipped = set(zipfile.ZipFile(wheel).namelist())
tracked = subprocess.run(["git", "ls-files", *packages], capture_output=True, text=True, check=True).stdout.splitlines()
missing, foreign = set(tracked) - shipped, {n for n in shipped if ".dist-info/" not in n} - set(tracked)
sys.exit(f"not in the wheel: {sorted(missing)[:5]}; only in the wheel: {sorted(foreign)[:5]}" if missing or foreign else 0)
PYTHON

.venv/bin/python -m venv --without-pip "$work/clean"
.venv/bin/python -m pip --python "$work/clean/bin/python" install --quiet --no-deps "$work"/*.whl
libraries=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') # its .pth files are not followed
cd "$work/clean"
export PYTHONPATH=$libraries FEDPET_HOME=$PWD/home
bin/python -c "import fedpet, pathlib, sys; sys.exit(pathlib.Path('lib').resolve() not in pathlib.Path(fedpet.__file__).resolve().parents)"
bin/fedpet --version
bin/fedpet model verify --json >/dev/null
bin/fedpet app --help >/dev/null
echo "sdist, wheel and a clean installation: $(basename "$root/$work"/*.whl)"
