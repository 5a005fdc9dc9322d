import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import { type OwnIds, withOwnIds } from "../core/sandbox/index.ts";
import {
  MountPropagation,
  type MountSchema,
  NamespaceMode,
  PodSandboxConfigSchema,
} from "../gen/runtime/v1/api_pb.ts";
import { checkMounts } from "./check-mounts.ts";
import type { SpecInput } from "./input.ts";
import { checkPropagation, containerMounts, mountDestination } from "./mounts.ts";
import { containerConfig, podConfig, specInput } from "./testing/spec-input.ts";

type MountInit = MessageInitShape<typeof MountSchema>;
const { PROPAGATION_BIDIRECTIONAL, PROPAGATION_HOST_TO_CONTAINER } = MountPropagation;
const withMounts = (mounts: MountInit[], over: Partial<SpecInput> = {}): SpecInput =>
  specInput({ mounts }, over);
const destinations = (input: SpecInput): string[] =>
  containerMounts(input).mounts.map((mount) => mount.destination);
const optionsOf = (input: SpecInput, destination: string): readonly string[] | undefined =>
  containerMounts(input).mounts.find((mount) => mount.destination === destination)?.options;

describe("containerMounts()", () => {
  test("puts the kernel's file systems first, then binds by depth, each depth in its order", () => {
    const input = withMounts([
      { containerPath: "/a/b/c", hostPath: "/3" },
      { containerPath: "/a", hostPath: "/1" },
      { containerPath: "/z/y", hostPath: "/2b" },
      { containerPath: "/a//b/", hostPath: "/2a" },
    ]);
    assert.deepEqual(destinations(input), [
      "/proc",
      "/dev",
      "/dev/pts",
      "/dev/mqueue",
      "/sys",
      "/sys/fs/cgroup",
      "/a",
      "/z/y",
      "/a/b",
      "/etc/hostname",
      "/etc/hosts",
      "/etc/resolv.conf",
      "/dev/shm",
      "/a/b/c",
    ]);
  });

  test("never puts a mount before one above it", () => {
    for (let seed = 1; seed < 100; seed++) {
      const mounts = Array.from({ length: 8 }, (_, i) => ({
        containerPath: `/m${"/x".repeat((seed * (i + 3)) % 5)}/${(seed + i) % 3}`,
        hostPath: "/h",
      }));
      const order = destinations(withMounts(mounts));
      order.forEach((path, index) => {
        const later = order.slice(index + 1);
        assert.ok(!later.some((other) => path.startsWith(`${other}/`)), order.join(" "));
      });
    }
  });

  test("leaves a path to the request that asks for it", () => {
    const paths = ["/etc/hosts", "/etc/hostname/", "/etc//resolv.conf", "/dev/shm", "/proc"];
    const all = destinations(
      withMounts(paths.map((containerPath) => ({ containerPath, hostPath: "/h" }))),
    );
    assert.equal(new Set(all).size, all.length);
    assert.deepEqual(all.slice(0, 5), [
      "/dev",
      "/dev/pts",
      "/dev/mqueue",
      "/sys",
      "/sys/fs/cgroup",
    ]);
  });

  test("does not hide a mounted /dev or /sys behind the kernel's file systems", () => {
    const dev = destinations(withMounts([{ containerPath: "/dev", hostPath: "/dev" }]));
    assert.deepEqual(
      dev.filter((path) => path.startsWith("/dev")),
      ["/dev", "/dev/shm"],
    );
    const sys = destinations(withMounts([{ containerPath: "/sys", hostPath: "/sys" }]));
    assert.deepEqual(
      sys.filter((path) => path.startsWith("/sys")),
      ["/sys"],
    );
  });

  test("mounts the pod's files that there are, and the node's /dev/shm for host IPC", () => {
    const none = withMounts([], { sandboxFiles: {} });
    assert.equal(
      destinations(none).some((path) => path.startsWith("/etc")),
      false,
    );
    const ipc = { securityContext: { namespaceOptions: { ipc: NamespaceMode.NODE } } };
    const input = withMounts([], { sandbox: { id: "s", config: podConfig({ linux: ipc }) } });
    const shm = containerMounts(input).mounts.find((mount) => mount.destination === "/dev/shm");
    assert.equal(shm?.source, "/dev/shm");
    assert.deepEqual(shm.options.slice(3), ["nosuid", "nodev"]);
  });

  test("makes the pod's files read-only with the root, but not /dev/shm", () => {
    const input = specInput({ linux: { securityContext: { readonlyRootfs: true } } });
    assert.equal(optionsOf(input, "/etc/hosts")?.[2], "ro");
    assert.equal(optionsOf(input, "/dev/shm")?.[2], "rw");
  });

  test("lets nothing be setuid, a device or a program in the pod's files", () => {
    for (const path of ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/dev/shm"]) {
      const options = optionsOf(specInput(), path)?.slice(3);
      assert.deepEqual(options, ["nosuid", "nodev", "noexec"], path);
    }
  });

  test("lets only a privileged container write to sysfs and cgroups", () => {
    const access = (privileged: boolean): unknown[] =>
      ["/sys", "/sys/fs/cgroup"].map((path) =>
        optionsOf(specInput({ linux: { securityContext: { privileged } } }), path)?.at(-1),
      );
    assert.deepEqual(access(false), ["ro", "ro"]);
    assert.deepEqual(access(true), ["rw", "rw"]);
  });

  test("turns propagation and access into options, and the root's propagation into the widest", () => {
    const one = (mount: MountInit): readonly string[] | undefined =>
      optionsOf(withMounts([{ containerPath: "/m", hostPath: "/h", ...mount }]), "/m");
    assert.deepEqual(one({}), ["rbind", "rprivate", "rw"]);
    assert.deepEqual(one({ readonly: true }), ["rbind", "rprivate", "ro"]);
    assert.deepEqual(one({ readonly: true, recursiveReadOnly: true }), [
      "rbind",
      "rprivate",
      "rro",
    ]);
    const slave = {
      containerPath: "/s",
      hostPath: "/h",
      propagation: PROPAGATION_HOST_TO_CONTAINER,
    };
    const shared = { containerPath: "/b", hostPath: "/h", propagation: PROPAGATION_BIDIRECTIONAL };
    assert.deepEqual(optionsOf(withMounts([slave]), "/s"), ["rbind", "rslave", "rw"]);
    assert.deepEqual(optionsOf(withMounts([shared]), "/b"), ["rbind", "rshared", "rw"]);
    assert.equal(containerMounts(withMounts([])).rootfsPropagation, undefined);
    assert.equal(containerMounts(withMounts([slave])).rootfsPropagation, "rslave");
    assert.equal(containerMounts(withMounts([shared, slave])).rootfsPropagation, "rshared");
  });

  test("mounts an image read-only from where the caller mounted it", () => {
    const mount = { containerPath: "/img", image: { image: "x" }, readonly: true };
    const { mounts } = containerMounts(withMounts([mount], { mountSources: ["/run/img/x"] }));
    const image = mounts.find(({ destination }) => destination === "/img");
    assert.equal(image?.source, "/run/img/x");
    assert.deepEqual(image.options.slice(2), ["ro", "nosuid", "nodev"]);
  });

  test("adds the options of the request, each once, as far as readonly reaches", () => {
    const one = (mount: MountInit): readonly string[] | undefined =>
      optionsOf(withMounts([{ containerPath: "/m", ...mount }], { mountSources: ["/h"] }), "/m");
    const options = ["noexec", "nosuid", "noexec", "noatime"];
    const host = { hostPath: "/h", mountOptions: options };
    assert.deepEqual(one(host)?.slice(2), ["rw", "noexec", "nosuid", "noatime"]);
    assert.deepEqual(one({ ...host, readonly: true })?.slice(2, 4), ["ro", "noexec"]);
    const recursive = one({ ...host, readonly: true, recursiveReadOnly: true });
    assert.deepEqual(recursive?.slice(2), ["rro", "rnoexec", "rnosuid", "noatime"]);
    const image = { image: { image: "x" }, readonly: true, mountOptions: ["nodev", "noexec"] };
    assert.deepEqual(one(image)?.slice(2), ["ro", "nosuid", "nodev", "noexec"]);
  });

  test("writes id mappings, and refuses what the OCI runtime cannot do", () => {
    const mapped = {
      containerPath: "/m",
      hostPath: "/h",
      uidMappings: [{ containerId: 0, hostId: 65536, length: 10 }],
    };
    const { mounts } = containerMounts(withMounts([mapped]));
    assert.deepEqual(mounts.find(({ destination }) => destination === "/m")?.uidMappings, [
      { containerID: 0, hostID: 65536, size: 10 },
    ]);
    const old = { mountOptions: ["ro"], idMappedMounts: false, seccomp: true };
    const rro = { containerPath: "/m", hostPath: "/h", readonly: true, recursiveReadOnly: true };
    for (const [mount, why] of [
      [rro, /RROUnsupported/],
      [mapped, /cannot map the ids/],
    ] as const) {
      assert.throws(
        () => containerMounts(withMounts([mount], { runtime: old })),
        (error) => isKind(error, "failed-precondition") && why.test(String(error)),
      );
    }
  });

  test("throws when the caller resolved fewer mounts than there are", () => {
    const mount = { containerPath: "/m", hostPath: "/h" };
    assert.throws(() => containerMounts(withMounts([mount], { mountSources: [] })), RangeError);
  });
});

