#!/bin/sh
# Makes the packages of davit (docs/packages.md), all from one build, in dist/packages or DIRECTORY:
#
#   davit-daemon-VERSION.tgz             for npm install --global, with native files for x64 and arm64
#   davit-VERSION.tgz                    for programs: the SDK (docs/sdk.md)
#   davit_VERSION_{amd64,arm64}.deb      for Debian 13, with Node.js
#   davit-VERSION-linux-{x64,arm64}.tar.xz  for other distributions, with Node.js
#   davit-VERSION.cdx.json               what they contain (CycloneDX)
#   SHA256SUMS
#
# The same sources and tools give the same bytes: SOURCE_DATE_EPOCH, by default the time of the last commit, is the
# time of all files. DAVIT_MAINTAINER is the maintainer in the Debian packages. sh scripts/setup.sh --packages
# installs what is needed. It needs no root.
#
#   scripts/package.sh [--arch x64|arm64] [DIRECTORY]   --arch: packages with Node.js for this architecture only
set -eu
cd "$(dirname "$0")/.."

archs="x64 arm64"
if [ "${1:-}" = --arch ]; then
  archs=${2:?x64 or arm64}
  shift 2
fi
out=${1:-dist/packages}

for tool in dpkg-deb xz npm strip; do
  command -v $tool >/dev/null && continue
  echo "package: $tool is missing: run sh scripts/setup.sh --packages" >&2
  exit 1
done

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=$(stat -c %Y CHANGELOG.md)
fi
export SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC
umask 022
version=$(sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' package.json | head -n 1)
node=node_modules/.bin/node

work=$(mktemp -d "${TMPDIR:-/tmp}/davit-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
. scripts/package/steps.sh

sh scripts/build.sh
mkdir -p "$out"
for arch in x64 arm64; do sh scripts/build-native.sh --package $arch "$work/native/$arch"; done

stage_common "$work/common"
pack_npm
for arch in $archs; do
  fetch_node "$arch"
  stage_release "$arch" "$work/release/davit-$version-linux-$arch"
  pack_tarball "$arch"
  pack_deb "$arch"
done
npm sbom --sbom-format cyclonedx --package-lock-only >"$work/sbom.json"
"$node" scripts/package/sbom.ts "$work/sbom.json" >"$work/davit-$version.cdx.json"
put "$work/davit-$version.cdx.json"

# The files of this version, whether this run made all of them or not.
(cd "$out" && sha256sum davit-"$version"* davit-daemon-"$version"* davit_"$version"_* >"SHA256SUMS.$$" && mv -f "SHA256SUMS.$$" SHA256SUMS)
(cd "$out" && du --apparent-size -b davit-"$version"* davit-daemon-"$version"* davit_"$version"_* SHA256SUMS)
