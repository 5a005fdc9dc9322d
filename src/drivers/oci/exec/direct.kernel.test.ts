/** davit's own program against `crun exec`: a command must not be able to see which of them has started it. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";

import { Random } from "../../../../test/support/random.ts";
import { messageOf } from "../../../base/errors.ts";
import type { OciProcess, OciSpec } from "../../../core/oci/index.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import type { OciRuntime } from "../index.ts";
import { possibleCapabilities, TestHost } from "../testing/sandbox.ts";

const seed = Number(process.env["DAVIT_TEST_SEED"] ?? 2026);
const containers = 15;
const commandsOfEach = 20;

/** Prints what a process has. Numbers that differ from process to process are replaced below. */
const report = `
b=/bin/busybox
$b cat /proc/self/status /proc/$$/cgroup /proc/$$/limits /proc/$$/mountinfo
$b cat /proc/$$/timerslack_ns /proc/$$/personality /proc/$$/sched
$b tr '\\0' '\\n' < /proc/$$/environ
$b tr '\\0' '\\n' < /proc/$$/cmdline
echo "stat $($b cut -d' ' -f 4-8,18-19,40-41 /proc/$$/stat)"
for f in /proc/$$/fd/* /proc/$$/ns/* /proc/$$/cwd /proc/$$/root /proc/$$/exe; do echo "$f $($b readlink $f)"; done
$b stat -L -c '%F %u:%g' /proc/$$/fd/1 /proc/$$/fd/2
$b id; umask; pwd
read line; echo "stdin: $? $line"
$b chown 1:1 /tmp/own 2>&1; $b mknod /tmp/node c 1 5 2>&1; $b rm -f /tmp/node; $b hostname other 2>&1
echo "to stderr" >&2
exit 7
`;

const changing =
  /^(Pid|Tgid|NSpid|NStgid|NSpgid|NSsid|PPid|Vm|Rss|Hugetlb|FDSize|SigQ|voluntary|nonvoluntary|se\.|nr_|avg_|sum_|clock-|mm->|numa|current_node|total_numa|uclamp|ext\.|dl\.|sched_|wait_|.*\(\d+, #threads)/;

function comparable(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes);
  return text
    .split("\n")
    .filter((line) => !changing.test(line))
    .map((line) =>
      line
        .replaceAll(/\/proc\/\d+/g, "/proc/PID")
        .replace(/pipe:\[\d+\]/, "pipe")
        // The runtime's is on a mount without a name.
        .replace(/^(\/proc\/PID\/fd\/0) (\/dev\/null|\/)$/, "$1 null")
        .replace(/exec-[0-9a-f]+-[0-9a-f]+/, "exec")
        .replace(/^stat 0 (\d+) \1 /, "stat 0 own own "),
    )
    .join("\n");
}

const passwds = [
  undefined,
  "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
  "# nobody\n\napp:x:1000:1000:a,b,c:/home/of app:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:",
  "+nis:x:1000:1000::/nis:\nroot:x:0:0:root:/the/root\n",
  "app:x:01000:1000:::\nroot::0:0::/:\nroot:x:0:0::/second:/bin/sh\n",
  `${"a".repeat(70_000)}\nroot:x:0:0:root:/root:/bin/sh\n`,
];

const filters: readonly OciSpec["linux"]["seccomp"][] = [
  undefined,
  {
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
    syscalls: [{ names: ["mknod", "mknodat"], action: "SCMP_ACT_ERRNO", errnoRet: 38 }],
  },
  {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["setsid", "sethostname", "chown"], action: "SCMP_ACT_ERRNO" }],
  },
];

let host: TestHost;
const steps: string[] = [];
const runtimes: Record<"davit" | "runtime", OciRuntime | undefined> = {
  davit: undefined,
  runtime: undefined,
};

before(async () => {
  host = await TestHost.open();
  const onStep = ({ name }: { readonly name: string }): undefined => {
    steps.push(name);
    return undefined;
  };
  runtimes.davit = await host.runtime({ onStep });
  runtimes.runtime = await host.runtime({ exec: "runtime" });
  mkdirSync(join(host.rootfs, "etc"));
  mkdirSync(join(host.rootfs, "app/deep"), { recursive: true });
  writeFileSync(join(host.rootfs, "tmp/own"), "");
  symlinkSync("/app/deep", join(host.rootfs, "linked"));
  symlinkSync("/proc/self/fd/5", join(host.rootfs, "leaked"));
});
after(() => host[Symbol.asyncDispose]());

function adjusted(random: Random): (spec: OciSpec) => OciSpec {
  const filter = filters[random.between(0, filters.length - 1)];
  const more = (["network", "cgroup"] as const).filter(() => random.chance(0.5));
  const readonly = random.chance(0.3);
  return (spec) => ({
    ...spec,
    process: { ...spec.process, oomScoreAdj: 0 },
    root: { ...spec.root, readonly },
    linux: {
      ...spec.linux,
      namespaces: [...spec.linux.namespaces, ...more.map((type) => ({ type }))],
      ...(filter === undefined ? {} : { seccomp: filter }),
    },
  });
}

