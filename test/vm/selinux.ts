/** The policy of the machine with SELinux: Debian's, compiled in a directory and never installed. */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { unpack } from "./kernel.ts";

/** The newest format that Linux 6.12 reads (POLICYDB_VERSION_MAX of its security/selinux). */
const policyVersion = "33";
/** The additions of the machine to the policy. */
const ownModule = path.join(import.meta.dirname, "guest/selinux.cil");

/**
 * The directory with `policy`, which init.sh loads, and `etc/selinux`, compiled in `cache` if that has none yet.
 * Undefined if Debian's packages are not available.
 */
export function findPolicy(cache: string): string | undefined {
  const packages = ["selinux-policy-default", "policycoreutils", "secilc"];
  const directories = packages.map((name) => path.join(cache, name));
  const all = packages.every((name, index) => {
    const directory = directories[index] ?? "";
    return existsSync(directory) || unpack(name, directory);
  });
  const [modules = "", toCil = "", compiler = ""] = directories;
  if (!all) return undefined;
  const directory = path.join(cache, "selinux");
  const fresh = `${directory}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh);
  const files = cilFiles(
    path.join(modules, "usr/share/selinux/default"),
    path.join(toCil, "usr/libexec/selinux/hll/pp"),
    path.join(cache, "selinux-cil"),
  );
  // As semodule does it: what modules declare twice is one, and "neverallow" is for the policy's authors.
  const options = ["-m", "-N", "-c", policyVersion, "-f", path.join(fresh, "file_contexts")];
  const output = ["-o", path.join(fresh, "policy")];
  const args = [...options, ...output, ...files, ownModule];
  execFileSync(path.join(compiler, "usr/bin/secilc"), args, {
    cwd: path.join(cache, "selinux-cil"),
  });
  cpSync(path.join(modules, "etc/selinux"), path.join(fresh, "etc/selinux"), { recursive: true });
  writeFileSync(path.join(fresh, "etc/selinux/config"), "SELINUX=enforcing\nSELINUXTYPE=default\n");
  rmSync(directory, { recursive: true, force: true });
  renameSync(fresh, directory);
  return directory;
}

/** Every module of the policy in the language of its compiler: names of files in `directory`. */
function cilFiles(modules: string, converter: string, directory: string): readonly string[] {
  if (!existsSync(directory)) {
    const fresh = `${directory}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh);
    for (const file of readdirSync(modules).filter((name) => name.endsWith(".pp.bz2"))) {
      const maxBuffer = 64 << 20;
      const input = execFileSync("bzip2", ["-dc", path.join(modules, file)], { maxBuffer });
      const cil = execFileSync(converter, { input, maxBuffer });
      writeFileSync(path.join(fresh, file.replace(/\.pp\.bz2$/, ".cil")), cil);
    }
    renameSync(fresh, directory);
  }
  return readdirSync(directory);
}
