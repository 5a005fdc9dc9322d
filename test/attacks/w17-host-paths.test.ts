/** The error of a container becomes an event of the pod: it must not have paths of the node's own directories. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { container, createIn, inPod, Node, pull } from "../support/suites/containers.ts";
import { bare, code, leakless } from "../support/suites/pods.ts";
import { type Entry, imageOf, layerOf } from "../support/images.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { GrpcStatusError } from "../../src/wire/grpc/status.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

/** Images of which no container can be made, by what is wrong with them. */
const images: Readonly<Record<string, readonly [Entry[], object, RegExp]>> = {
  "passwd-directory": [[{ path: "etc/passwd/" }], {}, /"\/etc\/passwd".*it is not a file/],
  "group-directory": [[{ path: "etc/group/" }], {}, /"\/etc\/group".*it is not a file/],
  "no-such-user": [[{ path: "etc/file" }], { User: "somebody" }, /"somebody".*no such user/],
  "volume-file": [[{ path: "file" }], { Volumes: { "/file": {} } }, /volume "\/file"/],
  "volume-loop": [[{ path: "a", link: "a" }], { Volumes: { "/a": {} } }, /volume "\/a"/],
};

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
  for (const [name, [entries, run]] of Object.entries(images)) {
    await node.registry.push(`e2e/${name}`, imageOf([layerOf(entries)], run), ["1"]);
    await pull(daemon, `registry.k8s.io/e2e/${name}:1`);
  }
});
after(() => node[Symbol.asyncDispose]());

test(
  "the error for an image that no container can be created from has no path of the node",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      for (const [name, [, , message]] of Object.entries(images)) {
        const image = { image: `registry.k8s.io/e2e/${name}:1` };
        await assert.rejects(createIn(pod, container({ image })), (error) => {
          assert.ok(error instanceof GrpcStatusError);
          assert.notEqual(error.code, code.unknown, error.message);
          assert.match(error.message, message);
          assert.match(error.message, /container "/);
          assert.ok(!error.message.includes(daemon.paths.root), error.message);
          return true;
        });
      }
    }),
  ),
);
