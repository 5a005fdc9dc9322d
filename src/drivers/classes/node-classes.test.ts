import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import type { BlockIoDevice } from "../../oci-spec/index.ts";
import type { BlockDevices } from "./block-devices.ts";
import { NodeClasses } from "./node-classes.ts";
import { ResctrlGroups } from "./resctrl.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-classes-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

function write(path: string, text: string): string {
  const full = join(directory, path);
  mkdirSync(join(full, ".."), { recursive: true });
  writeFileSync(full, text);
  return full;
}

const sda = { path: "/dev/sda", major: 8, minor: 0 };
const sda1 = { path: "/dev/sda1", major: 8, minor: 1 };
const nvme = { path: "/dev/nvme0n1", major: 259, minor: 0 };

/** A node with two disks, one of which has a partition and a link to it. */
const devices: BlockDevices = {
  list: (path) =>
    Promise.resolve(
      path === "/dev" ? ["sda", "sda1", "nvme0n1", "null"] : path === "/dev/disk" ? ["SSD1"] : [],
    ),
  find: (path) => {
    const found: Readonly<Record<string, BlockIoDevice>> = {
      "/dev/sda": sda,
      "/dev/sda1": sda1,
      "/dev/nvme0n1": nvme,
      "/dev/disk/SSD1": nvme,
    };
    return Promise.resolve(found[path]);
  },
  isPartition: ({ path }) => path === "/dev/sda1",
  scheduler: ({ path }) => Promise.resolve(path === "/dev/sda" ? "bfq" : "none"),
};

/** A v1 hierarchy of blkio, or one of v2, in the test's directory. */
function layoutOf(version: "v1" | "v2", files: readonly string[]): CgroupLayout {
  for (const file of files) write(`cgroup/pods/${file}`, "");
  const root = join(directory, "cgroup");
  mkdirSync(root, { recursive: true });
  if (version === "v2") return { version, root, controllers: ["io", "cpu"] };
  return {
    version,
    hierarchies: [{ path: root, controllers: ["blkio"] }],
    ownedByV2: [],
    advice: undefined,
  };
}

function classesOf({
  blockIo = "",
  rdt = "",
  ignore = false,
  layout = layoutOf("v1", ["blkio.bfq.weight", "blkio.bfq.weight_device"]),
  resctrl,
  warnings = [],
}: {
  blockIo?: string;
  rdt?: string;
  ignore?: boolean;
  layout?: CgroupLayout;
  resctrl?: string;
  warnings?: string[];
}): NodeClasses {
  const log = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
  return new NodeClasses({
    settings: {
      blockioConfigFile: blockIo,
      rdtConfigFile: rdt,
      ignoreBlockioNotEnabledErrors: ignore,
      ignoreRdtNotEnabledErrors: ignore,
    },
    layout,
    log,
    devices,
    resctrl: () =>
      Promise.resolve(resctrl === undefined ? undefined : { root: resctrl, options: ["rw"] }),
    groups: new ResctrlGroups(join(directory, "rdt-groups"), (path) =>
      rm(path, { recursive: true }),
    ),
  });
}

const precondition = (message: RegExp): object => ({ kind: "failed-precondition", message });

