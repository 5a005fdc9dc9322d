/**
 * Writes what the packages contain as CycloneDX: `node scripts/package/sbom.ts FILE`. FILE is what `npm sbom
 * --sbom-format cyclonedx --package-lock-only` printed, with all packages of the lock file. Kept are the dependencies,
 * both builds of Node.js, and the libraries of the page, which are development dependencies that dist/ui.json
 * contains. Fails if NOTICE does not name one of them. The same input gives the same output.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

interface Component {
  readonly name: string;
  readonly "bom-ref": string;
  readonly properties?: readonly { readonly name: string; readonly value: string }[];
}

interface Bom {
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: string[] }[];
}

const pageLibraries = ["@xterm/addon-fit", "@xterm/xterm", "preact", "uplot"];

const repo = path.join(import.meta.dirname, "../..");
const [file] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write("usage: node scripts/package/sbom.ts FILE\n");
  process.exit(2);
}
const all = JSON.parse(readFileSync(file, "utf8")) as Bom;
const components = all.components.filter(isPackaged).map(withoutScope);
checkNotice(components);
const seconds = process.env["SOURCE_DATE_EPOCH"];
const time = seconds === undefined ? new Date() : new Date(Number(seconds) * 1000);
const refs = new Set([
  all.metadata.component["bom-ref"],
  ...components.map((each) => each["bom-ref"]),
]);
const body = {
  metadata: {
    timestamp: time.toISOString(),
    component: { ...all.metadata.component, name: "davit", type: "application", properties: [] },
  },
  components,
  dependencies: all.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((to) => refs.has(to)) })),
};
const bom = {
  $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
  bomFormat: "CycloneDX",
  specVersion: "1.5",
  serialNumber: `urn:uuid:${uuidOf(JSON.stringify(body))}`,
  version: 1,
  ...body,
};
process.stdout.write(`${JSON.stringify(bom, undefined, 2)}\n`);

function isPackaged({ name, properties = [] }: Component): boolean {
  const isForDevelopment = properties.some((each) => each.name === "cdx:npm:package:development");
  return !isForDevelopment || pageLibraries.includes(name);
}

/** npm calls development dependencies optional; what is bundled is required. */
function withoutScope(component: Component): Component {
  return { ...component, properties: [], ...{ scope: "required" } };
}

function checkNotice(packaged: readonly Component[]): void {
  const notice = readFileSync(path.join(repo, "NOTICE"), "utf8").toLowerCase().replaceAll("-", " ");
  for (const { name } of packaged) {
    const word = (name.split("/").at(-1) ?? name).toLowerCase().replaceAll("-", " ");
    if (name.startsWith("node-linux-") || notice.includes(word)) continue;
    process.stderr.write(`package: NOTICE does not name ${name}, which the packages contain\n`);
    process.exit(1);
  }
}

/** A UUID of version 8 (RFC 9562) that follows from the text. */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join("-");
}
