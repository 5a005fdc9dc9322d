#!/bin/sh
# Builds dist/: davit.cjs (everything of src/ in one file), then the native parts. Does not install
# anything; npm start does, and scripts/setup.sh.
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

mkdir -p dist
# By rename, so that a daemon that starts meanwhile reads the old file or the new one.
node_modules/.bin/esbuild src/cli/main.ts --bundle --outfile=dist/davit.new.cjs --format=cjs \
  --platform=node --target=node24 --sourcemap=linked --minify-whitespace --minify-syntax --legal-comments=none --charset=utf8 \
  --log-level=warning "--banner:js=$here" --define:import.meta.url=bundleUrl --define:import.meta.main=true \
  "--define:DAVIT_VERSION=\"$version\""
sed -i 's/davit\.new\.cjs\.map/davit.cjs.map/' dist/davit.new.cjs
mv -f dist/davit.new.cjs.map dist/davit.cjs.map
mv -f dist/davit.new.cjs dist/davit.cjs

sh scripts/build-native.sh