describe("classes of block I/O", () => {
  test("are limits of the disks at the patterns of the file", async () => {
    const blockIo = write(
      "blockio.yaml",
      `Classes:
  slow:
  - Weight: 80
  - Devices: [/dev/sd*, /dev/disk/*SSD*]
    ThrottleReadBps: 50M
  - Devices: ["/dev/sd[a-z]"]
    ThrottleWriteIOPS: 5k # comments, and numbers
    Weight: 50
  empty:
`,
    );
    const classes = classesOf({ blockIo });
    assert.deepEqual(await classes.blockIoOf("slow"), {
      weight: 80,
      weightDevice: [{ major: 8, minor: 0, weight: 50 }],
      throttleReadBpsDevice: [
        { major: 8, minor: 0, rate: 50_000_000n },
        { major: 259, minor: 0, rate: 50_000_000n },
      ],
      throttleWriteIOPSDevice: [{ major: 8, minor: 0, rate: 5000n }],
    });
    assert.deepEqual(await classes.blockIoOf("empty"), {});
  });

  test("are those of the changed file", async () => {
    const blockIo = write("blockio.yaml", "Classes: {a: [{Weight: 100}]}\n");
    const classes = classesOf({ blockIo });
    assert.deepEqual(await classes.blockIoOf("a"), { weight: 100 });
    write("blockio.yaml", "Classes: {a: [{Weight: 2000}]}\n");
    await assert.rejects(
      classes.blockIoOf("a"),
      precondition(/use blockio class "a": read ".*blockio.yaml": Weight of class "a"/),
    );
    write("blockio.yaml", "Classes: {b: [{Weight: 300}]}\n# longer\n");
    await assert.rejects(classes.blockIoOf("a"), precondition(/does not define it; it has "b"/));
    assert.deepEqual(await classes.blockIoOf("b"), { weight: 300 });
  });

  test("are refused where they cannot be what they say", async () => {
    const blockIo = write(
      "blockio.yaml",
      `Classes:
  partition: [{Devices: [/dev/sda1], ThrottleReadBps: 1M}]
  scheduler: [{Devices: [/dev/nvme0n1], Weight: 100}]
  relative: [{Devices: [dev/sda], ThrottleReadBps: 1M}]
`,
    );
    const classes = classesOf({ blockIo });
    for (const [name, message] of [
      ["partition", /"\/dev\/sda1" is a partition.*name the disk/],
      ["scheduler", /needs the I\/O scheduler bfq, and it has none; echo bfq/],
      ["relative", /not an absolute path/],
    ] as const) {
      await assert.rejects(classes.blockIoOf(name), precondition(message));
    }
  });

  test("without a device at their patterns have no limit, with one warning", async () => {
    const text = "Classes: {a: [{Devices: [/dev/vd*, /dev/nu*], ThrottleReadBps: 1M}]}\n";
    const warnings: string[] = [];
    const classes = classesOf({ blockIo: write("blockio.yaml", text), warnings });
    for (const _each of [1, 2]) assert.deepEqual(await classes.blockIoOf("a"), {});
    assert.deepEqual(warnings, ['blockio class "a": no block device is at /dev/vd*, /dev/nu*']);
  });

  test("need a file, the controller, and for weights a scheduler with them", async () => {
    await assert.rejects(
      classesOf({}).blockIoOf("a"),
      precondition(/blockio_config_file is not set; or set runtime.ignore_blockio/),
    );
    const blockIo = write(
      "blockio.yaml",
      "Classes: {a: [{Weight: 100}], d: [{Devices: [/dev/sda], Weight: 100}]}\n",
    );
    const none: CgroupLayout = { version: "v2", root: directory, controllers: ["cpu"] };
    const off = classesOf({ blockIo, layout: none });
    await assert.rejects(off.blockIoOf("a"), precondition(/no controller io in cgroup v2/));
    const unmounted: CgroupLayout = {
      version: "v1",
      hierarchies: [],
      ownedByV2: [],
      advice: undefined,
    };
    const missing = classesOf({ blockIo, layout: unmounted });
    await assert.rejects(missing.blockIoOf("a"), precondition(/blkio is not mounted/));
    // io.weight of v2 (iocost) is for all devices alone.
    const v2 = classesOf({ blockIo, layout: layoutOf("v2", ["io.max", "io.weight"]) });
    assert.deepEqual(await v2.blockIoOf("a"), { weight: 100 });
    await assert.rejects(
      v2.blockIoOf("d"),
      precondition(/no weights.*io.bfq.weight.*modprobe bfq/),
    );
  });

  test("are ignored where they are not enabled and the settings say so", async () => {
    const warnings: string[] = [];
    assert.equal(await classesOf({ ignore: true, warnings }).blockIoOf("a"), undefined);
    assert.match(warnings[0] ?? "", /^ignored: use blockio class "a": .* is not set$/);
    const blockIo = write("blockio.yaml", "Classes: {b: []}\n");
    const classes = classesOf({ ignore: true, blockIo });
    await assert.rejects(classes.blockIoOf("a"), precondition(/does not define it/));
  });
});

/** A resctrl with L3 allocation in two caches and bandwidth. */
function fakeResctrl(): string {
  write("resctrl/schemata", "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n");
  write("resctrl/tasks", "1\n");
  write("resctrl/info/L3/cbm_mask", "fffff\n");
  write("resctrl/info/L3/min_cbm_bits", "2\n");
  write("resctrl/info/MB/min_bandwidth", "10\n");
  return join(directory, "resctrl");
}

