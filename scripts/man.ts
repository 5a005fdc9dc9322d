/**
 * Writes the man pages: `node scripts/man.ts DIRECTORY`. The directory gets man1/davit.1, a
 * man1/davit-COMMAND.1 for each command, and man5/davit.toml.5. SOURCE_DATE_EPOCH is their date
 * (seconds; https://reproducible-builds.org/specs/source-date-epoch), else today is.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { manPages } from "../src/cli/command-line/man.ts";
import { commands } from "../src/cli/commands/index.ts";

const [directory] = process.argv.slice(2);
if (directory === undefined) {
  process.stderr.write("usage: node scripts/man.ts DIRECTORY\n");
  process.exit(2);
}
const manifest = path.join(import.meta.dirname, "../package.json");
const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
const seconds = process.env["SOURCE_DATE_EPOCH"];
const time = seconds === undefined ? new Date() : new Date(Number(seconds) * 1000);
for (const [name, text] of manPages(commands, { version, date: time.toISOString().slice(0, 10) })) {
  const file = path.join(directory, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}
