import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, realpathSync } from "node:fs";
import path from "node:path";

/** A directory with the Node.js that runs this, and its libraries, as the files of an image: /bin/node. */
export function nodeRoot(directory: string): string {
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "root"]) {
    mkdirSync(path.join(directory, name), { recursive: true });
  }
  const program = realpathSync(process.execPath);
  copyFileSync(program, path.join(directory, "bin/node"));
  // Lines of ldd(1): "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x...)", "/lib64/ld-linux-x86-64.so.2 (0x...)".
  const libraries = execFileSync("ldd", [program], { encoding: "utf8" });
  for (const [, file = ""] of libraries.matchAll(/(\/\S+) \(0x/g)) {
    const to = path.join(directory, file);
    mkdirSync(path.dirname(to), { recursive: true });
    copyFileSync(realpathSync(file), to);
  }
  return directory;
}
