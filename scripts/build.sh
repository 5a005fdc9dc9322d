#!/bin/sh
# Builds dist/: davit.cjs (everything of src/ in one file), serve.cjs, which starts the daemon with it,
# davit-unpack.cjs and davit-archive.cjs, which read layers and archives, davit-verify.cjs, which checks signatures, ui.json, the page of davit ui, nri/ and sdk/, what programs import, then the native parts. Does not install anything;
# npm start does, and scripts/setup.sh.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x node_modules/.bin/esbuild ]; then
  echo "build: node_modules is missing: run npm install --ignore-scripts" >&2
  exit 1
fi

# Only the first "version" of package.json is davit's own.
version=$(sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' package.json | head -n 1)

# CommonJS, although the sources are modules: an import of node:http as a module reads all that it
# exports, and so loads undici, WebSocket and fetch. A start takes 60 ms less without that.
here='"use strict";const bundleUrl = require("node:url").pathToFileURL(__filename).href;'

# The Node.js of this checkout, since that of the machine may be too old for TypeScript.
node=node_modules/.bin/node
[ -x "$node" ] || node=node

bundle() {
  "$node" scripts/bundle.ts "$1" "$2" "$version" "$3" ${4:+"$4"}
}

mkdir -p dist
# One build of a checkout at a time: all builds use the same names for temporary files.
exec 9<package.json
flock 9
# Code that was compiled is kept by the program's id, its digest, which takes the place of the zeros.
id=0000000000000000
bundle src/cli/main.ts dist/davit.new.cjs "/*$id*/$here" --source-map
sed -i 's/davit\.new\.cjs\.map/davit.cjs.map/' dist/davit.new.cjs
digest=$(sha256sum dist/davit.new.cjs | cut -c 1-${#id})
sed -i "1s/$id/$digest/" dist/davit.new.cjs
bundle src/cli/start-serve.ts dist/serve.new.cjs "$here"
# It starts once for each layer, and is a few files of src/.
bundle src/unpack/program.ts dist/davit-unpack.new.cjs "$here"
bundle src/unpack/archive-program.ts dist/davit-archive.new.cjs "$here"
bundle src/verify/program.ts dist/davit-verify.new.cjs "$here"
"$node" scripts/build-page.ts dist/ui.new.json
# What programs import: packages without dependencies, for Node 20 as well. Node prints the line of an error that a
# program does not catch, so lines stay as they are.
library() {
  name=$1
  shift
  rm -rf "dist/$name.new"
  node_modules/.bin/esbuild "src/$name/index.ts" --bundle "--outdir=dist/$name.new" --format=esm --platform=node \
    --target=node20 --preserve-symlinks --minify-syntax --legal-comments=none --log-level=warning \
    --define:Promise.withResolvers=withResolvers --inject:src/nri/with-resolvers.ts "$@"
  "$node" scripts/build-types.ts "$name" "dist/$name.new"
}
library nri
cp LICENSE NOTICE dist/nri.new/
cat >dist/nri.new/package.json <<EOF
{
  "name": "davit",
  "version": "$version",
  "description": "The SDK for NRI plugins of davit, a container runtime for Kubernetes nodes",
  "license": "Apache-2.0",
  "type": "module",
  "engines": { "node": ">=20.3" },
  "exports": { "./nri": { "types": "./index.d.ts", "default": "./index.js" } }
}
EOF
# Manifests are read by a part of its own, which is loaded with the first pod.
library sdk --splitting --chunk-names=parts/[hash] --alias:yaml=./node_modules/yaml/browser/index.js
# The addon first: the old files work with a new addon, and a failed build of it changes nothing.
sh scripts/build-native.sh
# By rename, so that a daemon that starts meanwhile reads the old file or the new one.
mv -f dist/davit-unpack.new.cjs dist/davit-unpack.cjs
mv -f dist/davit-archive.new.cjs dist/davit-archive.cjs
mv -f dist/davit-verify.new.cjs dist/davit-verify.cjs
mv -f dist/ui.new.json dist/ui.json
for name in nri sdk; do
  rm -rf "dist/$name"
  mv "dist/$name.new" "dist/$name"
done
mv -f dist/davit.new.cjs.map dist/davit.cjs.map
mv -f dist/davit.new.cjs dist/davit.cjs
mv -f dist/serve.new.cjs dist/serve.cjs
