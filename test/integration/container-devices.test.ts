/** Devices in a container: those that the request names, and those of vendors by CDI. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type ContainerInit,
  container,
  createIn,
  exec,
  inPod,
  Node,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless } from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-devices-"));
const [etc, run] = [path.join(directory, "etc"), path.join(directory, "run")] as const;
/** A node of the host that no container has by itself: the kernel log, which is 1:11. */
const log = path.join(directory, "log");

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  mkdirSync(etc);
  node = await Node.startWithBusybox({
    config: {
      cdi: { spec_dirs: [etc, run] },
      runtime: { device_ownership_from_security_context: true },
    },
  });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function running(config: () => ContainerInit, look: (id: string) => Promise<void>) {
  return leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      await look(await runIn(pod, config()));
    }),
  );
}

const owner = (id: string, file: string): Promise<string> =>
  sh(daemon, id, `stat -c '%a %u %g %t:%T' ${file}`);

describe("the devices of a request", () => {
  const link = path.join(directory, "link");
  before(() => {
    execFileSync("mknod", [log, "c", "1", "11"]);
    symlinkSync(log, link);
    mkdirSync(path.join(directory, "several"));
    execFileSync("mknod", [path.join(directory, "several/a"), "c", "1", "11"]);
  });

  test(
    "exist with the requested permissions, also behind a link and in a directory",
    running(
      () =>
        container({
          devices: [
            { hostPath: link, containerPath: "/dev/linked", permissions: "w" },
            {
              hostPath: path.join(directory, "several"),
              containerPath: "/dev/s",
              permissions: "w",
            },
          ],
        }),
      async (id) => {
        for (const at of ["/dev/linked", "/dev/s/a"]) {
          assert.match(await owner(id, at), /^\d+ 0 0 1:b$/);
          await sh(daemon, id, `exec 3> ${at}`);
        }
      },
    ),
  );

  test(
    "refuse access that was not requested",
    running(
      () => container({ devices: [{ hostPath: log, containerPath: "/dev/r", permissions: "r" }] }),
      async (id) => {
        // Writing to it needs no capability.
        const said = await exec(daemon, id, ["/bin/sh", "-c", "exec 3> /dev/r"]);
        assert.match(said.stderr, /Operation not permitted/);
      },
    ),
  );

  test(
    "belong to the user of the request if the node is configured so",
    running(
      () =>
        container({
          devices: [{ hostPath: log, containerPath: "/dev/mine", permissions: "rwm" }],
          linux: { securityContext: { runAsUser: { value: 1000n }, runAsGroup: { value: 2000n } } },
        }),
      async (id) => {
        assert.match(await owner(id, "/dev/mine"), / 1000 2000 1:b$/);
      },
    ),
  );

  for (const [hostPath, status, why] of [
    ["/dev/none-of-this-name", code.invalidArgument, /none-of-this-name.*does not have it/],
    ["/etc/passwd", code.invalidArgument, /is not a device/],
  ] as const) {
    test(
      `that do not exist or are not devices are refused: ${hostPath}`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const devices = [{ hostPath, containerPath: "/dev/x", permissions: "rw" }];
          await assert.rejects(createIn(pod, container({ devices })), failsWith(status, why));
        }),
      ),
    );
  }
});

describe("CDI devices", () => {
  const gpu = {
    cdiVersion: "0.6.0",
    kind: "vendor.example/gpu",
    containerEdits: { env: ["VENDOR=example"] },
    devices: [
      {
        name: "0",
        containerEdits: {
          env: ["GPU=0"],
          deviceNodes: [{ path: "/dev/gpu0", hostPath: log, permissions: "w" }],
          mounts: [{ hostPath: etc, containerPath: "/gpu", options: ["ro", "rbind"] }],
          hooks: [
            {
              hookName: "createContainer",
              path: "/bin/sh",
              args: ["sh", "-c", `echo hooked > ${directory}/hooked`],
            },
          ],
          additionalGids: [4711],
        },
      },
    ],
  };
  const write = (file: string, value: object): void => {
    writeFileSync(file, JSON.stringify(value));
  };

  test(
    "bring nodes, variables, mounts, groups and hooks",
    running(
      () => {
        write(path.join(etc, "gpu.json"), gpu);
        return container({ CDIDevices: [{ name: "vendor.example/gpu=0" }] });
      },
      async (id) => {
        assert.match(await owner(id, "/dev/gpu0"), /^666 0 0 1:b$/);
        assert.equal(await sh(daemon, id, "echo $VENDOR $GPU; id -G"), "example 0\n0 4711");
        assert.equal(await sh(daemon, id, "ls /gpu; exec 3> /dev/gpu0"), "gpu.json");
        const said = await exec(daemon, id, ["touch", "/gpu/x"]);
        assert.match(said.stderr, /Read-only file system/);
        assert.equal(
          execFileSync("cat", [path.join(directory, "hooked")], { encoding: "utf8" }),
          "hooked\n",
        );
      },
    ),
  );

  test(
    "can be requested by annotations, and are read again when their files change",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        write(path.join(etc, "gpu.json"), gpu);
        const annotations = { "cdi.k8s.io/plugin_x": "vendor.example/gpu=0" };
        const first = await runIn(pod, container({ annotations }));
        assert.equal(await sh(daemon, first, "echo $GPU"), "0");
        mkdirSync(run);
        const newer =
          "cdiVersion: 1.0.0\nkind: vendor.example/gpu\ndevices:\n- name: '0'\n  containerEdits: {env: [GPU=newer]}\n";
        writeFileSync(path.join(run, "gpu.yaml"), newer);
        const second = await runIn(pod, container({ annotations }));
        assert.equal(await sh(daemon, second, "echo $GPU$VENDOR"), "newer");
        rmSync(run, { recursive: true });
      }),
    ),
  );

  test(
    "that do not exist are refused; the error lists the known ones and the invalid files",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        write(path.join(etc, "gpu.json"), gpu);
        writeFileSync(path.join(etc, "torn.json"), "{");
        const ask = (name: string) => createIn(pod, container({ CDIDevices: [{ name }] }));
        await assert.rejects(
          ask("vendor.example/gpu=7"),
          failsWith(
            code.invalidArgument,
            /"vendor\.example\/gpu=7"; it has "vendor\.example\/gpu=0"; not usable: ".*torn\.json/,
          ),
        );
        await assert.rejects(ask("gpu"), failsWith(code.invalidArgument, /vendor\/class=name/));
        await ask("vendor.example/gpu=0");
      }),
    ),
  );
});
