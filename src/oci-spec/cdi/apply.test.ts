import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import type { CdiEdits } from "./cdi.ts";
import { containerSpec } from "../generate.ts";
import { podConfig, specInput } from "../testing/spec-input.ts";

const none: CdiEdits = {
  env: [],
  deviceNodes: [],
  netDevices: [],
  mounts: [],
  hooks: [],
  additionalGids: [],
};
const specWith = (edits: Partial<CdiEdits>, over: Parameters<typeof specInput>[1] = {}) =>
  containerSpec(specInput({}, { ...over, cdi: { ...none, ...edits } }));

describe("withCdiEdits()", () => {
  test("changes nothing where nothing is added", () => {
    assert.deepEqual(specWith({}), containerSpec(specInput()));
  });

  test("adds variables, and those that are there take the device's value", () => {
    const { env } = specWith({ env: ["HOSTNAME=gpu", "NEW=1", "NEW=2"] }).process;
    assert.deepEqual(
      env.filter((line) => /^(HOSTNAME|NEW)=/.test(line)),
      ["HOSTNAME=gpu", "NEW=2"],
    );
  });

  test("gives device nodes to the container's user unless the file names another", () => {
    const node = { path: "/dev/a", hostPath: "/dev/a", type: "c", major: 1, minor: 2 } as const;
    const user = { uid: 5n, gid: 6n, supplementalGroups: [] };
    const { linux } = specWith(
      {
        deviceNodes: [
          { ...node, permissions: "rw" },
          {
            ...node,
            path: "/dev/b",
            type: "p",
            permissions: "rwm",
            uid: 0,
            gid: 9,
            fileMode: 0o600,
          },
        ],
      },
      { user },
    );
    assert.deepEqual(
      linux.devices?.map(({ path, uid, gid, fileMode }) => [path, uid, gid, fileMode]),
      [
        ["/dev/a", 5, 6, 0o666],
        ["/dev/b", 0, 9, 0o600],
      ],
    );
    assert.deepEqual(linux.resources.devices?.slice(1), [
      { allow: true, type: "c", major: 1, minor: 2, access: "rw" },
    ]);
  });

  test("mounts parents first, and replaces existing mounts", () => {
    const { mounts } = specWith({
      mounts: [
        { hostPath: "/x", containerPath: "/etc", type: "", options: ["ro"] },
        { hostPath: "/y", containerPath: "/etc/hosts", type: "bind", options: ["bind"] },
        { hostPath: "tmpfs", containerPath: "/t/", type: "tmpfs", options: [] },
      ],
    });
    const destinations = mounts.map(({ destination }) => destination);
    assert.ok(destinations.indexOf("/etc") < destinations.indexOf("/etc/hostname"));
    assert.equal(destinations.filter((path) => path === "/etc/hosts").length, 1);
    assert.equal(mounts.find(({ destination }) => destination === "/etc/hosts")?.source, "/y");
    const etc = mounts.find(({ destination }) => destination === "/etc");
    assert.deepEqual([etc?.type, etc?.options], ["bind", ["rbind", "ro"]]);
    assert.equal(mounts.at(-1)?.destination, "/t");
  });

  test("carries hooks, groups and intelRdt", () => {
    const spec = specWith({
      hooks: [
        { hookName: "poststop", path: "/b", args: [], env: [] },
        { hookName: "createRuntime", path: "/a", args: ["a"], env: ["K=v"], timeout: 3 },
      ],
      additionalGids: [44, 0],
      intelRdt: { closID: "c" },
    });
    assert.deepEqual(spec.hooks, {
      poststop: [{ path: "/b" }],
      createRuntime: [{ path: "/a", args: ["a"], env: ["K=v"], timeout: 3 }],
    });
    assert.deepEqual(spec.process.user.additionalGids, [0, 44]);
    assert.deepEqual(spec.linux.intelRdt, { closID: "c" });
  });

  test("moves network devices where the runtime can, and says why it cannot", () => {
    const netDevices = [
      { hostName: "eth7", name: "dra0" },
      { hostName: "eth8", name: "eth8" },
    ];
    const { runtime } = specInput();
    const able = { runtime: { ...runtime, optionalFields: ["linux.netDevices"] as const } };
    assert.equal(specWith({ netDevices }, able).ociVersion, "1.3.0");
    assert.deepEqual(specWith({ netDevices }, able).linux.netDevices, {
      eth7: { name: "dra0" },
      eth8: { name: "eth8" },
    });
    const twice = [...netDevices, { hostName: "eth9", name: "dra0" }];
    const again = [...netDevices, { hostName: "eth7", name: "other" }];
    const namespaceOptions = { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER };
    const onHost = { linux: { securityContext: { namespaceOptions } } };
    const sandbox = { id: "s1", config: podConfig(onHost) };
    const { net: _net, ...pins } = specInput().sandboxPins;
    const ofNode = specInput(onHost, { ...able, sandbox, sandboxPins: pins });
    for (const [make, why] of [
      [() => specWith({ netDevices }), /cannot move the network devices of CDI, "eth7", "eth8"/],
      [() => specWith({ netDevices: twice }, able), /two network devices of one name/],
      [() => specWith({ netDevices: again }, able), /two network devices of one name/],
      [
        () => containerSpec({ ...ofNode, cdi: { ...none, netDevices } }),
        /the pod has the network of the node/,
      ],
    ] as const) {
      assert.throws(
        make,
        (error) => isKind(error, "failed-precondition") && why.test(String(error)),
      );
    }
  });
});
