import type { OciProcess, OciSpec } from "../../../core/oci/index.ts";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { testMark } from "../../../../test/support/belongs.ts";
import { silentLogger } from "../../../base/logger.ts";
import { systemClock } from "../../../base/time.ts";
import type {
  ContainerBundle,
  ContainerExit,
  StartedContainer,
} from "../../../core/container/index.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  createCgroup,
  detectCgroups,
  killCgroup,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import { childPids, openFds, until } from "../../../linux/testing/leaks.ts";
import { patient } from "../../../../test/support/patience.ts";
import type { MonitorName } from "../container-monitor.ts";
import type { StepObserver } from "../../../core/operation/index.ts";
import { linuxCapabilities } from "../../../oci-spec/index.ts";
import { OciRuntime } from "../index.ts";

/** What monitors the containers of this variant of a test file (test/support/variants.ts). */
export const testedMonitor: MonitorName =
  process.env["DAVIT_TEST_MONITOR"] === "conmon" ? "conmon" : "davit";

/** The options of a test container. */
export interface ContainerOptions {
  readonly args: readonly string[];
  readonly id?: string;
  readonly log?: boolean;
  readonly logPath?: string;
  readonly terminal?: boolean;
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  readonly memoryBytes?: number;
  readonly hostPids?: boolean;
  readonly runtimePath?: string;
  /** Changes the spec. */
  readonly adjust?: (spec: OciSpec) => OciSpec;
}

const applets = [
  "sh",
  "sleep",
  "true",
  "cat",
  "setsid",
  "tail",
  "dd",
  "kill",
  "seq",
  "nohup",
  "stty",
  "tty",
];

/** A state directory, a root filesystem of busybox and a cgroup, for containers of one test file. */
export class TestHost implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "davit-oci-"));
  readonly state = join(this.directory, "state");
  readonly logs = join(this.directory, "logs");
  readonly cgroups: CgroupLayout;
  readonly parent = `/${testMark}`;
  readonly rootfs = join(this.directory, "rootfs");
  readonly #runtimes: OciRuntime[] = [];

  private constructor(cgroups: CgroupLayout) {
    this.cgroups = cgroups;
    for (const name of ["bin", "proc", "dev", "sys", "tmp"]) {
      mkdirSync(join(this.rootfs, name), { recursive: true });
    }
    mkdirSync(this.state);
    mkdirSync(this.logs);
    copyFileSync("/usr/bin/busybox", join(this.rootfs, "bin/busybox"));
    chmodSync(join(this.rootfs, "bin/busybox"), 0o755);
    for (const name of applets) symlinkSync("busybox", join(this.rootfs, "bin", name));
  }

  static async open(cgroups = detectCgroups()): Promise<TestHost> {
    const host = new TestHost(cgroups);
    await createCgroup(cgroups, host.parent);
    return host;
  }

  async runtime(
    options: {
      readonly monitor?: MonitorName;
      readonly conmonPath?: string;
      readonly logSizeMax?: number;
      readonly state?: string;
      readonly exec?: "davit" | "runtime";
      readonly onStep?: StepObserver;
    } = {},
  ): Promise<OciRuntime> {
    const runtime = await OciRuntime.open({
      monitor: testedMonitor,
      state: this.state,
      cgroups: this.cgroups,
      clock: systemClock,
      log: silentLogger,
      ...options,
    });
    this.#runtimes.push(runtime);
    return runtime;
  }

  bundle(options: ContainerOptions): ContainerBundle {
    const id = options.id ?? randomBytes(32).toString("hex");
    const terminal = options.terminal ?? false;
    const adjust = options.adjust ?? ((plain: OciSpec) => plain);
    return {
      id,
      sandboxId: "test",
      handler: { requested: "", name: "crun", controller: "podsandbox", path: "crun" },
      runtimePath: options.runtimePath ?? "crun",
      spec: adjust(spec(this.rootfs, this.cgroupPath(id), { ...options, terminal })),
      cgroupPath: this.cgroupPath(id),
      logPath: options.log === false ? undefined : (options.logPath ?? this.logPath(id)),
      terminal,
      stdin: options.stdin ?? false,
      stdinOnce: options.stdinOnce ?? false,
    };
  }

  cgroupPath(id: string): string {
    return `${this.parent}/${id}`;
  }

  logPath(id: string): string {
    return join(this.logs, `${id}.log`);
  }

  /** Starts a container; returns its id and the result of start(). */
  async start(
    runtime: OciRuntime,
    options: ContainerOptions,
  ): Promise<StartedContainer & { readonly id: string }> {
    const bundle = this.bundle(options);
    return { id: bundle.id, ...(await runtime.start(bundle, testOperation())) };
  }

  /** The log's lines as [stream, tag, text]; checks the time before them (CRI logging, kubelet). */
  log(id: string, path = this.logPath(id)): readonly (readonly [string, string, string])[] {
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => {
      const match = /^(\S+) (stdout|stderr) ([FP]) (.*)$/s.exec(line);
      assert.ok(match !== null, `a CRI log line: ${line}`);
      assert.ok(!Number.isNaN(Date.parse(match[1] ?? "")), `a time: ${line}`);
      return [match[2] ?? "", match[3] ?? "", match[4] ?? ""];
    });
  }

  /** Waits until a container's log has a match. */
  async logWith(id: string, pattern: RegExp): Promise<void> {
    const path = this.logPath(id);
    await until(`a log with ${String(pattern)}`, () => {
      return existsSync(path) && pattern.test(readFileSync(path, "utf8"));
    });
  }

  /** Waits for a container's end and removes it. */
  async end(runtime: OciRuntime, id: string): Promise<ContainerExit> {
    const exit = await runtime.wait(id, AbortSignal.timeout(patient(20_000)));
    await runtime.remove(id);
    this.assertGone(id);
    return exit;
  }

  /** Fails if files, cgroups or processes of a container are left. */
  assertGone(id: string): void {
    const files = ["containers", "exits", "execs", "consoles", "crun", "runc"].flatMap((name) => {
      const directory = join(this.state, name);
      return existsSync(directory) ? readdirSync(directory).map((file) => `${name}/${file}`) : [];
    });
    assert.deepEqual(
      files.filter((file) => file.includes(id)),
      [],
    );
    const cgroups = cgroupDirs(this.cgroups, this.cgroupPath(id)).filter((dir) => existsSync(dir));
    assert.deepEqual(cgroups, []);
    assert.deepEqual(processesOf(id), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const runtime of this.#runtimes) {
      for (const id of await runtime.orphans(new Set())) await runtime.remove(id);
      await runtime.close();
    }
    await killCgroup(this.cgroups, this.parent);
    await removeCgroup(this.cgroups, this.parent);
    rmSync(this.directory, { recursive: true, force: true });
    await until("no child is left", () => childPids().length === 0);
  }
}

