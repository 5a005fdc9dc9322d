#!/bin/sh
# Makes the package davit for programs in DIRECTORY, from dist: the SDK, and that for NRI plugins. npm pack does the rest.
#
#   scripts/package/stage-sdk.sh DIRECTORY
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' package.json | head -n 1)

mkdir -p "$1/dist"
cp -R dist/sdk dist/nri "$1/dist/"
rm "$1/dist/nri/package.json" "$1/dist/nri/LICENSE" "$1/dist/nri/NOTICE"
cp LICENSE NOTICE "$1/"
cp docs/sdk.md "$1/README.md"
cat >"$1/package.json" <<END
{
  "name": "davit",
  "version": "$version",
  "description": "Run pods and containers from TypeScript: the SDK of davit, a container runtime for Kubernetes nodes",
  "license": "Apache-2.0",
  "keywords": ["containers", "cri", "kubernetes", "nri", "pods", "sandbox"],
  "type": "module",
  "sideEffects": false,
  "files": ["dist"],
  "exports": {
    ".": { "types": "./dist/sdk/index.d.ts", "default": "./dist/sdk/index.js" },
    "./nri": { "types": "./dist/nri/index.d.ts", "default": "./dist/nri/index.js" },
    "./package.json": "./package.json"
  },
  "engines": { "node": ">=20.4" },
  "os": ["linux"]
}
END