test("mountDestination() normalises, and cannot leave the root", () => {
  const at = (containerPath: string): string => mountDestination({ containerPath });
  assert.deepEqual(["/a/", "//a", "/a/../../b", "/", "/a/./b"].map(at), [
    "/a",
    "/a",
    "/b",
    "/",
    "/a/b",
  ]);
});

test("checkPropagation() compares with the optional fields of mountinfo", () => {
  const check = (propagation: MountPropagation, fields: string[]) => (): void =>
    checkPropagation({ propagation, hostPath: "/mnt/x" }, "/mnt", fields);
  assert.doesNotThrow(check(MountPropagation.PROPAGATION_PRIVATE, []));
  assert.doesNotThrow(check(PROPAGATION_BIDIRECTIONAL, ["shared:1", "master:2"]));
  assert.doesNotThrow(check(PROPAGATION_HOST_TO_CONTAINER, ["master:2"]));
  assert.throws(check(PROPAGATION_BIDIRECTIONAL, ["master:2"]), /"\/mnt\/x" needs a shared mount/);
  assert.throws(check(PROPAGATION_HOST_TO_CONTAINER, []), /shared or slave/);
});

test("checkMounts() refuses mounts that cannot be meant", () => {
  const ok = { containerPath: "/m", hostPath: "/h" };
  const image = { containerPath: "/m", image: { image: "x" }, readonly: true };
  const bad: readonly (readonly [MountInit, RegExp])[] = [
    [{ hostPath: "/h" }, /container_path is empty/],
    [{ containerPath: "m", hostPath: "/h" }, /must be absolute, got "m"/],
    [{ containerPath: "/a/..", hostPath: "/h" }, /the root itself/],
    [{ containerPath: "/m" }, /host_path of "\/m" is empty/],
    [{ containerPath: "/m", hostPath: "h" }, /host_path must be absolute/],
    [{ ...image, hostPath: "/h" }, /an image and a host_path/],
    [{ ...image, readonly: false }, /must be readonly/],
    [{ ...image, image: {} }, /image of "\/m" is empty/],
    [{ ...image, imageSubPath: "/abs" }, /must be relative/],
    [{ ...image, imageSubPath: "a/../../b" }, /must stay in its image/],
    [{ ...ok, propagation: 7 as MountPropagation }, /propagation of "\/m" is 7/],
    [{ ...ok, recursiveReadOnly: true }, /not readonly/],
    [
      { ...ok, mountOptions: ["nodev", "exec"] },
      /mount_options of "\/m" has "exec".*: noexec, nodev, nosuid, noatime$/,
    ],
    [{ ...image, mountOptions: ["rw"] }, /has "rw"/],
    [
      { ...ok, readonly: true, recursiveReadOnly: true, propagation: PROPAGATION_BIDIRECTIONAL },
      /needs private propagation, not PROPAGATION_BIDIRECTIONAL/,
    ],
  ];
  for (const [mount, why] of bad) {
    assert.throws(
      () => checkMounts(containerConfig({ mounts: [mount] })),
      (error) => isKind(error, "invalid-argument") && why.test(String(error)),
      String(why),
    );
  }
  // kubelet sets image_sub_path for volumes without an image, too.
  const subPath = { ...ok, imageSubPath: "a/b" };
  checkMounts(containerConfig({ mounts: [ok, subPath, image, { ...image, imageSubPath: "a/b" }] }));
});

test("each mount of a pod that has ids of its own without asking has the pod's ids", () => {
  const range = { hostId: 700_000, length: 65_536 };
  const own = { id: "s1", config: withOwnIds(create(PodSandboxConfigSchema), range) };
  const mounts = [{ containerPath: "/data", hostPath: "/data" }];
  const mappings = (sandbox: typeof own & { ownIds?: OwnIds }): unknown => {
    const input = specInput({ mounts }, { sandbox, mountSources: ["/data"] });
    const runtime = { ...input.runtime, idMappedMounts: true };
    const { mounts: made } = containerMounts({ ...input, runtime });
    const found = made.find(({ destination }) => destination === "/data");
    return [found?.uidMappings, found?.gidMappings];
  };
  const mapped = [{ containerID: 0, hostID: 700_000, size: 65_536 }];
  assert.deepEqual(mappings({ ...own, ownIds: { range } }), [mapped, mapped]);
  // A client that asked for the ids decides about its mounts.
  assert.deepEqual(mappings(own), [undefined, undefined]);
});
