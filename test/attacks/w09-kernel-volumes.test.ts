/** Images that declare volumes over /proc, /sys and /dev: crun ran such a container without procfs. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  type ContainerInit,
  container,
  createIn,
  exec,
  inPod,
  Node,
  pull,
  runIn,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, withPod } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type Entry } from "../support/images.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

const kernel = [
  ...["/proc", "/proc/self/attr", "/proc/sys", "/sys", "/sys/fs/cgroup"],
  ...["/dev", "/dev/null", "/dev/pts", "/dev/mqueue"],
];
const links = { "/kernel": "/proc", "/a/b": "../dev/null", "/missing": "proc/self/attr" };
const nameOf = (volume: string): string => `e2e/volume${volume.replaceAll("/", "-")}`;

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
  await push("", kernel);
  for (const [volume, target] of Object.entries(links)) {
    await push(volume, [volume], [{ path: volume.slice(1), link: target }]);
  }
});
after(() => node[Symbol.asyncDispose]());

async function push(
  name: string,
  volumes: readonly string[],
  more: readonly Entry[] = [],
): Promise<void> {
  const Volumes = Object.fromEntries(volumes.map((volume) => [volume, {}]));
  const image = imageOf([busyboxLayer("gzip", more)], { Env: ["PATH=/bin"], Volumes });
  await node.registry.push(nameOf(name), image, ["1"]);
  await pull(daemon, `registry.k8s.io/${nameOf(name)}:1`);
}

const ofImage = (volume: string, changes: ContainerInit = {}): ContainerInit =>
  container({ image: { image: `registry.k8s.io/${nameOf(volume)}:1` }, ...changes });

for (const handler of ["crun", "runc"]) {
  test(
    `under ${handler} volumes over the kernel's file systems are ignored, with a warning`,
    leakless(served, async () => {
      const config = bare();
      await withPod(
        daemon,
        config,
        async (id) => {
          const from = daemon.lines.length;
          const running = await runIn({ daemon, id, config }, ofImage("", { tty: true }));
          const look = "test -e /proc/self/stat && head -c 1 /dev/zero && cat /proc/mounts";
          const { stdout, exitCode } = await exec(daemon, running, ["sh", "-c", look]);
          assert.equal(exitCode, 0);
          assert.match(stdout, /^proc \/proc proc /m);
          assert.ok(!stdout.includes("/volumes/"), stdout);
          const warnings = daemon.lines
            .slice(from)
            .filter(({ text }) => text.includes("ignored image volumes"));
          assert.deepEqual(
            warnings.map(({ fields }) => fields["volumes"]),
            [kernel.toSorted()],
          );
        },
        handler,
      );
    }),
  );
}

test(
  "a volume at a link over them is refused",
  leakless(served, async () => {
    await inPod(daemon, bare(), async (pod) => {
      for (const volume of Object.keys(links)) {
        await assert.rejects(
          createIn(pod, ofImage(volume)),
          failsWith(code.failedPrecondition, new RegExp(`make volume "${volume}".* link to "/`)),
        );
      }
    });
  }),
);
