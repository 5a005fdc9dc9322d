// Writes the declarations of a package that programs import: node scripts/build-types.ts PACKAGE DIRECTORY
// PACKAGE is a directory of src: nri or sdk. Each file that its index.ts reaches by types becomes a .d.ts file. Types
// may come from PACKAGE and from src/gen/plain, which need no library.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

const [name, out] = process.argv.slice(2);
if (name === undefined || out === undefined) {
  throw new Error("usage: node scripts/build-types.ts PACKAGE DIRECTORY");
}
const root = path.resolve(import.meta.dirname, "../src");
const source = path.join(root, name);
const shared = path.join(root, "gen/plain");

const pending = [path.join(source, "index.ts")];
const written = new Set<string>();
for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
  if (written.has(file)) continue;
  written.add(file);
  for (const imported of write(file)) pending.push(imported);
}

/** Where the declarations of a file go: those of src/gen/plain into a directory of the package. */
function targetOf(file: string): string {
  const below = file.startsWith(`${shared}/`)
    ? path.join("plain", path.relative(shared, file))
    : path.relative(source, file);
  if (below.startsWith("..")) throw new Error(`the types of ${name} need ${file}`);
  return path.join(out as string, below.replace(/\.ts$/, ".d.ts"));
}

/** Writes the declarations of one file; the result is the files that they import. */
function write(file: string): readonly string[] {
  const { outputText, diagnostics = [] } = ts.transpileDeclaration(readFileSync(file, "utf8"), {
    fileName: file,
    reportDiagnostics: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, isolatedDeclarations: true, strict: true },
  });
  for (const { messageText } of diagnostics) {
    throw new Error(`${file}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`);
  }
  const imports: string[] = [];
  const to = targetOf(file);
  const declarations = outputText.replace(
    /(from ")(\.[^"]+\.ts)"/g,
    (_, from: string, imported: string) => {
      const target = path.resolve(path.dirname(file), imported);
      imports.push(target);
      const relative = path.relative(path.dirname(to), targetOf(target)).replace(/\.d\.ts$/, ".js");
      return `${from}${relative.startsWith(".") ? relative : `./${relative}`}"`;
    },
  );
  mkdirSync(path.dirname(to), { recursive: true });
  writeFileSync(to, declarations);
  return imports;
}
