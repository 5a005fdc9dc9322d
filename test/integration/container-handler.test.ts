/** What the configuration of a handler adds to its containers. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { SecurityProfile_ProfileType } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  container,
  containerInfo,
  createIn,
  exec,
  inPod,
  Node,
  type Pod,
  remove,
  runIn,
  sh,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  CONTAINER,
  cgroupValue,
  code,
  failsWith,
  leakless,
  NODE,
  parentOf,
} from "../support/suites/pods.ts";

/** Only cgroup v2 is mounted. */
const isUnified = existsSync("/sys/fs/cgroup/cgroup.controllers");
const directory = mkdtempSync(path.join(tmpdir(), "davit-handler-"));
const baseFile = path.join(directory, "base.json");
const hooksDir = path.join(directory, "hooks");
const ran = path.join(directory, "ran");
const profile = path.join(directory, "seccomp.json");

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

const base = {
  process: { env: ["FROM_BASE=yes", "PATH=/nowhere"], rlimits: [rlimit(123)] },
  linux: { resources: { pids: { limit: 60 } } },
};

function rlimit(value: number): object {
  return { type: "RLIMIT_NOFILE", soft: value, hard: value };
}

function hook(stage: string, when: object): string {
  const args = ["touch", `${ran}-${stage}`];
  return JSON.stringify({
    version: "1.0.0",
    hook: { path: "/bin/busybox", args },
    when,
    stages: [stage],
  });
}

before(async () => {
  mkdirSync(hooksDir);
  writeFileSync(baseFile, JSON.stringify(base));
  const syscalls = [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }];
  writeFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls }));
  const handler = {
    pod_annotations: ["pod.example/*"],
    container_annotations: ["ctr.example/*"],
    privileged_without_host_devices: true,
    privileged_without_host_devices_all_devices_allowed: true,
    base_runtime_spec: baseFile,
    hooks_dir: hooksDir,
    default_annotations: { "ctr.example/a": "node", "node.example/b": "kept" },
    seccomp_profile: profile,
    create_timeout_seconds: 100,
    exec_cpu_affinity: "first",
  };
  node = await Node.startWithBusybox({ config: { runtime: { handlers: { crun: handler } } } });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** Runs a test in a pod that leaves nothing, neither on the machine nor in the directories above. */
function inBarePod(
  run: (pod: Pod) => Promise<void>,
  changes: Parameters<typeof bare>[0] = {},
): ReturnType<typeof leakless> {
  return leakless(served, async () => {
    try {
      await inPod(daemon, bare(changes), run);
    } finally {
      writeFileSync(baseFile, JSON.stringify(base));
      for (const each of ["a.json", "b.json"]) rmSync(path.join(hooksDir, each), { force: true });
      for (const stage of ["createRuntime", "poststop"]) rmSync(`${ran}-${stage}`, { force: true });
    }
  });
}

describe("base_runtime_spec", () => {
  test(
    "gives environment and limits of process and cgroup, which the request overrides",
    inBarePod(async (pod) => {
      const id = await runIn(pod);
      // A command in it has them, too.
      assert.equal(await sh(daemon, id, "echo $FROM_BASE $FROM_IMAGE; ulimit -n"), "yes yes\n123");
      const cgroup = `${parentOf(pod.config)}/${id}`;
      assert.equal(cgroupValue(cgroup, "pids.max"), "60");
      // The container keeps the spec that it was started with, even if the file changes.
      writeFileSync(baseFile, "{");
      assert.equal(await sh(daemon, id, "echo $FROM_BASE; ulimit -n"), "yes\n123");
      const forks = "i=0; while [ $i -lt 80 ]; do sleep 30 & i=$((i+1)); done";
      const said = await exec(daemon, id, ["sh", "-c", forks]);
      assert.match(said.stderr, /fork/i, "60 processes are the limit");
      // The shell has ended and left room for one. crun needs two on v2, and on v1 adds the command afterwards.
      const next = exec(daemon, id, ["true"]);
      const words = /its cgroup ".*" has 59 of at most 60 processes and threads/;
      if (isUnified) await assert.rejects(next, failsWith(code.resourceExhausted, words));
      else assert.equal((await next).exitCode, 0);
    }),
  );

  test(
    "that is not JSON fails CreateContainer, and the error names the file",
    inBarePod(async (pod) => {
      writeFileSync(baseFile, "{");
      await assert.rejects(createIn(pod), failsWith(code.failedPrecondition, /base\.json/));
    }),
  );
});

