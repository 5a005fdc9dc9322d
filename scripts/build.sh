#!/bin/sh
# Builds dist/: davit.js (everything of src/ in one file), then the native parts. Does not install
# anything; npm start does, and scripts/setup.sh.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x node_modules/.bin/esbuild ]; then
  echo "build: node_modules is missing: run npm install --ignore-scripts" >&2
  exit 1
fi

# Only the first "version" of package.json is davit's own.
version=$(sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' package.json | head -n 1)

# The yaml package is CommonJS for Node, and its require() needs one to be there.
banner='import { createRequire as requireFor } from "node:module"; const require = requireFor(import.meta.url);'

mkdir -p dist
# By rename, so that a daemon that starts meanwhile reads the old file or the new one.
node_modules/.bin/esbuild src/cli/main.ts --bundle --outfile=dist/davit.new.js --format=esm \
  --platform=node --target=node24 --sourcemap=linked --minify-whitespace --minify-syntax --legal-comments=none --charset=utf8 \
  --log-level=warning "--banner:js=$banner" "--define:DAVIT_VERSION=\"$version\""
sed -i 's/davit\.new\.js\.map/davit.js.map/' dist/davit.new.js
mv -f dist/davit.new.js.map dist/davit.js.map
mv -f dist/davit.new.js dist/davit.js

sh scripts/build-native.sh
