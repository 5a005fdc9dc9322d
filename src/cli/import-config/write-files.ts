import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";
import type { ExtraFile } from "./draft.ts";

/**
 * Writes files, with the directories that they need; those with secrets can be read only by their owner. Unless
 * `force`, nothing is written if one of them exists. Returns their names.
 */
export function writeFiles(files: readonly ExtraFile[], force: boolean): readonly string[] {
  const existing = force ? undefined : files.find(({ name }) => existsSync(name));
  if (existing !== undefined) {
    const text = `write "${existing.name}": it exists; remove it, or overwrite it with --force`;
    throw new RuntimeError("already-exists", text);
  }
  for (const file of files) writeWhole(file);
  return files.map(({ name }) => name);
}

function writeWhole({ name, text, isSecret }: ExtraFile): void {
  const temporary = `${name}.${process.pid}.tmp`;
  try {
    mkdirSync(path.dirname(name), { recursive: true });
    writeFileSync(temporary, text, { mode: isSecret === true ? 0o600 : 0o644, flag: "wx" });
    renameSync(temporary, name);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw systemError(`write "${name}"`, cause);
  }
}
