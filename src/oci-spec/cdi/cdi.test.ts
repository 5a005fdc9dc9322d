import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { cdiEdits, type CdiFile, type ReadCdiFile, requestedCdiDevices } from "./cdi.ts";
import { parseCdiFile } from "./file.ts";
import { containerConfig } from "../testing/spec-input.ts";

const invalid = (message: RegExp) => (error: unknown) =>
  isKind(error, "invalid-argument") && message.test(String(error));

const fileOf = (kind: string, names: readonly string[], more: object = {}): CdiFile =>
  parseCdiFile({
    cdiVersion: "0.6.0",
    kind,
    devices: names.map((name) => ({ name, containerEdits: { env: [`DEVICE_${name}=1`] } })),
    ...more,
  });
const read = (path: string, priority: number, content: CdiFile | Error): ReadCdiFile => ({
  path,
  priority,
  content,
});

describe("requestedCdiDevices()", () => {
  test("takes the field, then annotations with commas, each name once", () => {
    const config = containerConfig({
      CDIDevices: [{ name: "v.com/gpu=0" }, { name: "v.com/gpu=1" }],
      annotations: { "cdi.k8s.io/a": "v.com/gpu=1,w/c=x:y", "other/key": "no name" },
    });
    assert.deepEqual(requestedCdiDevices(config), ["v.com/gpu=0", "v.com/gpu=1", "w/c=x:y"]);
  });

  for (const name of ["", "gpu", "v/c", "v/c=", "/c=d", "v/c/e=d", "1v/c=d", "v/c=-d", "v/c=d "]) {
    test(`refuses ${JSON.stringify(name)}`, () => {
      const names = (init: object) => () => requestedCdiDevices(containerConfig(init));
      assert.throws(names({ CDIDevices: [{ name }] }), invalid(/CDI_devices.*vendor\/class=name/));
      assert.throws(names({ annotations: { "cdi.k8s.io/x": name } }), invalid(/cdi\.k8s\.io\/x/));
    });
  }
});

describe("cdiEdits()", () => {
  test("gives the edits of a file once, and those of its devices in the order of their names", () => {
    const file = fileOf("v/c", ["a", "b"], { containerEdits: { env: ["ALL=1"] } });
    const { env } = cdiEdits([read("/f", 0, file)], ["v/c=b", "v/c=a"]);
    assert.deepEqual(env, ["ALL=1", "DEVICE_b=1", "DEVICE_a=1"]);
  });

  test("takes a device of a later directory before the same of an earlier one", () => {
    const files = [
      read("/etc/cdi/f", 0, fileOf("v/c", ["a", "b"], { containerEdits: { env: ["F=etc"] } })),
      read("/run/cdi/f", 1, fileOf("v/c", ["a"], { containerEdits: { env: ["F=run"] } })),
    ];
    for (const order of [files, files.toReversed()]) {
      assert.deepEqual(cdiEdits(order, ["v/c=a"]).env, ["F=run", "DEVICE_a=1"]);
      assert.deepEqual(cdiEdits(order, ["v/c=b"]).env, ["F=etc", "DEVICE_b=1"]);
    }
  });

  test("refuses a device that two files of one directory define", () => {
    const two = [1, 2].map((at) => read(`/f${at}`, 0, fileOf("v/c", ["a"])));
    assert.throws(() => cdiEdits(two, ["v/c=a"]), invalid(/"v\/c=a" is in "\/f1" and "\/f2"/));
    const higher = read("/run/f", 1, fileOf("v/c", ["a"]));
    assert.deepEqual(cdiEdits([...two, higher], ["v/c=a"]).env, ["DEVICE_a=1"]);
  });

  test("names missing and known devices, and unusable files", () => {
    const files = [read("/good", 0, fileOf("v/c", ["b", "a"])), read("/bad", 0, new Error("torn"))];
    assert.deepEqual(cdiEdits(files, ["v/c=a"]).env, ["DEVICE_a=1"]);
    assert.throws(
      () => cdiEdits(files, ["v/c=a", "v/c=z", "x/y=z"]),
      invalid(/"v\/c=z", "x\/y=z"; it has "v\/c=a", "v\/c=b"; not usable: "\/bad": torn/),
    );
    assert.throws(() => cdiEdits([], ["v/c=a"]), invalid(/it has none/));
  });
});

