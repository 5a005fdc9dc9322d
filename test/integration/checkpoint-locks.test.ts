/** File locks that a container has at a checkpoint: flock(2), POSIX locks, and locks of open file descriptions. */
import assert from "node:assert/strict";
import { existsSync, realpathSync, rmSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointNode,
} from "../support/suites/checkpoints.ts";
import {
  type ContainerInit,
  container,
  createIn,
  inPod,
  type Node,
  runIn,
  sh,
  start,
} from "../support/suites/containers.ts";
import { code, failsWith, leakless, pod as podOf, until } from "../support/suites/pods.ts";

/** A restore gives up at half of it. */
const createSeconds = 8;
let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const checkpoints = new CheckpointDirectory();

before(async () => {
  const runtime_type = "io.containerd.runc.v2";
  const handlers = {
    byCrun: { runtime_type, options: { BinaryName: "crun" } },
    byRunc: {
      runtime_type,
      options: { BinaryName: "runc" },
      create_timeout_seconds: createSeconds,
    },
    short: { path: "runc", create_timeout_seconds: createSeconds },
  };
  node = await checkpointNode(checkpoints, { handlers });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  checkpoints[Symbol.dispose]();
});

/** struct flock of 64-bit Linux: a lock of five bytes at offset 10. */
const packed = (type: string): string => `pack("s s x4 q q i x4", ${type}, 0, 10, 5, 0)`;
const setLock = 6;
const setOpenLock = 37;
const writeLock = "1";

/** Takes three locks below a directory, or only that of an open file description if there is another argument, and shows by a counter that it runs. */
const holder = `
$d = $ARGV[0];
for (qw(F P O)) { open($_, "+>", "$d/$_") or die "$_: $!"; syswrite($_, "0123456789abcdef"); }
unless ($ARGV[1]) {
flock(F, 6) or die "flock: $!";
$p = ${packed(writeLock)};
fcntl(P, ${setLock}, $p) or die "posix: $!";
}
$o = ${packed(writeLock)};
fcntl(O, ${setOpenLock}, $o) or die "open: $!";
$SIG{TERM} = sub { exit 0 };
for ($i = 0; ; $i++) { open(S, ">", "/state.new"); print S $i; close(S); rename("/state.new", "/state"); select(undef, undef, undef, 0.1); }
`;

/** Says of each lock whether somebody else has it. */
const asker = `
$d = $ARGV[0];
for (qw(F P O)) { open($_, "+<", "$d/$_") or die "$_: $!"; }
print flock(F, 6) ? "free " : "held ";
$p = ${packed(writeLock)};
print fcntl(P, ${setLock}, $p) ? "free " : "held ";
$o = ${packed(writeLock)};
print fcntl(O, ${setOpenLock}, $o) ? "free" : "held";
`;

/** A container with the node's perl that has locks in a directory. */
function locker(directory: string, changes: ContainerInit = {}): ContainerInit {
  const { mounts = [], ...others } = changes;
  const system = ["/usr", "/lib", "/lib64"].filter((each) => existsSync(each));
  const ofNode = system.map((containerPath) => ({
    containerPath,
    hostPath: realpathSync(containerPath),
    readonly: true,
  }));
  return container({
    command: ["/usr/bin/perl", "-e", holder, directory],
    args: [],
    mounts: [...ofNode, ...mounts],
    ...others,
  });
}

async function locksOf(id: string, directory: string): Promise<string> {
  return sh(daemon, id, `/usr/bin/perl -e '${asker}' ${directory}`);
}

const countOf = async (id: string): Promise<number> =>
  Number(await sh(daemon, id, "cat /state 2>/dev/null || echo 0"));

async function continues(id: string, from = 0): Promise<number> {
  return until(`container ${id} runs`, async () => {
    const now = await countOf(id);
    return now > from ? now : undefined;
  });
}

describe("locks of a container are held after a restore", () => {
  for (const [captured, restored] of [
    ["crun", "crun"],
    ["runc", "runc"],
    ["byCrun", "crun"],
    ["byRunc", "byRunc"],
  ] as const) {
    test(
      `captured with ${captured}, restored with ${restored}`,
      leakless(served, async () => {
        const location = checkpoints.at("locks.tar");
        const counts: number[] = [];
        await inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, locker("/tmp"));
            await continues(id);
            assert.equal(await locksOf(id, "/tmp"), "held held held");
            counts.push(await countOf(id));
            await checkpointContainer(daemon, id, location);
            assert.equal(await locksOf(id, "/tmp"), "held held held");
          },
          captured,
        );
        await inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await createIn(pod, locker("/tmp", { image: { image: location } }));
            await start(daemon, id);
            await continues(id, counts[0]);
            assert.equal(await locksOf(id, "/tmp"), "held held held");
          },
          restored,
        );
        rmSync(location);
      }),
    );
  }
});

describe("a lock that the running container still holds, on a volume", () => {
  const tooLong = /took longer than 4 s; a process had a lock of a file .*: end that one first/;
  for (const [handler, only, message, held] of [
    ["byRunc", [], tooLong, "held held held"],
    ["short", [], tooLong, "held held held"],
    ["short", ["open"], /^(?!.*took longer).*a process had a lock of a file/, "free free held"],
  ] as const) {
    test(
      `fails the restore with the reason (${handler}${only.join("")})`,
      leakless(served, async () => {
        const location = checkpoints.at(`held-${handler}${only.join("")}.tar`);
        const hostPath = checkpoints.make();
        const mounts = [{ containerPath: "/locks", hostPath }];
        await inPod(
          daemon,
          podOf(),
          async (pod) => {
            const command = ["/usr/bin/perl", "-e", holder, "/locks", ...only];
            const id = await runIn(pod, locker("/locks", { mounts, command }));
            await continues(id);
            await checkpointContainer(daemon, id, location);
            const changes = { image: { image: location }, mounts, command };
            const copy = await createIn(pod, locker("/locks", changes));
            await assert.rejects(start(daemon, copy), failsWith(code.failedPrecondition, message));
            assert.equal(await locksOf(id, "/locks"), held);
          },
          handler,
        );
        rmSync(location);
        rmSync(hostPath, { recursive: true });
      }),
    );
  }
});
