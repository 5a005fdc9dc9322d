import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("checkpoints", {
  ready: ["ok", ""],
  "criu-missing": ["note", "containers and pods cannot be captured in checkpoints or restored"],
  "criu-old": ["warning", "restores fail: davit needs action scripts that this CRIU does not run"],
  "criu-without-sockets": [
    "warning",
    "containers with network sockets cannot be captured on this kernel",
  ],
  "runtime-without-criu": ["note", "containers of this handler cannot be captured or restored"],
  "library-missing": ["note", "crun cannot capture or restore containers"],
});

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
  const file = host.findProgram("criu");
  if (file === undefined) {
    return [
      kinds.report("criu-missing", `criu not found in ${host.searchPath}`, "apt-get install criu"),
    ];
  }
  const { stdout } = await host.runCommand(file, ["--version"]);
  const text = /Version: (\S+)/.exec(stdout)?.[1] ?? "unknown";
  const version = parseVersion(text);
  const found = [...checkVersion(host, `criu ${text} (${file})`, version)];
  for (const [name, { path }] of Object.entries(config.runtime.handlers)) {
    if (path !== "") found.push(...(await checkRuntime(host, name, path)));
  }
  return found.length > 0 ? found : [kinds.report("ready", `criu ${text} (${file})`)];
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

async function checkRuntime(host: Host, name: string, path: string): Promise<readonly Finding[]> {
  const file = host.findProgram(path);
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