describe("hooks_dir", () => {
  test(
    "runs the hooks that match a container, at their stages",
    inBarePod(async (pod) => {
      const annotations = { "^example.org/hook$": "^yes$" };
      writeFileSync(path.join(hooksDir, "a.json"), hook("createRuntime", { annotations }));
      writeFileSync(path.join(hooksDir, "b.json"), hook("poststop", { commands: ["sleep"] }));
      const other = await runIn(pod, container({ command: ["tail", "-f", "/dev/null"] }));
      await stop(daemon, other);
      await remove(daemon, other);
      assert.deepEqual(
        [existsSync(`${ran}-createRuntime`), existsSync(`${ran}-poststop`)],
        [false, false],
      );

      const id = await runIn(pod, container({ annotations: { "example.org/hook": "yes" } }));
      assert.ok(existsSync(`${ran}-createRuntime`));
      await stop(daemon, id);
      await remove(daemon, id);
      assert.ok(existsSync(`${ran}-poststop`));
    }),
  );

  test(
    "with an invalid file fails CreateContainer, and the error names the file",
    inBarePod(async (pod) => {
      writeFileSync(path.join(hooksDir, "a.json"), hook("precreate", { always: true }));
      await assert.rejects(
        createIn(pod),
        failsWith(code.failedPrecondition, /a\.json.*"precreate" must be one of/),
      );
    }),
  );
});

test(
  "pod_annotations and container_annotations pass the annotations that they name",
  inBarePod(
    async (pod) => {
      const annotations = { "ctr.example/a": "1", "pod.example/a": "no", "other.example/a": "no" };
      const id = await createIn(pod, container({ annotations }));
      await daemon.client.runtime.startContainer({ containerId: id });
      const spec = (await containerInfo(daemon, id))["runtimeSpec"] as {
        readonly annotations: Readonly<Record<string, string>>;
      };
      const passed = Object.entries(spec.annotations).filter(([key]) => key.includes("example"));
      const expected = { "ctr.example/a": "1", "node.example/b": "kept", "pod.example/b": "2" };
      assert.deepEqual(Object.fromEntries(passed), expected);
    },
    { annotations: { "pod.example/b": "2", "ctr.example/b": "no", "node.example/b": "no" } },
  ),
);

test(
  "seccomp_profile is the profile of RuntimeDefault, and of nothing else",
  inBarePod(async (pod) => {
    const made = async (profileType: SecurityProfile_ProfileType): Promise<string> => {
      const securityContext = { seccomp: { profileType, localhostRef: "" } };
      const id = await runIn(pod, container({ linux: { securityContext } }));
      return (await exec(daemon, id, ["mkdir", "/tmp/made"])).stderr;
    };
    const { RuntimeDefault, Unconfined } = SecurityProfile_ProfileType;
    assert.match(await made(RuntimeDefault), /Operation not permitted/);
    assert.equal(await made(Unconfined), "");
  }),
);

test(
  "exec_cpu_affinity starts commands on the first CPU of the container's cpuset",
  { skip: availableParallelism() < 2 ? "one CPU" : false },
  inBarePod(async (pod) => {
    const allowed = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    const resources = { cpusetCpus: "0-1", cpusetMems: "0" };
    const id = await runIn(pod, container({ linux: { resources } }));
    assert.equal(await sh(daemon, id, allowed), "0");
    assert.equal(await sh(daemon, id, allowed.replace("self", "1")), "0-1");
  }),
);

test(
  "privileged_without_host_devices hides the devices of the host, and allows the container to make its own",
  inBarePod(
    async (pod) => {
      const securityContext = { privileged: true };
      const id = await runIn(pod, container({ linux: { securityContext } }));
      assert.equal(await sh(daemon, id, "find /dev -type b"), "");
      await exec(daemon, id, ["test", "-e", "/dev/kmsg"]).then(({ exitCode }) => {
        assert.equal(exitCode, 1);
      });
      // mem(4): 1, 11 is /dev/kmsg, which no default rule allows.
      await sh(daemon, id, "mknod /tmp/kmsg c 1 11 && : < /tmp/kmsg");
    },
    {
      linux: {
        cgroupParent: parentOf(bare()),
        securityContext: {
          privileged: true,
          namespaceOptions: { network: NODE, ipc: NODE, pid: CONTAINER },
        },
      },
    },
  ),
);