function some<T>(random: Random, values: readonly T[], share: number): readonly T[] {
  return values.filter(() => random.chance(share));
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[random.between(0, values.length - 1)] as T;
}

function command(random: Random): OciProcess {
  const permitted = some(random, possibleCapabilities, pick(random, [0, 0.3, 1]));
  const inheritable = some(random, permitted, pick(random, [0, 0.5]));
  const noFile = BigInt(random.between(20, 2000));
  return {
    user: {
      uid: pick(random, [0, 1000, 65534, 4_000_000_000]),
      gid: pick(random, [0, 5, 1000]),
      ...(random.chance(0.5) && { additionalGids: some(random, [1, 10, 2000, 70_000], 0.5) }),
    },
    args: pick(random, [
      ...Array.from({ length: 6 }, () => ["/bin/sh", "-c", report]),
      ...Array.from({ length: 12 }, () => ["sh", "-c", report]),
      ["no-such"],
      ["/app"],
      ["/linked/../../bin/sh", "-c", report],
      ["bin/sh", "-c", report],
      ["/tmp/own"],
      ["sh", "-c", "kill -9 $$"],
      ["sh", "-c", "exit 125"],
    ]),
    env: [
      pick(random, ["PATH=/bin", "PATH=/nowhere:/bin", "PATH=/tmp:/bin", "PATH=/bin:relative"]),
      ...some(random, ["HOME=/set", "B=1", "A=with = and space", "EMPTY="], 0.4),
      ...some(random, ["7=number", "B=1"], 0.05),
    ],
    cwd: random.chance(0.1)
      ? pick(random, ["/proc/self/fd/5", "/nope", "/leaked"])
      : pick(random, ["/", "/app/deep", "/linked"]),
    capabilities: {
      bounding: [...permitted, ...some(random, possibleCapabilities, 0.2)],
      permitted,
      effective: some(random, permitted, pick(random, [0.5, 1])),
      inheritable,
      ambient: some(random, inheritable, 0.5),
    },
    noNewPrivileges: random.chance(0.5),
    oomScoreAdj: 0,
    ...(random.chance(0.4) && {
      rlimits: [
        { type: "RLIMIT_NOFILE", soft: noFile, hard: noFile + 10n },
        { type: "RLIMIT_CORE", soft: 0n, hard: 18_446_744_073_709_551_615n },
      ],
    }),
  };
}

async function outcome(
  runtime: OciRuntime | undefined,
  id: string,
  spec: OciProcess,
): Promise<string> {
  assert.ok(runtime !== undefined);
  try {
    const { exitCode, stdout, stderr } = await runtime.execSync(id, spec, testOperation());
    return `${exitCode}\n${comparable(stdout)}\n---\n${comparable(stderr)}`;
  } catch (error) {
    return `error: ${messageOf(error).replaceAll(/[0-9a-f]{64}/g, "ID")}`;
  }
}

test(`${containers * commandsOfEach} generated commands are the same by both ways`, async (t) => {
  let [ran, direct] = [0, 0];
  for (let number = 0; number < containers; number++) {
    const random = new Random(seed).fork(number);
    const passwd = pick(random, passwds);
    const file = join(host.rootfs, "etc/passwd");
    rmSync(file, { force: true });
    if (passwd !== undefined) writeFileSync(file, passwd);
    const { davit, runtime } = runtimes;
    assert.ok(davit !== undefined && runtime !== undefined);
    const args = ["sh", "-c", "while :; do sleep 0.5; done"];
    const { id, process, monitor } = await host.start(davit, { args, adjust: adjusted(random) });
    const cgroupPath = host.cgroupPath(id);
    await runtime.load(id, { runtimePath: "crun", process, monitor, cgroupPath });
    for (let at = 0; at < commandsOfEach; at++) {
      const spec = command(random);
      steps.length = 0;
      const ours = await outcome(davit, id, spec);
      if (steps.length === 1 && steps[0] === "davit-exec") direct++;
      const theirs = await outcome(runtime, id, spec);
      assert.equal(
        ours,
        theirs,
        `seed ${seed}, container ${number}, command ${at}: ${inspect(spec, { depth: 4, breakLength: 200 })}`,
      );
      if (!ours.startsWith("error")) ran++;
    }
    await davit.remove(id);
  }
  t.diagnostic(`${ran} ran, ${direct} of all by davit's program alone`);
  // A test in which crun does everything would compare crun with itself.
  assert.ok(direct > (containers * commandsOfEach) / 3, `only ${direct}`);
});
