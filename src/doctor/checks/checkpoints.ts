import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("checkpoints", {
  ready: ["ok", ""],
  "criu-missing": ["note", "containers of these handlers cannot be captured or restored"],
  "criu-old": ["warning", "restores fail: davit needs action scripts that this CRIU does not run"],
  "criu-without-sockets": [
    "warning",
    "containers with network sockets cannot be captured on this kernel",
  ],
  "runtime-without-criu": ["note", "containers of this handler cannot be captured or restored"],
  "library-missing": ["note", "crun cannot capture or restore containers of this handler"],
  "shim-without-restores": [
    "note",
    "pods of this handler cannot be captured, and its containers cannot be restored",
  ],
});

/** A handler whose checkpoints need CRIU. */
interface CriuUser {
  readonly name: string;
  /** Path or name of its OCI runtime. */
  readonly program: string;
  /** Why its shim cannot restore containers; undefined where it can. */
  readonly cannotRestore: string | undefined;
}

const restoreFix =
  'use a handler with a path, or BinaryName = "runc" without the options Root and CriuWorkPath';

type Version = readonly [major: number, minor: number];

/** Shell scripts from a configuration file (criu, commit 28d00563). */
const oldest: Version = [3, 19];
/** Since Linux 6.16 only some sockets have SO_PASSCRED. CRIU reads it of all until 4.2 (commit 4b739859). */
const socketKernel: Version = [6, 16];
const socketCriu: Version = [4, 2];

const libraries = [
  "/usr/lib/x86_64-linux-gnu/libcriu.so.2",
  "/usr/lib/aarch64-linux-gnu/libcriu.so.2",
  "/usr/lib64/libcriu.so.2",
  "/usr/lib/libcriu.so.2",
];

/** Whether containers can be captured and restored. */
export const checkpointsCheck: Check = {
  group: kinds.group,
  title: "Checkpoints",
  catalogue: kinds,
  examine,
};

async function examine({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  const users = await usersOf(config.runtime.handlers);
  if (users.length === 0) {
    return [kinds.report("ready", "no handler whose containers are captured")];
  }
  const names = users.map(({ name }) => `"${name}"`).join(", ");
  const { text, findings } = await checkCriu(host, names);
  const found = [...findings];
  for (const user of users) found.push(...(await checkRuntime(host, user)), ...checkShim(user));
  return found.length > 0 ? found : [kinds.report("ready", text)];
}

/** The handlers whose containers davit can capture: those with a path, and those of runc's shim. */
async function usersOf(
  handlers: DoctorContext["config"]["runtime"]["handlers"],
): Promise<readonly CriuUser[]> {
  const { isRuncType, obstacleToRestores, runtimeOfOptions } = await import(
    "../../drivers/shim/index.ts"
  );
  return Object.entries(handlers).flatMap(([name, { path, runtimeType, controller, options }]) => {
    if (path !== "") return [{ name, program: path, cannotRestore: undefined }];
    if (controller === "shim" || !isRuncType(runtimeType)) return [];
    const program = runtimeOfOptions(options);
    return [{ name, program, cannotRestore: obstacleToRestores(options) }];
  });
}

async function checkCriu(
  host: Host,
  handlers: string,
): Promise<{ readonly text: string; readonly findings: readonly Finding[] }> {
  const file = host.findProgram("criu");
  if (file === undefined) {
    const text = `criu not found in ${host.searchPath}, which the handlers ${handlers} need`;
    return { text, findings: [kinds.report("criu-missing", text, "apt-get install criu")] };
  }
  const { stdout } = await host.runCommand(file, ["--version"]);
  const words = /Version: (\S+)/.exec(stdout)?.[1] ?? "unknown";
  const text = `criu ${words} (${file}) of the handlers ${handlers}`;
  return { text, findings: checkVersion(host, text, parseVersion(words)) };
}

function checkVersion(host: Host, text: string, version: Version): readonly Finding[] {
  if (isLess(version, oldest)) {
    return [kinds.report("criu-old", text, "install CRIU 3.19 or newer")];
  }
  if (isLess(parseVersion(host.kernelRelease), socketKernel) || !isLess(version, socketCriu))
    return [];
  const what = `${text} on Linux ${host.kernelRelease}`;
  return [kinds.report("criu-without-sockets", what, "install CRIU 4.2 or newer")];
}

function checkShim({ name, cannotRestore }: CriuUser): readonly Finding[] {
  if (cannotRestore === undefined) return [];
  const text = `handler "${name}" runs containers by runc's shim, ${cannotRestore}`;
  return [kinds.report("shim-without-restores", text, restoreFix)];
}

async function checkRuntime(host: Host, { name, program }: CriuUser): Promise<readonly Finding[]> {
  const file = host.findProgram(program);
  if (file === undefined) return [];
  const features = await host.runCommand(file, ["features"]);
  // programs reports a runtime that cannot tell.
  if (features.code !== 0) return [];
  const isEnabled = /"org\.opencontainers\.runc\.checkpoint\.enabled": ?"true"/.test(
    features.stdout,
  );
  const what = `handler "${name}": ${file}`;
  if (!isEnabled) {
    const fix = "install a build with CRIU; crun --version then shows +CRIU";
    return [kinds.report("runtime-without-criu", `${what} was built without CRIU`, fix)];
  }
  if (!features.stdout.includes("run.oci.crun.")) return [];
  const infos = await Promise.all(libraries.map((library) => host.fileInfo(library)));
  if (infos.some((info) => info !== undefined)) return [];
  const fix = "apt-get install libcriu2";
  return [kinds.report("library-missing", `${what} does not find libcriu.so.2`, fix)];
}

function parseVersion(text: string): Version {
  const [major = 0, minor = 0] = text.split(".").map((part) => Number.parseInt(part, 10));
  return [major, minor];
}

function isLess(one: Version, other: Version): boolean {
  return one[0] < other[0] || (one[0] === other[0] && one[1] < other[1]);
}
