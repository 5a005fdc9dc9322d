/**
 * Bundles the page of `davit ui` (src/page) into one HTML file, and writes that with the hashes of its script and style
 * as JSON: scripts/build-page.ts FILE. The server sends the hashes as its Content-Security-Policy.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { build } from "esbuild";

const page = path.resolve(import.meta.dirname, "../src/page");
const modules = path.resolve(import.meta.dirname, "../node_modules");
/** Scrolling and typing must stay fast, and the bundle of a command must not grow unnoticed. */
const maxBytes = 700_000;

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: build-page.ts FILE");

const { outputFiles } = await build({
  entryPoints: [path.join(page, "main.tsx")],
  bundle: true,
  write: false,
  format: "iife",
  platform: "browser",
  target: "es2023",
  minify: true,
  legalComments: "none",
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
});
const [bundle] = outputFiles;
if (bundle === undefined) throw new Error("build the page: esbuild has made no file");
// As it is written in a script element, where this would end it.
const script = bundle.text.replaceAll("</script", "<\\/script");

const sheets = [
  path.join(modules, "@xterm/xterm/css/xterm.css"),
  path.join(modules, "uplot/dist/uPlot.min.css"),
  // In the order of the cascade.
  ...["base", "header", "timeline", "pods", "detail"].map((name) =>
    path.join(page, "styles", `${name}.css`),
  ),
];
const { outputFiles: styles } = await build({
  stdin: {
    contents: sheets.map((sheet) => readFileSync(sheet, "utf8")).join("\n"),
    loader: "css",
  },
  write: false,
  minify: true,
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
});
const style = styles[0]?.text ?? "";

const icon =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#3d86e0"/>' +
  '<path d="M3 5h6M5 8h7M8 11h5" stroke="#fff" stroke-width="1.8" stroke-linecap="round"/></svg>';

const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>davit</title>
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(icon)}">
<style>${style}</style>
</head>
<body>
<script>${script}</script>
</body>
</html>
`;

const hash = (text: string): string =>
  `sha256-${createHash("sha256").update(text).digest("base64")}`;
if (Buffer.byteLength(html) > maxBytes) {
  throw new Error(`build the page: ${Buffer.byteLength(html)} bytes, at most ${maxBytes}`);
}
writeFileSync(file, JSON.stringify({ html, script: hash(script), style: hash(style) }));