describe("parseCdiFile()", () => {
  const edits = (containerEdits: unknown) => ({
    cdiVersion: "1.1.0",
    kind: "v.com/class-1",
    devices: [{ name: "d", containerEdits }],
  });

  test("reads all fields of a file", () => {
    const everything = {
      env: ["A=b"],
      deviceNodes: [
        {
          path: "/dev/a",
          hostPath: "/dev/b",
          type: "c",
          major: 1,
          minor: 3,
          fileMode: 0o660,
          permissions: "rw",
          uid: 1,
          gid: 2,
        },
        { path: "/dev/c" },
      ],
      netDevices: [{ hostInterfaceName: "eth7", name: "net1" }],
      mounts: [{ hostPath: "/lib/x", containerPath: "/lib/x", options: ["ro"], type: "bind" }],
      hooks: [{ hookName: "prestart", path: "/h", args: ["h"], env: ["H=1"], timeout: 5 }],
      additionalGids: [44],
      intelRdt: { closID: "x", enableCMT: true, enableMonitoring: true, schemata: ["L3:0=f"] },
    };
    const file = parseCdiFile({
      ...edits(everything),
      containerEdits: {},
      annotations: { a: "b" },
    });
    const device = file.devices.get("d");
    assert.equal(file.kind, "v.com/class-1");
    const others = { deviceNodes: [], netDevices: [] };
    assert.deepEqual({ ...device, ...others }, { ...everything, ...others });
    assert.deepEqual(device?.netDevices, [{ hostName: "eth7", name: "net1" }]);
    const [full, bare] = device.deviceNodes;
    assert.deepEqual(full, everything.deviceNodes[0]);
    assert.deepEqual([bare?.hostPath, bare?.permissions, bare?.type], ["/dev/c", "rwm", undefined]);
  });

  for (const [what, value, why] of [
    ["no object", [], /must be an object/],
    ["a version of the future", { ...edits({}), cdiVersion: "2.0.0" }, /cdiVersion is "2\.0\.0"/],
    ["no kind", { ...edits({}), kind: "gpu" }, /kind must be vendor\/class/],
    ["no devices", { ...edits({}), devices: [] }, /devices is empty/],
    ["a device twice", { ...edits({}), devices: [{ name: "a" }, { name: "a" }] }, /second time/],
    ["an unknown field", edits({ envs: [] }), /unknown|"envs"/],
    ["a variable without a name", edits({ env: ["=x"] }), /KEY=value/],
    ["a node without a path", edits({ deviceNodes: [{}] }), /deviceNodes\[0\]\.path/],
    ["a strange node", edits({ deviceNodes: [{ path: "/d", type: "x" }] }), /type must be/],
    ["a relative mount", edits({ mounts: [{ hostPath: "/a", containerPath: "b" }] }), /absolute/],
    ["an unknown hook", edits({ hooks: [{ hookName: "never", path: "/a" }] }), /hookName/],
    ["an invalid group", edits({ additionalGids: [-1] }), /additionalGids/],
    [
      "a network device without its name on the host",
      edits({ netDevices: [{ name: "a" }] }),
      /netDevices\[0\]\.hostInterfaceName/,
    ],
    [
      "a name that no interface has",
      edits({ netDevices: [{ hostInterfaceName: "eth0", name: "a/b" }] }),
      /netDevices\[0\]\.name cannot be "a\/b"/,
    ],
    [
      "a name that is too long for an interface",
      edits({ netDevices: [{ hostInterfaceName: "e".repeat(16), name: "a" }] }),
      /hostInterfaceName cannot be/,
    ],
  ] as const) {
    test(`refuses ${what}`, () => {
      assert.throws(() => parseCdiFile(value), invalid(why));
    });
  }
});