/** The processes with an id in their command line: the monitor, the runtime. */
export function processesOf(id: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => `${pid} ${textOf(`/proc/${pid}/cmdline`).replaceAll("\0", " ")}`)
    .filter((line) => line.includes(id));
}

/**
 * Our descriptors and children, which must not grow over many calls. Without the descriptor that
 * linux/cgroup/attach.ts opens for some milliseconds to speed up cgroup migrations.
 */
export function holdings(): { readonly fds: number; readonly children: number } {
  const fds = [...openFds().values()].filter((file) => !file.endsWith("/cgroup.procs"));
  return { fds: fds.length, children: childPids().length };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

const bounding = /^CapBnd:\s*(\w+)/m.exec(textOf("/proc/self/status"))?.[1] ?? "0";

/** The capabilities that this process can give to a container. */
export const possibleCapabilities = linuxCapabilities.filter(
  (_, number) => (BigInt(`0x${bounding}`) >> BigInt(number)) % 2n === 1n,
);

/** A process for execSync that davit's own program runs: it has what that program must know. */
export function directSpec(args: readonly string[], terminal = false): OciProcess {
  const all = possibleCapabilities;
  const capabilities = { bounding: all, effective: all, permitted: all };
  return { ...processSpec(args, terminal), capabilities, oomScoreAdj: 0 };
}

/** A process, for execSync and exec. Without capabilities, which OCI runtimes do not require. */
export function processSpec(args: readonly string[], terminal = false): OciProcess {
  const env = ["PATH=/bin", "HOME=/"];
  const process = { terminal, user: { uid: 0, gid: 0 }, args, env, cwd: "/" };
  return process as unknown as OciProcess;
}

function spec(
  rootfs: string,
  cgroupsPath: string,
  options: ContainerOptions & { readonly terminal: boolean },
): OciSpec {
  const kinds = [
    "mount",
    "ipc",
    "uts",
    ...(options.hostPids === true ? [] : ["pid" as const]),
  ] as const;
  return {
    ociVersion: "1.0.2",
    process: processSpec(options.args, options.terminal),
    annotations: {},
    root: { path: rootfs, readonly: false },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: [] },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance"] },
    ],
    linux: {
      cgroupsPath,
      namespaces: kinds.map((type) => ({ type })),
      resources:
        options.memoryBytes === undefined ? {} : { memory: { limit: BigInt(options.memoryBytes) } },
    },
  };
}
