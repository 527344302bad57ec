#!/usr/bin/env bash
# Install the system packages that the browser, DICOM, PACS, database and PDF tests use, where they are missing and we may.
set -euo pipefail

declare -A package_of=([chromium]=chromium [dciodvfy]=dicom3tools [Orthanc]=orthanc [pdftotext]=poppler-utils)

PATH="$PATH:/usr/sbin"
missing=()
for command in "${!package_of[@]}"; do
  command -v "$command" >/dev/null || missing+=("${package_of[$command]}")
done
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "Installing ${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive bash -c "$install" >&2
elif [ "${CI:-}" = true ]; then
  echo "Missing: ${missing[*]}. Run as root: $install" >&2
  exit 1
else
  echo "Missing: ${missing[*]}; the tests that need them will be skipped. Run as root: $install" >&2
fi