const rdtText = `
partitions:
  shared:
    l3Allocation: "50%"
    mbAllocation: [80%]
    classes:
      gold: {kubernetes: {denyContainerAnnotation: true}}
      silver: {l3Allocation: 20%, mbAllocation: [50%]}
`;

describe("RDT classes", () => {
  test("are groups of resctrl with their schemata, which containers join", async () => {
    const resctrl = fakeResctrl();
    const classes = classesOf({ rdt: write("rdt.yaml", rdtText), resctrl });
    await classes.prepare();
    const schemata = (name: string): string =>
      readFileSync(join(resctrl, name, "schemata"), "utf8");
    assert.equal(schemata("gold"), "L3:0=3ff;1=3ff\nMB:0=80;1=80\n");
    assert.equal(schemata("silver"), "L3:0=3;1=3\nMB:0=40;1=40\n");
    assert.deepEqual(await classes.rdtOf("silver", "pod"), { closID: "silver" });
    assert.deepEqual(await classes.rdtOf("gold", "plugin"), { closID: "gold" });
    // The class of all other processes needs nothing.
    assert.equal(await classes.rdtOf("system/default", "pod"), undefined);
    for (const [name, origin, message] of [
      ["gold", "container", /"gold": the class is not open to annotations of a container/],
      ["bronze", "pod", /rdt.yaml" does not define it; it has "gold", "silver"/],
      ["../../etc", "pod", /does not define it/],
    ] as const) {
      await assert.rejects(classes.rdtOf(name, origin), precondition(message));
    }
  });

  test("change with the file: old groups without tasks go, and those of others stay", async () => {
    const resctrl = fakeResctrl();
    write("resctrl/foreign/tasks", "");
    const rdt = write("rdt.yaml", rdtText);
    const classes = classesOf({ rdt, resctrl });
    await classes.prepare();
    write("resctrl/silver/tasks", "4711\n");
    write("resctrl/gold/tasks", "\n");
    write("rdt.yaml", "partitions: {p: {classes: {bronze: }}}\n");
    assert.deepEqual(await classes.rdtOf("bronze", "pod"), { closID: "bronze" });
    const groups = (): readonly string[] => readdirSync(resctrl).toSorted();
    const others = ["foreign", "info", "schemata", "tasks"];
    assert.deepEqual(groups(), ["bronze", "silver", ...others].toSorted());
    await assert.rejects(classes.rdtOf("silver", "pod"), precondition(/does not define it/));
    // Another daemon knows them, too.
    write("resctrl/silver/tasks", "");
    await classesOf({ rdt, resctrl }).prepare();
    assert.deepEqual(groups(), ["bronze", ...others].toSorted());
  });

  test("are made again when resctrl was mounted again", async () => {
    const resctrl = fakeResctrl();
    const classes = classesOf({ rdt: write("rdt.yaml", rdtText), resctrl });
    await classes.prepare();
    await rm(join(resctrl, "gold"), { recursive: true });
    assert.deepEqual(await classes.rdtOf("gold", "pod"), { closID: "gold" });
    assert.match(readFileSync(join(resctrl, "gold/schemata"), "utf8"), /^L3:/);
  });

  test("are refused without resctrl and with a wrong file, until that has changed", async () => {
    await assert.rejects(
      classesOf({}).rdtOf("gold", "pod"),
      precondition(/rdt_config_file is not set; or set runtime.ignore_rdt/),
    );
    const rdt = write("rdt.yaml", rdtText.replace("50%", "150%"));
    const off = classesOf({ rdt });
    await off.prepare();
    await assert.rejects(off.rdtOf("gold", "pod"), precondition(/resctrl is not mounted/));
    assert.equal(await classesOf({ rdt, ignore: true }).rdtOf("gold", "pod"), undefined);
    const classes = classesOf({ rdt, resctrl: fakeResctrl() });
    await classes.prepare();
    await assert.rejects(classes.rdtOf("gold", "pod"), precondition(/"150%" must be from 1%/));
    write("rdt.yaml", rdtText);
    assert.deepEqual(await classes.rdtOf("gold", "pod"), { closID: "gold" });
  });
});
