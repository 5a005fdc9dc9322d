import path from "node:path";
import { RuntimeError } from "../../../base/errors.ts";
import type { NodeFiles } from "../node-files.ts";
import { readToml, Settings } from "../settings.ts";

/**
 * Reads crio.conf and the files of crio.conf.d in lexical order; a later value replaces an earlier one. `main`
 * is a file, whose drop-ins are in `<file>.d`, or a directory with crio.conf and crio.conf.d, or with drop-ins.
 */
export function readCrio(files: NodeFiles, main: string): Settings {
  const settings = new Settings();
  const found = filesOf(files, main);
  if (found.length === 0) {
    throw new RuntimeError("not-found", `read "${main}": no such file or directory`);
  }
  for (const file of found) {
    for (const given of readToml(files, file).given) settings.set(given);
  }
  return settings;
}

function filesOf(files: NodeFiles, main: string): readonly string[] {
  if (!files.isDirectory(main)) {
    return [...(files.exists(main) ? [main] : []), ...dropIns(files, `${main}.d`)];
  }
  const file = path.join(main, "crio.conf");
  const whole = filesOfFile(files, file);
  return whole.length > 0 ? whole : dropIns(files, main);
}

function filesOfFile(files: NodeFiles, file: string): readonly string[] {
  return [...(files.exists(file) ? [file] : []), ...dropIns(files, `${file}.d`)];
}

/** CRI-O reads every file below the directory. */
function dropIns(files: NodeFiles, directory: string): readonly string[] {
  return files.list(directory).flatMap((name) => {
    const file = path.join(directory, name);
    return files.isDirectory(file) ? dropIns(files, file) : [file];
  });
}
