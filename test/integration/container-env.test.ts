/** Environment variables of any bytes: those of the request need not be UTF-8. */
// variants: shim, runc
import assert from "node:assert/strict";
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import {
  container,
  createIn,
  exec,
  exited,
  inPod,
  Node,
  pidOf,
  pull,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  leakless,
  mapped,
  NODE,
  openDirectories,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

/** An image with a link to a file of the host where davit puts its program. */
const linked = "registry.k8s.io/e2e/linked:1";
let canary = "";

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  openDirectories(daemon);
  canary = path.join(daemon.paths.directory, "canary");
  writeFileSync(canary, "unchanged");
  const layer = busyboxLayer("gzip", [{ path: ".davit-env", link: canary }]);
  await node.registry.push("e2e/linked", imageOf([layer], { Env: ["PATH=/bin"] }), ["1"]);
  await pull(daemon, linked);
});
after(() => node[Symbol.asyncDispose]());

describe("a variable that is not UTF-8", () => {
  const bytes = Uint8Array.of(0x61, 0xff, 0x3d, 0xc3, 0xa4, 0xc3, 0x0a, 0x80);
  const envs = [
    { key: "UTF8", value: Buffer.from("\u00e4\ufffd") },
    { key: "BYTES", value: bytes },
  ];
  const user = {
    linux: { securityContext: { runAsUser: { value: 1000n }, readonlyRootfs: true } },
  };

  test(
    "reaches the process unchanged, and also commands that are run in the container",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod, container({ envs, ...user }));
        const pid = await pidOf(daemon, id);
        const commandLine = (): string => readFileSync(`/proc/${pid}/cmdline`, "utf8");
        await until("the command runs", () => commandLine().startsWith("sleep"));
        const latin1 = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
        assert.ok(latin1.includes(`BYTES=${Buffer.from(bytes).toString("latin1")}`));
        const utf8 = Buffer.from("UTF8=\u00e4\ufffd").toString("latin1");
        assert.ok(latin1.includes(utf8));
        assert.equal(readlinkSync(`/proc/${pid}/exe`), "/bin/busybox");
        const printed = await daemon.client.runtime.execSync({
          containerId: id,
          cmd: ["sh", "-c", 'printf %s "$BYTES"; id -u >&2; exit 3'],
          timeout: 30n,
        });
        assert.deepEqual([...printed.stdout], [...bytes]);
        assert.equal(Buffer.from(printed.stderr).toString(), "1000\n");
        assert.equal(printed.exitCode, 3);
      }),
    ),
  );

  test(
    "reaches a process in a user namespace",
    { skip: process.env["DAVIT_TEST_HANDLER"] === undefined ? false : "crun alone has them" },
    leakless(served, () =>
      inPod(daemon, mapped({ network: NODE }), async (pod) => {
        const id = await runIn(pod, container({ envs }));
        const { stdout } = await exec(daemon, id, ["sh", "-c", 'printf %s "$BYTES" | wc -c']);
        assert.equal(Number(stdout), bytes.length);
      }),
    ),
  );

  test(
    "makes a command fail in the same way as a shell does",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        for (const [command, exitCode] of [
          ["no-such-command", 127],
          ["/etc/passwd", 126],
        ] as const) {
          const id = await runIn(pod, container({ envs, command: [command] }));
          assert.equal((await exited(daemon, id)).exitCode, exitCode);
        }
        const id = await runIn(pod, container({ envs }));
        const said = await exec(daemon, id, ["no-such-command"]);
        assert.equal(said.exitCode, 127);
        assert.match(said.stderr, /no-such-command.*no such file/);
      }),
    ),
  );

  test(
    "is refused if it is too long for a process, or has a NUL",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        for (const value of [new Uint8Array(70_000).fill(0xff), Uint8Array.of(0xff, 0)]) {
          await assert.rejects(
            createIn(pod, container({ envs: [{ key: "BYTES", value }] })),
            failsWith(code.invalidArgument, /"BYTES"/),
          );
        }
      }),
    ),
  );

  test(
    "replaces the file of the image at its path, and does not follow a link there",
    leakless(served, async () => {
      await inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod, container({ image: { image: linked }, envs }));
        assert.equal(await sh(daemon, id, "test -L /.davit-env || echo file"), "file");
      });
      assert.equal(readFileSync(canary, "utf8"), "unchanged");
    }),
  );
});
