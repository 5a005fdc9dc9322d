// variants: shim
/** Classes of block I/O and RDT that pods name by annotations, in this machine's cgroups. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { container, createIn, inPod, Node, runIn } from "../support/suites/containers.ts";
import { bare, cgroupValue, code, failsWith, leakless, parentOf } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const directory = mkdtempSync(path.join(tmpdir(), "classes-"));
const file = path.join(directory, "blockio.yaml");

/** A disk of this machine that is not one of a kind that comes and goes. */
const disk = readdirSync("/sys/block").find(
  (name) => !/^(loop|ram|zram|sr|fd)/.test(name) && existsSync(`/dev/${name}`),
);
const numbers = disk === undefined ? "" : readFileSync(`/sys/block/${disk}/dev`, "utf8").trim();
const noDisk = disk === undefined && "this machine has no disk in /dev";

const prefix = "blockio.resources.beta.kubernetes.io";

before(async () => {
  // So high that nothing is slower.
  writeFileSync(
    file,
    `Classes:
  fast:
  - Devices: ["/dev/${disk?.slice(0, -1) ?? ""}*"]
    ThrottleReadBps: 100G
    ThrottleWriteIOPS: 1M
`,
  );
  node = await Node.startWithBusybox({ config: { runtime: { blockio_config_file: file } } });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

describe("a class of block I/O", () => {
  test(
    "that a pod names for a container limits it, and no other one of the pod",
    { skip: noDisk },
    leakless(served, async () => {
      const config = bare({ annotations: { [`${prefix}/container.fast`]: "fast" } });
      await inPod(daemon, config, async (pod) => {
        const limited = await runIn(pod, container({ metadata: { name: "fast" } }));
        const free = await runIn(pod, container({ metadata: { name: "free" } }));
        const valueOf = (id: string, legacy: string): string =>
          cgroupValue(`${parentOf(config)}/${id}`, legacy, "io.max");
        const bytes = valueOf(limited, "blkio.throttle.read_bps_device");
        const operations = valueOf(limited, "blkio.throttle.write_iops_device");
        assert.match(bytes, new RegExp(`^${numbers} .*100000000000`, "m"));
        assert.match(operations, new RegExp(`^${numbers} .*1000000`, "m"));
        assert.equal(valueOf(free, "blkio.throttle.read_bps_device"), "");
      });
    }),
  );

  test(
    "that the file does not define is refused, until it does",
    leakless(served, async () => {
      const config = bare({ annotations: { [`${prefix}/pod`]: "slow" } });
      await inPod(daemon, config, async (pod) => {
        const message =
          /use blockio class "slow": ".*blockio.yaml" does not define it; it has "fast"/;
        await assert.rejects(createIn(pod), failsWith(code.failedPrecondition, message));
        writeFileSync(file, "Classes:\n  slow:\n");
        await createIn(pod);
      });
    }),
  );
});

describe("an RDT class", () => {
  test(
    "is refused without a file of RDT classes",
    leakless(served, async () => {
      const annotations = { "rdt.resources.beta.kubernetes.io/pod": "gold" };
      await inPod(daemon, bare({ annotations }), async (pod) => {
        const message = /use RDT class "gold": runtime.rdt_config_file is not set/;
        await assert.rejects(createIn(pod), failsWith(code.failedPrecondition, message));
      });
    }),
  );
});
