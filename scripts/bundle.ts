/**
 * Bundles a program of davit into one file of CommonJS: bundle.ts ENTRY FILE VERSION BANNER [--source-map]
 *
 * The library's own descriptors, such as that of google.protobuf.Any, become those of src/base/descriptors, too. Otherwise each
 * start would read the descriptors of descriptors, to read these.
 */
import path from "node:path";
import process from "node:process";
import { build, type Plugin } from "esbuild";

const [entry, outfile, version, banner, map] = process.argv.slice(2);
if (entry === undefined || outfile === undefined || version === undefined || banner === undefined) {
  throw new Error("usage: bundle.ts ENTRY FILE VERSION BANNER [--source-map]");
}

const descriptors = path.resolve(import.meta.dirname, "../src/base/descriptors/index.ts");
const readLate: Plugin = {
  name: "descriptors that are read when they are used",
  setup: (bundle) => {
    bundle.onResolve({ filter: /\/codegenv2\/(file|message|enum|service)\.js$/ }, ({ importer }) =>
      importer.includes("/@bufbuild/protobuf/") ? { path: descriptors } : undefined,
    );
  },
};

await build({
  entryPoints: [entry],
  outfile,
  bundle: true,
  format: "cjs",
  platform: "node",
  target: "node24",
  preserveSymlinks: true,
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: "none",
  logLevel: "warning",
  banner: { js: banner },
  define: {
    "import.meta.url": "bundleUrl",
    "import.meta.main": "true",
    DAVIT_VERSION: JSON.stringify(version),
  },
  ...(map === undefined ? {} : { sourcemap: "linked" as const }),
  plugins: [readLate],
});
