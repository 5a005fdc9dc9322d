// Writes the declarations of the SDK for NRI plugins: node scripts/build-nri-types.ts DIRECTORY
// Each file of src/nri that index.ts reaches by types becomes a .d.ts file. They name no file outside of src/nri.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

const [out] = process.argv.slice(2);
if (out === undefined) throw new Error("usage: node scripts/build-nri-types.ts DIRECTORY");
const source = path.resolve(import.meta.dirname, "../src/nri");

const pending = ["index.ts"];
const written = new Set<string>();
for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
  if (written.has(file)) continue;
  written.add(file);
  for (const imported of write(file)) pending.push(imported);
}

/** Writes the declarations of one file; the result is the files that they import. */
function write(file: string): readonly string[] {
  const text = readFileSync(path.join(source, file), "utf8");
  const { outputText, diagnostics = [] } = ts.transpileDeclaration(text, {
    fileName: file,
    reportDiagnostics: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, isolatedDeclarations: true, strict: true },
  });
  for (const { messageText } of diagnostics) {
    throw new Error(`${file}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`);
  }
  const imports: string[] = [];
  const declarations = outputText.replace(
    /(from ")(\.[^"]+)\.ts"/g,
    (_, from: string, name: string) => {
      const target = path.join(path.dirname(file), `${name}.ts`);
      if (target.startsWith(".."))
        throw new Error(`${file}: its types need ${target} outside of src/nri`);
      imports.push(target);
      return `${from}${name}.js"`;
    },
  );
  const to = path.join(out as string, file.replace(/\.ts$/, ".d.ts"));
  mkdirSync(path.dirname(to), { recursive: true });
  writeFileSync(to, declarations);
  return imports;
}
