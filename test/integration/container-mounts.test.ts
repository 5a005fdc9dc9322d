/** Mounts of a container: the host's directories and files in it. */
// variants: shim
import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { MountPropagation } from "../../src/gen/runtime/v1/api_pb.ts";
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
import { bare, code, failsWith, leakless, output } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const directory = mkdtempSync(path.join(tmpdir(), "davit-mounts-"));

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The body of a test with one running container. */
function running(config: () => ContainerInit, look: (id: string) => Promise<void>) {
  return leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      await look(await runIn(pod, config()));
    }),
  );
}

describe("mounts", () => {
  const at = (name: string): string => path.join(directory, name);

  test(
    "provide directories of the host, writable or read-only",
    running(
      () => {
        for (const name of ["rw", "ro"]) mkdirSync(at(name), { recursive: true });
        writeFileSync(at("ro/file"), "hello");
        const mounts = [
          { hostPath: at("rw"), containerPath: "/rw" },
          { hostPath: at("ro"), containerPath: "/deep/ro", readonly: true },
          { hostPath: at("ro/file"), containerPath: "/etc/one-file", readonly: true },
        ];
        return container({ mounts });
      },
      async (id) => {
        await sh(daemon, id, "echo from inside > /rw/file");
        assert.equal(readFileSync(at("rw/file"), "utf8"), "from inside\n");
        assert.equal(await sh(daemon, id, "cat /deep/ro/file /etc/one-file"), "hellohello");
        const said = await exec(daemon, id, ["touch", "/deep/ro/new"]);
        assert.match(said.stderr, /Read-only file system/);
      },
    ),
  );

  test(
    "follow a link on the host, and create a missing directory there",
    running(
      () => {
        mkdirSync(at("real"));
        writeFileSync(at("real/file"), "real");
        symlinkSync(at("real"), at("link"));
        const mounts = [
          { hostPath: at("link"), containerPath: "/link" },
          { hostPath: at("missing/directory"), containerPath: "/missing" },
        ];
        return container({ mounts });
      },
      async (id) => {
        assert.equal(await sh(daemon, id, "cat /link/file"), "real");
        await sh(daemon, id, "touch /missing/file");
        for (const made of ["missing", "missing/directory"]) {
          const { mode, uid, gid } = statSync(at(made));
          assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 0, 0]);
        }
        assert.equal(readFileSync(at("missing/directory/file"), "utf8"), "");
      },
    ),
  );

  test(
    "are read-only, and recursively read-only if requested",
    leakless(served, async () => {
      mkdirSync(at("outer-ro/inner"), { recursive: true });
      await output("mount", "-t", "tmpfs", "tmpfs", at("outer-ro/inner"));
      try {
        await inPod(daemon, bare(), async (pod) => {
          const readonly = { hostPath: at("outer-ro"), readonly: true };
          const mounts = [
            { ...readonly, containerPath: "/ro" },
            { ...readonly, containerPath: "/rro", recursiveReadOnly: true },
          ];
          const id = await runIn(pod, container({ mounts }));
          const refuses = async (directory: string): Promise<boolean> => {
            const said = await exec(daemon, id, ["touch", `${directory}/new`]);
            return said.exitCode !== 0 && said.stderr.includes("Read-only file system");
          };
          const directories = ["/ro", "/ro/inner", "/rro", "/rro/inner"];
          const refused = await Promise.all(directories.map(refuses));
          assert.deepEqual(refused, [true, false, true, true]);
          for (const [change, why] of [
            [{ readonly: false }, /not readonly/],
            [
              { propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER },
              /private propagation/,
            ],
            [{ propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL }, /private propagation/],
          ] as const) {
            const mount = { ...readonly, containerPath: "/m", recursiveReadOnly: true, ...change };
            await assert.rejects(
              createIn(pod, container({ mounts: [mount] })),
              failsWith(code.invalidArgument, why),
            );
          }
        });
      } finally {
        await output("umount", at("outer-ro/inner"));
      }
    }),
  );

  test(
    "have the options of the request, recursively if they are read-only recursively",
    leakless(served, async () => {
      mkdirSync(at("options/inner"), { recursive: true });
      await output("mount", "-t", "tmpfs", "tmpfs", at("options/inner"));
      try {
        for (const file of ["program", "inner/program"]) {
          writeFileSync(at(`options/${file}`), "#!/bin/sh\necho ran\n", { mode: 0o755 });
        }
        await inPod(daemon, bare(), async (pod) => {
          const mount = { hostPath: at("options"), mountOptions: ["noexec", "nodev", "nosuid"] };
          const recursive = { readonly: true, recursiveReadOnly: true };
          const mounts = [
            { hostPath: at("options"), containerPath: "/plain" },
            { ...mount, containerPath: "/noexec" },
            { ...mount, containerPath: "/recursive", ...recursive },
          ];
          const id = await runIn(pod, container({ mounts }));
          const runs = async (file: string): Promise<boolean> =>
            (await exec(daemon, id, [file])).stdout === "ran\n";
          const files = ["", "inner/"].flatMap((below) =>
            ["plain", "noexec", "recursive"].map((name) => `/${name}/${below}program`),
          );
          // As for readonly, what is mounted below is another mount.
          const ran = [];
          for (const file of files) ran.push(await runs(file).catch(() => false));
          assert.deepEqual(ran, [true, false, false, true, true, false]);
          const table = await sh(daemon, id, "grep ' /noexec ' /proc/self/mountinfo");
          for (const option of mount.mountOptions)
            assert.match(table, new RegExp(`\\b${option}\\b`));
          const { status } = await daemon.client.runtime.containerStatus({ containerId: id });
          assert.deepEqual(status?.mounts[1]?.mountOptions, mount.mountOptions);
          await assert.rejects(
            createIn(
              pod,
              container({ mounts: [{ ...mount, containerPath: "/m", mountOptions: ["suid"] }] }),
            ),
            failsWith(code.invalidArgument, /mount_options of "\/m" has "suid"/),
          );
        });
      } finally {
        await output("umount", at("options/inner"));
      }
    }),
  );

  test(
    "can cover the files of the pod, and a directory inside another mount",
    running(
      () => {
        mkdirSync(at("outer/inner"), { recursive: true });
        mkdirSync(at("other"));
        writeFileSync(at("other/file"), "other");
        writeFileSync(at("hosts"), "127.9.9.9 own\n");
        const mounts = [
          { hostPath: at("other"), containerPath: "/m/inner" },
          { hostPath: at("outer"), containerPath: "/m" },
          { hostPath: at("hosts"), containerPath: "/etc/hosts" },
        ];
        return container({ mounts });
      },
      async (id) => {
        assert.equal(await sh(daemon, id, "cat /m/inner/file"), "other");
        assert.equal(await sh(daemon, id, "cat /etc/hosts"), "127.9.9.9 own");
      },
    ),
  );

  test(
    "propagate mounts from and to the host as their propagation says",
    leakless(served, async () => {
      mkdirSync(at("shared"));
      await output("mount", "-t", "tmpfs", "tmpfs", at("shared"));
      await output("mount", "--make-shared", at("shared"));
      try {
        await inPod(daemon, bare(), async (pod) => {
          const mountOf = (propagation: MountPropagation): ContainerInit =>
            container({
              mounts: [{ hostPath: at("shared"), containerPath: "/m", propagation }],
              linux: { securityContext: { capabilities: { addCapabilities: ["SYS_ADMIN"] } } },
            });
          const own = await runIn(pod, mountOf(MountPropagation.PROPAGATION_PRIVATE));
          const slave = await runIn(pod, mountOf(MountPropagation.PROPAGATION_HOST_TO_CONTAINER));
          const both = await runIn(pod, mountOf(MountPropagation.PROPAGATION_BIDIRECTIONAL));
          const seenIn = async (id: string, name: string): Promise<boolean> =>
            (await sh(daemon, id, "cat /proc/mounts")).includes(` /m/${name} `);
          mkdirSync(at("shared/host"));
          await output("mount", "-t", "tmpfs", "tmpfs", at("shared/host"));
          const seen = await Promise.all([own, slave, both].map((id) => seenIn(id, "host")));
          assert.deepEqual(seen, [false, true, true]);
          await output("umount", at("shared/host"));
          for (const [id, name] of [
            [slave, "slave"],
            [both, "both"],
          ] as const) {
            await sh(daemon, id, `mkdir /m/${name} && mount -t tmpfs tmpfs /m/${name}`);
          }
          const mounts = readFileSync("/proc/self/mounts", "utf8");
          assert.doesNotMatch(mounts, /shared\/slave /);
          assert.match(mounts, /shared\/both /);
          await output("umount", at("shared/both"));
        });
      } finally {
        await output("umount", at("shared"));
      }
    }),
  );

  test(
    "are refused if the directory of the host does not support their propagation",
    leakless(served, async () => {
      mkdirSync(at("private"));
      await output("mount", "--bind", at("private"), at("private"));
      await output("mount", "--make-private", at("private"));
      try {
        await inPod(daemon, bare(), async (pod) => {
          const { PROPAGATION_BIDIRECTIONAL: propagation } = MountPropagation;
          const mounts = [{ hostPath: at("private"), containerPath: "/m", propagation }];
          await assert.rejects(
            createIn(pod, container({ mounts })),
            failsWith(code.invalidArgument, /needs a shared mount.*make-rshared/),
          );
        });
      } finally {
        await output("umount", at("private"));
      }
    }),
  );
});
