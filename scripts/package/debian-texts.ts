/**
 * Writes texts of the Debian package: `node scripts/package/debian-texts.ts changelog` turns CHANGELOG.md into Debian's
 * format (deb-changelog(5)); `... copyright FILE` writes the licenses of everything in the package, FILE being that
 * of Node.js. SOURCE_DATE_EPOCH is the date of a version that is not released yet.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

const repo = path.join(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(path.resolve(repo, file), "utf8");
const manifest = JSON.parse(read("package.json")) as {
  version: string;
  dependencies: Record<string, string>;
};
const maintainer = process.env["DAVIT_MAINTAINER"] ?? "The davit authors <davit@davit.invalid>";

const line = "-".repeat(78);

const [what, file] = process.argv.slice(2);
if (what === "changelog") process.stdout.write(changelog());
else if (what === "copyright" && file !== undefined) process.stdout.write(copyright(file));
else {
  process.stderr.write("usage: node scripts/package/debian-texts.ts changelog | copyright FILE\n");
  process.exit(2);
}

/** An entry for each version, with the items of its sections. A heading is "## [0.1.0] - 2026-12-01" or "## [Unreleased]". */
function changelog(): string {
  const versions = read("CHANGELOG.md").split(/^## /m).slice(1);
  return versions.map(entryOf).join("\n");
}

function entryOf(text: string): string {
  const [, name = "", day] = /^\[([^\]]+)\](?: - (\S+))?/.exec(text) ?? [];
  const version = name === "Unreleased" ? manifest.version : name;
  const seconds = Number(process.env["SOURCE_DATE_EPOCH"] ?? Date.now() / 1000);
  const date = day === undefined ? new Date(seconds * 1000) : new Date(`${day}T00:00:00Z`);
  // A heading, or an item with the lines that continue it; an item may have items of its own.
  const blocks = text.match(/^### .*|^ *- .*(?:\n +[^ -].*)*/gm) ?? [];
  const lines = blocks.flatMap((block) =>
    block.startsWith("### ") ? ["", `  [ ${block.slice(4)} ]`] : wrapped(block),
  );
  // RFC 5322 as Debian asks for: +0000 instead of GMT.
  const stamp = date.toUTCString().replace("GMT", "+0000");
  return `davit (${version}) unstable; urgency=medium\n${lines.join("\n")}\n\n -- ${maintainer}  ${stamp}\n`;
}

/** An item of a list as lines of at most 80 columns. */
function wrapped(item: string): readonly string[] {
  const indent = (/^ */.exec(item)?.[0].length ?? 0) + 2;
  const lines: string[] = [];
  let current = `${" ".repeat(indent)}*`;
  for (const word of item.trim().slice(1).trim().split(/\s+/)) {
    if (current.length + 1 + word.length > 80) {
      lines.push(current);
      current = " ".repeat(indent + 1);
    }
    current += ` ${word}`;
  }
  return [...lines, current];
}

function copyright(nodeLicense: string): string {
  const bundled = [
    ...Object.keys(manifest.dependencies),
    "@xterm/addon-fit",
    "@xterm/xterm",
    "preact",
    "uplot",
  ].sort();
  return [
    read("NOTICE"),
    "The Apache License, Version 2.0, of davit and of the libraries above that name it is in",
    "/usr/share/common-licenses/Apache-2.0 on Debian systems. The other licenses follow; that of the",
    "parts of Protocol Buffers is the one of smol-toml, with the name of Google Inc.",
    "",
    ...bundled.flatMap(licenseOf),
    line,
    "/usr/lib/davit/bin/node, Node.js, Copyright Node.js contributors, with its libraries:",
    "",
    readFileSync(nodeLicense, "utf8"),
  ].join("\n");
}

/** The license text of an npm package, unless it is the Apache License, which every Debian system has. */
function licenseOf(name: string): readonly string[] {
  const directory = path.join(repo, "node_modules", name);
  const { license } = JSON.parse(read(path.join(directory, "package.json"))) as { license: string };
  if (license.includes("Apache-2.0")) return [];
  const file = readdirSync(directory).find((each) => /^licen[cs]e/i.test(each));
  if (file === undefined) throw new Error(`${directory} has no license file`);
  return [line, `${name}:`, "", read(path.join(directory, file))];
}
